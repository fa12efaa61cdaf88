//! What a folder holds, by name.

use crate::{Error, Result};
use std::ffi::OsString;
use std::path::Path;

/// The names in a folder, sorted by their bytes.
///
/// # Errors
/// A folder that cannot be read, whole.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<OsString>> {
    let names: std::io::Result<Vec<OsString>> = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let mut names = names.map_err(Error::io(folder, "read"))?;
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a.x", "a-x", "10"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(names_in(folder.path()).unwrap(), ["10", "a-x", "a.x", "b"]);
        let message = names_in(&folder.path().join("c")).unwrap_err().to_string();
        assert!(message.contains("c: cannot read"), "{message}");
    }
}
