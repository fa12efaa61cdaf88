//! Files of a run that later commands read: as the run left them, or refused.

use super::digest::digest_file;
use super::json::read_json;
use crate::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The result in `run.json` that holds digests by file names.
pub(crate) const DIGESTS: &str = "digests";

/// The digests of the files that lie in a folder itself, by name; hidden ones and `run.json`, which is to hold them, are left out.
pub(super) fn digests_of_files_in(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let path = entry.map_err(Error::io(folder, "read"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_file() && !name.starts_with('.') && name != "run.json" {
            digests.insert(name.into_owned(), digest_file(&path)?);
        }
    }
    Ok(digests)
}

/// Refuses a file that is not what the run of its folder left there. A file beside which no run notes a digest is what it is.
///
/// # Errors
/// The file's digest is not the one noted; the record is malformed; the file cannot be read.
pub fn check_as_left(file: &Path) -> Result<()> {
    let digest = || digest_file(file);
    check_digest_as_left(file, digest)
}

/// The same of a file whose digest is `digest`, which is asked for where one is noted alone.
///
/// # Errors
/// As for [`check_as_left`].
pub(crate) fn check_digest_as_left(
    file: &Path,
    digest: impl FnOnce() -> Result<String>,
) -> Result<()> {
    let record = file.with_file_name("run.json");
    if !record.exists() {
        return Ok(());
    }
    let record: Value = read_json(&record)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let Some(left) = record["results"][DIGESTS][&*name].as_str() else {
        return Ok(());
    };
    if digest()? == left {
        return Ok(());
    }
    let command = record["command"].as_str().unwrap_or("the command");
    Err(Error::Conflict {
        path: file.to_path_buf(),
        reason: format!("is not what ascribe {command} left here"),
        remedy: "put the original back, or run the command again".into(),
    })
}
