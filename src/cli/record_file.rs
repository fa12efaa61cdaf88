//! Where the record of a run is that is named on the command line.

use std::path::{Path, PathBuf};

/// The JSON file that is named, as that beside a figure, or else the `run.json` of the folder.
pub(super) fn record_file(path: &Path) -> PathBuf {
    let is_record = path.extension().is_some_and(|ending| ending == "json") && !path.is_dir();
    match is_record {
        true => path.to_path_buf(),
        false => path.join("run.json"),
    }
}
