//! Files of a run that later commands read: as the run left them, or refused.

use super::json::read_json;
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// The result in `run.json` that holds digests by file names.
pub(super) const DIGESTS: &str = "digests";

/// Refuses a file that is not what the run of its folder left there. A file beside which no run notes a digest is what it is.
///
/// # Errors
/// `digest`, which is the file's, is not the one noted; the record is malformed.
pub fn check_as_left(file: &Path, digest: &str) -> Result<()> {
    let record = file.with_file_name("run.json");
    if !record.exists() {
        return Ok(());
    }
    let record: Value = read_json(&record)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match record["results"][DIGESTS][&*name].as_str() {
        Some(left) if left != digest => {
            let command = record["command"].as_str().unwrap_or("the command");
            Err(Error::Conflict {
                path: file.to_path_buf(),
                reason: format!("is not what ascribe {command} left here"),
                remedy: "put the original back, or run the command again".into(),
            })
        }
        _ => Ok(()),
    }
}
