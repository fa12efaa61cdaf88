//! CSV tables of records, with a header, written whole or not at all.

use super::write_atomically;
use crate::{Error, Result};
use serde::Serialize;
use std::path::Path;

/// Writes one row a record, below the names of their fields: nothing where there is no record.
///
/// # Errors
/// Where the path cannot be written.
pub(crate) fn write_csv(rows: &[impl Serialize], path: &Path) -> Result<()> {
    write_csv_below(None, rows, path)
}

/// The same below a header that is there without records too.
///
/// # Errors
/// Where the path cannot be written.
pub(crate) fn write_csv_below(
    header: Option<&[&str]>,
    rows: &[impl Serialize],
    path: &Path,
) -> Result<()> {
    let bytes = csv_bytes(header, rows);
    let failed = |reason: csv::Error| Error::io(path, "write")(std::io::Error::other(reason));
    write_atomically(path, &bytes.map_err(failed)?)
}

/// What [`write_csv`] writes, or the same below a header.
pub(crate) fn csv_bytes(header: Option<&[&str]>, rows: &[impl Serialize]) -> csv::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(header.is_none())
        .from_writer(Vec::new());
    if let Some(header) = header {
        writer.write_record(header)?;
    }
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.into_inner().map_err(|reason| reason.into_error())?)
}
