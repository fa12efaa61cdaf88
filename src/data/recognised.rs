//! Which format a path is of: its reader, with labels or without.

use super::stored::{Labels, Stored};
use super::{cifar_binary, digits, folder, idx, parquet, shards, svhn};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

const RECOGNISED: &str = "a Hugging Face style .parquet file ('data/train-*.parquet' for several), a folder of class folders of images (JPEG, PNG, WebP, GIF, BMP, PNM), \
                          an IDX images file (*images*idx3*, .gz or not), a CIFAR binary file or folder (data_batch_1.bin, \
                          test_batch.bin, train.bin, test.bin), or an SVHN file (*_32x32.mat)";

/// What a path stands for.
pub(super) enum Format {
    /// A set that is built in.
    Embedded(&'static [u8]),
    /// One file, or the parts of a split.
    Parquet(Vec<PathBuf>),
    ClassFolders,
    CifarFolder,
    CifarFile,
    Idx,
    IdxLabels,
    Svhn,
}

impl Format {
    /// That of a path.
    ///
    /// # Errors
    /// When the path does not exist, or is of no recognised format.
    pub(super) fn of(path: &Path) -> Result<Self> {
        if let Some(bytes) = digits::embedded(path) {
            return Ok(Self::Embedded(bytes));
        }
        if let Some(files) = shards::matching(path)? {
            return Ok(Self::Parquet(files));
        }
        let metadata = std::fs::metadata(path).map_err(Error::io(path, "read"))?;
        if !metadata.is_dir() {
            return Self::of_name(path).ok_or_else(|| {
                let what = format!("{}: this file format", path.display());
                let instead = format!("give {RECOGNISED}");
                Error::unsupported(what, instead)
            });
        }
        if cifar_binary::is_folder(path) {
            return Ok(Self::CifarFolder);
        }
        let files = folder::parquet_files(path)?;
        Ok(match files.is_empty() {
            true => Self::ClassFolders,
            false => Self::Parquet(files),
        })
    }

    /// That of a file, by its name alone.
    pub(super) fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name().unwrap_or_default();
        Some(match &*name.to_string_lossy().to_lowercase() {
            name if name.ends_with(".parquet") => Self::Parquet(vec![path.to_path_buf()]),
            name if idx::is_images(name) => Self::Idx,
            name if cifar_binary::is_file(name) => Self::CifarFile,
            name if name.ends_with(".mat") => Self::Svhn,
            name if idx::is_labels(name) => Self::IdxLabels,
            _ => return None,
        })
    }
}

/// Whether the files in a folder make it a set, as those of CIFAR and Parquet files do; what is wrong with them is for its reader to say.
pub(crate) fn has_files_of_a_set(folder: &Path) -> bool {
    !matches!(Format::of(folder), Ok(Format::ClassFolders))
}

/// Reads a set of any recognised format; the path is that of the file, where a folder stands for one. Formats that hold labels
/// beside each image are read whole either way.
///
/// # Errors
/// When the path does not exist, is of no recognised format, or is damaged.
pub(super) fn read(path: &Path, labels: Labels) -> Result<(PathBuf, Stored)> {
    let stored = match Format::of(path)? {
        Format::Embedded(bytes) => parquet::read_bytes(path, bytes.to_vec(), labels),
        Format::Parquet(files) => {
            let stored = shards::read(&files, labels)?;
            return Ok(match <[PathBuf; 1]>::try_from(files) {
                Ok([file]) if path.is_dir() => (file, stored),
                _ => (path.to_path_buf(), stored),
            });
        }
        Format::ClassFolders if labels == Labels::Ignored => folder::read_unlabelled(path),
        Format::ClassFolders => folder::read(path),
        Format::CifarFolder => cifar_binary::read_folder(path),
        Format::CifarFile => cifar_binary::read(path),
        Format::Idx => idx::read(path, labels),
        Format::Svhn => svhn::read(path),
        Format::IdxLabels => Err(Error::format(
            path,
            "file name",
            "the images",
            "the labels",
            "give the images file beside it",
        )),
    };
    Ok((path.to_path_buf(), stored?))
}
