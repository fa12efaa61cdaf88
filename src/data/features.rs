//! A set whose images are already vectors: the features before a classifier's last layer.
//!
//! Arrays `features` `[n, d]` (float32 or float64) and `labels` `[n]` (integers of any width), as `.npz`,
//! `.safetensors`, or a folder with `features.npy` and `labels.npy`. Class names, where known, stand in the metadata of
//! a safetensors file as a JSON list under `classes`.

use super::arrays::{self, Arrays};
use super::digest::ContentDigest;
use super::rows::{Rows, little_endian};
use super::stored::{Labels, UNLABELLED, check_labels};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

const WANTED: &str = ".npz, .safetensors, or a folder with features.npy and labels.npy";

/// Features and labels; an example's id is its row.
#[derive(Debug, Clone)]
pub struct Features {
    /// `[n, d]`, f32 or f64 as stored, on the CPU; all finite.
    pub values: Rows,
    /// `n` labels, by row.
    pub labels: Vec<usize>,
    /// Class names, where the file has them.
    pub classes: Option<Vec<String>>,
    /// SHA-256 of values, labels and class names, 64 hexadecimal digits; where the file lies does not matter.
    pub digest: String,
    /// Where it was opened.
    pub path: PathBuf,
}

impl Features {
    /// Whether a path is a features file or folder rather than a set of images, judged by its name.
    #[must_use]
    pub fn recognises(path: &Path) -> bool {
        arrays::recognises(path)
    }

    /// Opens a features file or folder.
    ///
    /// # Errors
    /// When it does not exist, is damaged or empty, or not what its run left, lacks an array, or holds a value that is not
    /// finite, a label without a class, or not as many labels as rows.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_within(path, None)
    }

    /// Opens a features file or folder; features in a `features.npy` of more than `resident` bytes are mapped, not read.
    ///
    /// # Errors
    /// As for [`Features::open`].
    pub fn open_within(path: &Path, resident: Option<u64>) -> Result<Self> {
        Self::read(path, resident, Labels::Read)
    }

    /// The same of features alone: labels need not be there and are not looked at; 0 stands for each.
    ///
    /// # Errors
    /// As for [`Features::open`], but for what is wrong with labels.
    pub fn open_unlabelled(path: &Path, resident: Option<u64>) -> Result<Self> {
        Self::read(path, resident, Labels::Ignored)
    }

    fn read(path: &Path, resident: Option<u64>, labels: Labels) -> Result<Self> {
        let mut arrays = Arrays::open(path, WANTED)?;
        let values = arrays.rows("features", "[n, d]", resident)?.of_file(path);
        let rows = values.count();
        let labels = match labels {
            Labels::Read => labels_of(path, &mut arrays, rows)?,
            Labels::Ignored => vec![0; rows],
        };
        let classes = class_names(path, &arrays)?;
        let labels = check_labels(path, &labels, classes.as_deref(), |row| {
            format!("row {row}")
        })?;
        let digest = digest(&values, &labels, classes.as_deref().unwrap_or_default())?;
        Ok(Self {
            values,
            labels,
            classes,
            digest,
            path: path.to_path_buf(),
        })
    }

    /// How many examples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never true: an empty set is refused when it is opened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many numbers describe an image (d).
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.values.columns()
    }

    /// The number of classes: that of the names, otherwise one more than the largest label.
    #[must_use]
    pub fn class_count(&self) -> usize {
        let largest = self.labels.iter().max().map_or(0, |label| label + 1);
        self.classes.as_ref().map_or(largest, Vec::len)
    }
}

/// As many labels as there are rows, which their header says first.
fn labels_of(path: &Path, arrays: &mut Arrays, rows: usize) -> Result<Vec<i64>> {
    if !arrays.holds("labels") {
        let missing = arrays.integers("labels", "[n]");
        return missing.map_err(|error| error.and_remedy(UNLABELLED));
    }
    let count = arrays.shape("labels", "[n]", 1)?[0];
    if count != rows {
        let found = format!("{count} labels");
        let expected = format!("{rows} (the rows of features)");
        let remedy = "store both from the same images";
        return Err(Error::format(path, "array labels", expected, found, remedy));
    }
    arrays.integers("labels", "[n]")
}

fn class_names(path: &Path, arrays: &Arrays) -> Result<Option<Vec<String>>> {
    let metadata = arrays.metadata()?;
    let Some(text) = metadata.get("classes") else {
        return Ok(None);
    };
    serde_json::from_str(text)
        .map(|names: Vec<String>| Some(names).filter(|names| !names.is_empty()))
        .map_err(|error| {
            let remedy = "store the class names as [\"cat\", \"dog\"]";
            Error::format(
                path,
                "metadata classes",
                "a JSON list of names",
                error.to_string(),
                remedy,
            )
        })
}

fn digest(values: &Rows, labels: &[usize], classes: &[String]) -> Result<String> {
    let mut digest = ContentDigest::new("features");
    digest.names(classes);
    digest.number(labels.len() as u64);
    labels.iter().for_each(|&label| digest.number(label as u64));
    digest.bytes(values.dtype().as_str().as_bytes());
    digest.number((values.count() * values.columns() * values.dtype().size_in_bytes()) as u64);
    for step in values.steps() {
        digest.part(&little_endian(&values.chunk(step)?)?);
    }
    Ok(digest.finish())
}

#[cfg(test)]
mod tests;
