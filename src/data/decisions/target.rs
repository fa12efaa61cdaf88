//! The data set that decisions are on: which image and which class a row names.

use super::{Wrong, named};
use crate::data::Dataset;
use std::collections::BTreeMap;

/// What decisions are on.
pub(super) struct Target<'a> {
    pub(super) count: usize,
    pub(super) classes: &'a [String],
    pub(super) digest: &'a str,
    /// Ids by file, where the set is a folder of files.
    pub(super) files: BTreeMap<&'a str, usize>,
}

impl<'a> Target<'a> {
    /// A set with its files, if it is a folder of these.
    pub(super) fn of(set: &'a Dataset) -> Self {
        let file = |id: usize| Some((set.file(id)?, id));
        Self {
            count: set.len(),
            classes: set.classes(),
            digest: set.digest(),
            files: (0..set.len()).filter_map(file).collect(),
        }
    }

    /// Refuses a row that is on another set, where it says on which.
    pub(super) fn check_digest(&self, data: Option<&str>) -> std::result::Result<(), Wrong> {
        match data.filter(|data| !data.is_empty() && *data != self.digest) {
            None => Ok(()),
            Some(other) => Err((
                format!("decisions on the data set with the digest {}", self.digest),
                other.to_owned(),
            )),
        }
    }

    /// The id of the image that a row is on.
    pub(super) fn image(
        &self,
        train: Option<&str>,
        file: Option<&str>,
    ) -> std::result::Result<usize, Wrong> {
        let given = file.filter(|file| !file.trim().is_empty());
        let file = given.filter(|_| !self.files.is_empty());
        let of_file = match file {
            None => None,
            Some(file) => {
                let id = [file, file.trim()]
                    .iter()
                    .find_map(|name| self.files.get(name));
                let id = id.copied();
                Some(id.ok_or_else(|| ("a file of the training set".to_owned(), file.to_owned()))?)
            }
        };
        let Some(train) = train.filter(|train| !train.is_empty()) else {
            return of_file.ok_or_else(|| match given {
                None => ("an image's id or file".into(), "none".into()),
                Some(file) => {
                    let found = format!("the file {file}, where the images are no files");
                    ("an image's id".into(), found)
                }
            });
        };
        let id = whole(train).filter(|id| *id < self.count);
        let id = id.ok_or_else(|| (format!("an id below {}", self.count), named(train)))?;
        match of_file {
            Some(other) if other != id => Err((
                format!("the file of image {id}"),
                format!("{}, that of image {other}", file.unwrap_or_default()),
            )),
            _ => Ok(id),
        }
    }

    /// A class by its name or number; names go first, as those of digits may be numbers in another order.
    pub(super) fn label(&self, text: &str) -> std::result::Result<usize, Wrong> {
        let named_so = |text| self.classes.iter().position(|class| class == text);
        let class = named_so(text).or_else(|| named_so(text.trim()));
        if let Some(class) = class
            && let Some(other) = (class + 1..self.classes.len())
                .find(|&other| self.classes[other] == self.classes[class])
        {
            let found = format!("{text}, as classes {class} and {other} are both called");
            return Err(("the name of one class alone".into(), found));
        }
        let text = text.trim();
        let number = || whole(text).filter(|label| *label < self.classes.len());
        class.or_else(number).ok_or_else(|| {
            let expected = format!("a class's name, or a label below {}", self.classes.len());
            (expected, named(text))
        })
    }
}

/// A whole number, also as programs write it where a column has gaps: `9.0`.
fn whole(text: &str) -> Option<usize> {
    let digits = text.split_once('.').map_or(text, |(digits, rest)| {
        match rest.bytes().all(|digit| digit == b'0') {
            true => digits,
            false => text,
        }
    });
    digits.parse().ok()
}
