//! SHA-256 digests, in lower-case hexadecimal, of what a run read: bytes, files, folders of files.
//!
//! A folder's digest covers, for every file below it in the order of relative paths (`/` between components,
//! compared byte by byte): length of the path, path, length of the content, content; lengths as 8 bytes,
//! little-endian. Hidden entries (names starting with a dot) do not count: file browsers leave such files behind.

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

/// The digest of all files below a folder: their relative paths and contents.
///
/// # Errors
/// A folder or file cannot be read.
pub fn digest_folder(path: impl AsRef<Path>) -> Result<String> {
    let files = files_below(path.as_ref())?;
    let mut hasher = Sha256::new();
    for (name, file) in &files {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        let length = file.metadata().map_err(Error::io(file, "read"))?.len();
        hasher.update(length.to_le_bytes());
        hash_content(&mut hasher, file)?;
    }
    Ok(hexadecimal(hasher))
}

/// The digest of a file, or of all files below a folder.
///
/// # Errors
/// As [`digest_file`] and [`digest_folder`].
pub fn digest_path(path: impl AsRef<Path>) -> Result<String> {
    if path.as_ref().is_dir() {
        digest_folder(path)
    } else {
        digest_file(path)
    }
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
        assert_eq!(digest_path(&path).unwrap(), expected);
    }

    /// A folder with the given (relative path, content) files, written in the given order.
    fn tree(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        digest_path(folder.path()).unwrap()
    }

    #[test]
    fn a_folder_digest_sees_names_contents_and_moves_but_not_order_or_hidden_files() {
        let reference = tree(&[("cat/1.png", "x"), ("dog/1.png", "yz")]);
        assert_eq!(
            reference,
            tree(&[
                ("dog/1.png", "yz"),
                ("cat/1.png", "x"),
                ("cat/.DS_Store", "?")
            ])
        );
        assert_ne!(reference, tree(&[("cat/1.png", "xy"), ("dog/1.png", "z")]));
        assert_ne!(reference, tree(&[("cat/1.png", "x"), ("dog/2.png", "yz")]));
        assert_ne!(reference, tree(&[("cat/1.png", "yz"), ("dog/1.png", "x")]));
        assert_ne!(reference, tree(&[("cat/1.png", "x")]));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = digest_path("absent/file").unwrap_err().to_string();
        assert!(
            message.starts_with("absent/file: cannot read:"),
            "{message}"
        );
    }
}
