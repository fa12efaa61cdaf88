//! The one type behind every image format.
//!
//! An example's id is its row in the file as stored (folder data: sorted paths), whatever the subset or batch size.
//! Images stay encoded in memory; they are decoded when asked for.

use super::classes::numbered;
use super::faults::{check_command, refuse};
use super::image::FORMATS;
use super::stored::{Images, Labels, Places, REPLACE, Stored, check_not_empty, digest};
use super::{Image, NewLabels, recognised};
use crate::artefact::Input;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One labelled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The decoded image.
    pub image: Image,
    /// Index into the data set's classes.
    pub label: usize,
}

/// Labelled images with stable ids, class names and a digest.
#[derive(Debug, Clone)]
pub struct Dataset {
    path: PathBuf,
    format: &'static str,
    images: Arc<Images>,
    places: Places,
    labels: Vec<usize>,
    classes: Vec<String>,
    named: bool,
    digest: String,
}

impl Dataset {
    /// Opens a data set of any recognised format; `builtin:digits-train` and `builtin:digits-test` are embedded.
    ///
    /// # Errors
    /// When the path does not exist, is of no recognised format, is damaged, empty, or holds a label without a class.
    pub fn open(path: &Path) -> Result<Self> {
        let (path, stored) = recognised::read(path, Labels::Read)?;
        Self::new(&path, stored)
    }

    /// Whether a file, judged by its name, is of a format of images with labels.
    #[must_use]
    pub fn recognises(path: &Path) -> bool {
        recognised::Format::of_name(path).is_some()
    }

    /// Opens images alone, which belong to a model of these classes: a set of any recognised format, whose labels are not looked at, or
    /// one without labels. Every label is 0 until [`Dataset::relabelled`] gives another.
    ///
    /// # Errors
    /// When the path does not exist, is of no recognised format, is damaged or empty.
    pub fn open_unlabelled(path: &Path, classes: &[String]) -> Result<Self> {
        let (path, stored) = recognised::read(path, Labels::Ignored)?;
        let unlabelled = Stored {
            labels: vec![0; stored.labels.len()],
            classes: Some(classes.to_vec()),
            ..stored
        };
        Self::new(&path, unlabelled)
    }

    /// Reads Parquet that is already in memory; `name` stands for the path in messages.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    #[cfg(test)]
    pub(crate) fn from_parquet_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let path = Path::new(name);
        let stored = super::parquet::read_bytes(path, bytes, Labels::Read)?;
        Self::new(path, stored)
    }

    fn new(path: &Path, stored: Stored) -> Result<Self> {
        check_not_empty(path, &stored.labels)?;
        let faults = stored.images.absent(path, &stored.places);
        refuse(path, faults.into_iter().chain(stored.label_faults(path)))?;
        let Stored {
            format,
            images,
            places,
            labels,
            classes,
        } = stored;
        let named = classes.is_some();
        let labels: Vec<usize> = labels.iter().map(|&label| label as usize).collect();
        let count = labels.iter().max().map_or(0, |largest| largest + 1);
        let classes = classes.unwrap_or_else(|| numbered(count));
        let digest = digest(&images, &labels, &classes);
        Ok(Self {
            path: path.to_path_buf(),
            format,
            images: Arc::new(images),
            places,
            labels,
            classes,
            named,
            digest,
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

    /// The label of one example: an index into [`Dataset::classes`].
    ///
    /// # Panics
    /// When `id` is not below [`Dataset::len`].
    #[must_use]
    pub fn label(&self, id: usize) -> usize {
        self.labels[id]
    }

    /// All labels, by id.
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The class names, by label; "0", "1", … where the format has none.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Whether the format gave class names; otherwise [`Dataset::classes`] are numbers up to the largest label.
    #[must_use]
    pub fn has_class_names(&self) -> bool {
        self.named
    }

    /// SHA-256 of the stored images, labels and class names, 64 hexadecimal digits; where the set lies does not matter.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The format's name, for people.
    #[must_use]
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// Height and width of one example, without decoding it.
    ///
    /// # Errors
    /// When there is no such id, or its image's header cannot be read.
    pub fn image_size(&self, id: usize) -> Result<(usize, usize)> {
        match &*self.images {
            Images::Encoded(images) if id < images.len() => {
                Image::size_of(&images[id]).map_err(|reason| {
                    let expected = format!("an image ({FORMATS})");
                    let place = self.place(id);
                    self.one_of(Error::format(&self.path, place, expected, reason, REPLACE))
                })
            }
            Images::Planes { height, width, .. } => Ok((*height, *width)),
            Images::Encoded(_) => self.get(id).map(|it| (it.image.height, it.image.width)),
        }
    }

    /// What `run.json` says of the set in this role.
    #[must_use]
    pub fn input(&self, role: &str) -> Input {
        Input {
            role: role.into(),
            path: self.path.clone(),
            digest: self.digest.clone(),
            rows: Some(self.len()),
        }
    }

    /// Where the set was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where an example lies within the set: "row 17", or its file's path within the folder.
    #[must_use]
    pub fn place(&self, id: usize) -> String {
        self.places.name(id)
    }

    /// An example's file within the folder, where the set is one.
    #[must_use]
    pub fn file(&self, id: usize) -> Option<&str> {
        match &self.places {
            Places::Files(files) => files.get(id).map(String::as_str),
            Places::Rows => None,
        }
    }

    /// The same images, some with other labels. Path and digest stay those of what is stored.
    ///
    /// # Errors
    /// An id or a label that there is not.
    pub fn relabelled(mut self, labels: &NewLabels) -> Result<Self> {
        for (&id, &label) in labels {
            if id >= self.len() || label >= self.classes.len() {
                let what = format!("{}: new label {label} of example {id}", self.path.display());
                let expected = format!(
                    "one of {} examples and {} classes",
                    self.len(),
                    self.classes.len()
                );
                return Err(Error::mismatch(
                    what,
                    expected,
                    "neither",
                    "check the ids and labels",
                ));
            }
            self.labels[id] = label;
        }
        Ok(self)
    }

    /// Decodes one example.
    ///
    /// # Errors
    /// When there is no such id, or its image does not decode.
    pub fn get(&self, id: usize) -> Result<Example> {
        let label = self.label_of(id)?;
        let image = self.images.decode(id, &self.path, &self.places);
        let image = image.map_err(|error| self.one_of(error))?;
        Ok(Example { image, label })
    }

    /// A fault of an image, with what lists those of the others.
    fn one_of(&self, fault: Error) -> Error {
        fault.and_remedy(format!("{} lists all such", check_command(&self.path)))
    }

    /// [`Dataset::label`] of an id that there may not be.
    pub(super) fn label_of(&self, id: usize) -> Result<usize> {
        self.labels.get(id).copied().ok_or_else(|| {
            let what = format!("{}: example id", self.path.display());
            let expected = format!("at most {}", self.len() - 1);
            Error::mismatch(what, expected, id, "ids count from 0")
        })
    }
}
