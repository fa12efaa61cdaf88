//! Malformed input: every refusal is one line that says which file, which place, what was expected, what was found and
//! what to do.

mod binaries;
mod features;
mod images;

use ascribe::{Error, Result};
use std::fmt::Debug;
use std::fs;
use std::path::Path;

/// The message of a refusal, after checking that it is one line with all of these parts.
#[track_caller]
pub(crate) fn refusal<T: Debug>(result: Result<T>, parts: &[&str]) -> Error {
    let error = result.expect_err("this must be refused");
    let message = error.to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    assert!(message.contains("; "), "no remedy: {message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
    error
}

pub(crate) fn cut(path: &Path, keep: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..keep]).unwrap();
}

pub(crate) fn half(path: &Path) {
    cut(path, fs::metadata(path).unwrap().len() as usize / 2);
}
