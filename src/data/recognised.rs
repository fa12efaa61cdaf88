//! Which format a path is of: its reader, with labels or without.

use super::dataset::{Labels, Stored};
use super::{cifar_binary, digits, folder, idx, parquet, shards, svhn};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

const RECOGNISED: &str = "a Hugging Face style .parquet file ('data/train-*.parquet' for several), a folder of class folders of images (JPEG, PNG, WebP, GIF, BMP, PNM), \
                          an IDX images file (*images*idx3*, .gz or not), a CIFAR binary file or folder (data_batch_1.bin, \
                          test_batch.bin, train.bin, test.bin), or an SVHN file (*_32x32.mat)";

fn lower_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().to_lowercase()
}

/// Whether a file's name is of a format that [`read`] reads.
pub(super) fn is_of_data(path: &Path) -> bool {
    let name = lower_name(path);
    let ends = |ending: &&str| name.ends_with(*ending);
    let is_idx = idx::is_images(&name) || idx::is_labels(&name);
    is_idx || cifar_binary::is_file(&name) || [".parquet", ".mat"].iter().any(ends)
}

/// Reads a set of any recognised format; the path is that of the file, where a folder stands for one. Formats that hold labels
/// beside each image are read whole either way.
///
/// # Errors
/// When the path does not exist, is of no recognised format, or is damaged.
pub(super) fn read(path: &Path, labels: Labels) -> Result<(PathBuf, Stored)> {
    let at = |stored| (path.to_path_buf(), stored);
    if let Some(bytes) = digits::embedded(path) {
        return parquet::read_bytes(path, bytes.to_vec(), labels).map(at);
    }
    if let Some(files) = shards::matching(path)? {
        return shards::read(&files, labels).map(at);
    }
    let metadata = std::fs::metadata(path).map_err(Error::io(path, "read"))?;
    if metadata.is_dir() {
        if cifar_binary::is_folder(path) {
            return cifar_binary::read_folder(path).map(at);
        }
        let files = folder::parquet_files(path)?;
        return match (&files[..], labels) {
            ([], Labels::Read) => folder::read(path).map(at),
            ([], Labels::Ignored) => folder::read_unlabelled(path).map(at),
            ([file], _) => Ok((file.clone(), parquet::read_file(file, labels)?)),
            (several, _) => shards::read(several, labels).map(at),
        };
    }
    let name = lower_name(path);
    let stored = if name.ends_with(".parquet") {
        parquet::read_file(path, labels)
    } else if idx::is_images(&name) {
        idx::read(path, labels)
    } else if cifar_binary::is_file(&name) {
        cifar_binary::read(path)
    } else if name.ends_with(".mat") {
        svhn::read(path)
    } else if idx::is_labels(&name) {
        Err(Error::format(
            path,
            "file name",
            "the images",
            "the labels",
            "give the images file beside it",
        ))
    } else {
        let what = format!("{}: this file format", path.display());
        Err(Error::Unsupported {
            what,
            instead: format!("give {RECOGNISED}"),
        })
    };
    stored.map(at)
}
