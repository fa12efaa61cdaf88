//! What a format's reader found: images, labels and where they lie, before a data set is made of them.

use super::Image;
use super::digest::ContentDigest;
use super::image::FORMATS;
use crate::{Error, Result};
use std::path::Path;

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

pub(super) const REPLACE: &str = "replace or remove this image";

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
                _ => decoded(&images[id], path, || places.name(id)),
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
    pub(super) fn absent(&self, path: &Path, places: &Places) -> Vec<Error> {
        let (Self::Encoded(images), Places::Rows) = (self, places) else {
            return Vec::new();
        };
        let rows = (0..images.len()).filter(|&row| images[row].is_empty());
        rows.map(|row| absent(path, places.name(row))).collect()
    }
}

/// An image from its bytes; `place` says where in the set at `path` it is.
pub(super) fn decoded(bytes: &[u8], path: &Path, place: impl Fn() -> String) -> Result<Image> {
    Image::decode(bytes).map_err(|reason| {
        let expected = format!("an image ({FORMATS}) that decodes");
        Error::format(path, place(), expected, reason, REPLACE)
    })
}

fn absent(path: &Path, place: String) -> Error {
    let remedy = "write the file with its images embedded, or remove the row";
    Error::format(path, place, "the bytes of an image", "none", remedy)
}

impl Places {
    pub(super) fn name(&self, id: usize) -> String {
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

pub(super) fn digest(images: &Images, labels: &[usize], classes: &[String]) -> String {
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
