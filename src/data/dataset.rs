//! The one type behind every image format.
//!
//! An example's id is its row in the file as stored (folder data: sorted paths), whatever the subset or batch size.
//! Images stay encoded in memory; they are decoded when asked for.

use super::digest::ContentDigest;
use super::faults::{check_command, refuse};
use super::image::FORMATS;
use super::{Image, NewLabels, parquet, recognised};
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

/// Whether labels are read with the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    /// They have to be there.
    Read,
    /// They may be there; 0 stands for each.
    Ignored,
}

/// What a format's reader found, before it is checked: labels may be of no class, and images of no bytes.
pub(super) struct Stored {
    /// The format's name, for people.
    pub(super) format: &'static str,
    pub(super) images: Images,
    pub(super) places: Places,
    pub(super) labels: Vec<i64>,
    /// Class names where the format has them.
    pub(super) classes: Option<Vec<String>>,
}

/// Images as stored.
#[derive(Debug, Clone)]
pub(super) enum Images {
    /// Files of the [`FORMATS`].
    Encoded(Vec<Vec<u8>>),
    /// Bytes, `[N, C, H, W]`; one channel for greyscale, three for RGB.
    Planes {
        channels: usize,
        height: usize,
        width: usize,
        pixels: Vec<u8>,
    },
}

/// Where examples lie within the data set, for messages.
#[derive(Debug, Clone)]
pub(super) enum Places {
    Rows,
    Files(Vec<String>),
}

/// Stands for a null among labels.
pub(super) const NULL_LABEL: i64 = i64::MIN;

/// Without class names, a label beyond this is taken for damage rather than for a class.
const LARGEST_UNNAMED_LABEL: i64 = 99_999;

/// What else can be done with images that have no labels.
pub(super) const UNLABELLED: &str =
    "test images without labels are for ascribe rank --measurement prediction";

const REPLACE: &str = "replace or remove this image";

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
    pub fn from_parquet_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        let path = Path::new(name);
        Self::new(path, parquet::read_bytes(path, bytes, Labels::Read)?)
    }

    /// An image from its bytes; `place` says where in the set at `path` it is.
    pub(super) fn decoded(bytes: &[u8], path: &Path, place: impl Fn() -> String) -> Result<Image> {
        Image::decode(bytes).map_err(|reason| {
            let expected = format!("an image ({FORMATS}) that decodes");
            Error::format(path, place(), expected, reason, REPLACE)
        })
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
        let classes =
            classes.unwrap_or_else(|| (0..count).map(|class| class.to_string()).collect());
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

impl Stored {
    /// [`label_faults`].
    pub(super) fn label_faults(&self, path: &Path) -> Vec<Error> {
        let place = |row| self.places.name(row);
        label_faults(path, &self.labels, self.classes.as_deref(), place)
    }
}

impl Images {
    /// Decodes one; where it lies is for messages.
    pub(super) fn decode(&self, id: usize, path: &Path, places: &Places) -> Result<Image> {
        match self {
            Self::Encoded(images) => match (places, images[id].is_empty()) {
                (Places::Rows, true) => Err(absent(path, places.name(id))),
                _ => Dataset::decoded(&images[id], path, || places.name(id)),
            },
            &Self::Planes {
                channels,
                height,
                width,
                ref pixels,
            } => {
                let size = channels * height * width;
                Ok(Image {
                    channels,
                    height,
                    width,
                    pixels: pixels[id * size..(id + 1) * size].to_vec(),
                })
            }
        }
    }

    /// A fault for each row without an image.
    fn absent(&self, path: &Path, places: &Places) -> Vec<Error> {
        let (Self::Encoded(images), Places::Rows) = (self, places) else {
            return Vec::new();
        };
        let rows = (0..images.len()).filter(|&row| images[row].is_empty());
        rows.map(|row| absent(path, places.name(row))).collect()
    }
}

fn absent(path: &Path, place: String) -> Error {
    let remedy = "write the file with its images embedded, or remove the row";
    Error::format(path, place, "the bytes of an image", "none", remedy)
}

impl Places {
    fn name(&self, id: usize) -> String {
        match self {
            Self::Files(files) if id < files.len() => files[id].clone(),
            _ => format!("row {id}"),
        }
    }
}

/// Labels as indices, when there are any and each has a class.
pub(super) fn check_labels(
    path: &Path,
    labels: &[i64],
    classes: Option<&[String]>,
    place: impl Fn(usize) -> String,
) -> Result<Vec<usize>> {
    check_not_empty(path, labels)?;
    let faults = label_faults(path, labels, classes, place);
    match faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(labels.iter().map(|&label| label as usize).collect()),
    }
}

/// Refuses a set of no images.
pub(super) fn check_not_empty(path: &Path, labels: &[i64]) -> Result<()> {
    if !labels.is_empty() {
        return Ok(());
    }
    let (expected, remedy) = ("at least one image", "give a set that is not empty");
    Err(Error::format(path, "content", expected, "none", remedy))
}

/// A fault for each label without a class; where there are no labels at all, one.
fn label_faults(
    path: &Path,
    labels: &[i64],
    classes: Option<&[String]>,
    place: impl Fn(usize) -> String,
) -> Vec<Error> {
    let limit = classes.map_or(LARGEST_UNNAMED_LABEL, |names| names.len() as i64 - 1);
    let expected = format!("a label from 0 to {limit}");
    if labels.iter().all(|label| [-1, NULL_LABEL].contains(label)) {
        let found = "none (-1 or null of each image)";
        return vec![Error::format(path, "labels", expected, found, UNLABELLED)];
    }
    let wrong = labels.iter().enumerate();
    let wrong = wrong.filter(|(_, label)| !(0..=limit).contains(*label));
    let fault = |(row, label): (usize, &i64)| {
        let found = match *label {
            NULL_LABEL => "null".to_owned(),
            label => label.to_string(),
        };
        let remedy = "correct or remove it (-1 marks images without a label)";
        Error::format(path, place(row), expected.clone(), found, remedy)
    };
    wrong.map(fault).collect()
}

fn digest(images: &Images, labels: &[usize], classes: &[String]) -> String {
    let mut digest = ContentDigest::new("images");
    digest.names(classes);
    digest.number(labels.len() as u64);
    labels.iter().for_each(|&label| digest.number(label as u64));
    match images {
        Images::Encoded(images) => images.iter().for_each(|image| digest.bytes(image)),
        Images::Planes {
            channels,
            height,
            width,
            pixels,
        } => {
            // Greyscale has the digest it had when it was alone.
            if *channels != 1 {
                digest.number(*channels as u64);
            }
            digest.number(*height as u64);
            digest.number(*width as u64);
            digest.bytes(pixels);
        }
    }
    digest.finish()
}
