//! What often lies in the place of a file that was not fetched.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes that are looked at.
const START: u64 = 64;

/// What these bytes are, in words for messages, where they stand for data and are none.
pub(crate) fn stand_in(bytes: &[u8]) -> Option<&'static str> {
    let start = bytes.trim_ascii_start();
    let begins = |with: &[u8]| {
        let start = start.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    if begins(b"version https://git-lfs") {
        Some("a Git LFS pointer, in whose place git lfs pull puts the file")
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Some("a web page")
    } else {
        None
    }
}

/// The same of a file; nothing of one that cannot be read.
pub(crate) fn stand_in_at(path: &Path) -> Option<&'static str> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(START).read_to_end(&mut start));
    read.ok().and_then(|_| stand_in(&start))
}

/// What was found in a file that is no good: a stand-in where it is one, else `otherwise`.
pub(crate) fn found_in(path: &Path, otherwise: impl Into<String>) -> String {
    match stand_in_at(path) {
        Some(known) => known.to_owned(),
        None => otherwise.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_pages_are_known() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n";
        assert!(stand_in(pointer).unwrap().contains("git lfs pull"));
        assert!(stand_in(b"\n<!DOCTYPE HTML><html>").is_some());
        for other in [&b""[..], b"PAR1", b"<svg", b"version"] {
            assert_eq!(stand_in(other), None);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pointer).unwrap();
        assert!(found_in(file.path(), "other").contains("Git LFS"));
        assert_eq!(found_in(Path::new("absent"), "other"), "other");
    }
}
