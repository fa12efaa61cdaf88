//! SHA-256 digests, in lower-case hexadecimal, of bytes and files, and the files below a folder.
//!
//! Hidden entries (names starting with a dot) do not count: file browsers leave such files behind.

use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The digest of bytes in memory.
///
/// ```
/// use ascribe::artefact::digest_bytes;
/// assert_eq!(&digest_bytes(b"abc")[..16], "ba7816bf8f01cfea");
/// ```
pub fn digest_bytes(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

/// The digest of a file's content, read in pieces.
///
/// # Errors
/// The file cannot be read.
pub fn digest_file(path: impl AsRef<Path>) -> Result<String> {
    let mut hasher = Sha256::new();
    hash_content(&mut hasher, path.as_ref())?;
    Ok(hexadecimal(hasher))
}

/// The relative paths of all files below a folder but hidden ones, `/` between components.
///
/// # Errors
/// A folder cannot be read.
pub(crate) fn file_names(folder: &Path) -> Result<BTreeSet<String>> {
    let files = files_below(folder)?;
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// (relative path, path) of every file below a folder, in the order of the relative paths.
pub(super) fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    list_files(folder, "", &mut files)?;
    files.sort();
    Ok(files)
}

/// Collects (relative name, path) of every file below `folder`; `prefix` is the name so far.
fn list_files(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let entry = entry.map_err(Error::io(folder, "read"))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            list_files(&path, &format!("{prefix}{name}/"), files)?;
        } else {
            files.push((format!("{prefix}{name}"), path));
        }
    }
    Ok(())
}

fn hash_content(hasher: &mut Sha256, path: &Path) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io(path, "read"))?;
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece).map_err(Error::io(path, "read"))? {
            0 => return Ok(()),
            length => hasher.update(&piece[..length]),
        }
    }
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn known_digests_also_across_pieces() {
        // FIPS 180-4 examples: the empty message and a million times "a".
        assert_eq!(
            digest_bytes(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("million");
        fs::write(&path, vec![b'a'; 1_000_000]).unwrap();
        let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(digest_file(&path).unwrap(), expected);
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = digest_file("absent/file").unwrap_err().to_string();
        assert!(
            message.starts_with("absent/file: cannot read:"),
            "{message}"
        );
    }
}
