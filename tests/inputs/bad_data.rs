//! Malformed input: every refusal is one line that says which file, which place, what was expected, what was found and
//! what to do.

mod binaries;
mod features;
mod images;

use std::fs;
use std::path::Path;

pub(crate) fn cut(path: &Path, keep: usize) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..keep]).unwrap();
}

pub(crate) fn half(path: &Path) {
    cut(path, fs::metadata(path).unwrap().len() as usize / 2);
}
