//! CSV tables of records, with a header, written whole or not at all.

use super::write_atomically;
use crate::{Error, Result};
use serde::Serialize;
use std::path::Path;

/// Writes one row a record.
///
/// # Errors
/// Where the path cannot be written.
pub(crate) fn write_csv(rows: &[impl Serialize], path: &Path) -> Result<()> {
    let failed = |reason: String| Error::io(path, "write")(std::io::Error::other(reason));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        let written = writer.serialize(row);
        written.map_err(|reason| failed(reason.to_string()))?;
    }
    let bytes = writer.into_inner();
    write_atomically(path, &bytes.map_err(|reason| failed(reason.to_string()))?)
}
