//! What is scored: features, labels and ids of both sides, and the head.

use super::transferred::chosen;
use crate::artefact::Input;
use crate::cli::train_groups::{TrainGrouping, TrainImages};
use crate::data::{Features, HeadFile, NewLabels, Rows};
use crate::derivative::head::SoftmaxHead;
use crate::influence::{FeatureSet, Groups, Measurement};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One side, wherever it came from.
pub(in crate::cli) struct Side {
    /// `[n, d]`.
    pub(in crate::cli) features: Rows,
    pub(in crate::cli) labels: Vec<usize>,
    /// The rows' ids in their data set.
    pub(in crate::cli) ids: Vec<usize>,
    /// The files of the images, where each has one of its own.
    pub(in crate::cli) files: Option<Vec<String>>,
}

impl Side {
    /// The rows at these positions.
    pub(in crate::cli) fn part(&self, positions: &[usize]) -> Result<Self> {
        Ok(Self {
            features: self.features.part(positions)?,
            labels: positions.iter().map(|&at| self.labels[at]).collect(),
            ids: positions.iter().map(|&at| self.ids[at]).collect(),
            files: (self.files.as_ref())
                .map(|files| positions.iter().map(|&at| files[at].clone()).collect()),
        })
    }

    pub(in crate::cli) fn set(&self) -> FeatureSet<'_> {
        FeatureSet {
            features: &self.features,
            labels: &self.labels,
            ids: &self.ids,
        }
    }
}

/// Everything a run scores.
pub(in crate::cli) struct Material {
    pub(in crate::cli) train: Side,
    pub(in crate::cli) test: Side,
    /// Fitted to the training side where there is none.
    pub(in crate::cli) head: Option<SoftmaxHead>,
    pub(in crate::cli) class_count: usize,
    pub(in crate::cli) classes: Option<Vec<String>>,
    pub(in crate::cli) inputs: Vec<Input>,
    /// Labels other than those of the training file.
    pub(in crate::cli) relabelled: NewLabels,
}

impl Material {
    /// Reads features files and, where given, a head file, and checks that they belong together. Features of more than
    /// `resident` bytes are mapped where they can be. Queries that are measured at predictions have label 0 here.
    pub(super) fn open(
        (train, test, measurement): (&Path, &Path, Measurement),
        head: Option<&Path>,
        resident: Option<u64>,
    ) -> Result<Self> {
        let (train, test) = rayon::join(
            || Features::open_within(train, resident),
            || match measurement {
                Measurement::Label => Features::open_within(test, resident),
                Measurement::Prediction => Features::open_unlabelled(test, resident),
            },
        );
        let (train, test) = (train?, test?);
        check_pair(&train, &test)?;
        let file = head.map(HeadFile::open).transpose()?;
        if file.is_none() {
            check_fitted_classes(&train, &test)?;
            note_classes_without_images(&train);
        }
        let mut inputs = vec![input("train", &train), input("test", &test)];
        let mut class_count = train.class_count();
        if let Some(file) = &file {
            file.check_against(&train)?;
            file.check_against(&test)?;
            class_count = file.class_count();
            inputs.push(Input::of_file("head", file.path.clone())?);
        }
        let head = file
            .map(|file| SoftmaxHead::new(&file.weight, &file.bias))
            .transpose()?;
        let classes = train.classes.clone();
        Ok(Self {
            train: side(train),
            test: side(test),
            head,
            class_count,
            classes,
            inputs,
            relabelled: NewLabels::new(),
        })
    }

    /// Keeps so many of the queries, evenly spaced; their ids stay the rows of the file.
    pub(super) fn keep_queries(&mut self, queries: usize) -> Result<()> {
        let positions = chosen(self.test.ids.len(), Some(queries))?;
        self.test = self.test.part(&positions)?;
        Ok(())
    }

    /// The groups of training images that are asked for; a file of them becomes an input.
    pub(in crate::cli) fn train_groups(&mut self, grouping: &TrainGrouping) -> Result<Groups> {
        let images = TrainImages {
            ids: &self.train.ids,
            labels: &self.train.labels,
            classes: self.classes.as_deref().unwrap_or_default(),
        };
        grouping.groups(&images, &mut self.inputs)
    }

    /// Digests of the inputs by role.
    pub(in crate::cli) fn digests(&self) -> BTreeMap<String, String> {
        Input::digests(&self.inputs)
    }
}

/// What `run.json` says of a features file.
fn input(role: &str, features: &Features) -> Input {
    Input {
        role: role.into(),
        path: features.path.clone(),
        digest: features.digest.clone(),
        rows: Some(features.len()),
    }
}

fn side(features: Features) -> Side {
    Side {
        ids: (0..features.len()).collect(),
        features: features.values,
        labels: features.labels,
        files: None,
    }
}

/// The same d, and the same classes where both name them.
fn check_pair(train: &Features, test: &Features) -> Result<()> {
    if train.dimension() != test.dimension() {
        let expected = format!("{} columns", train.dimension());
        return Err(mismatch(
            (train, test),
            "features",
            expected,
            test.dimension().to_string(),
        ));
    }
    if let (Some(wanted), Some(given)) = (&train.classes, &test.classes)
        && wanted != given
    {
        let (wanted, given) = (wanted.join(", "), given.join(", "));
        return Err(mismatch((train, test), "classes", wanted, given));
    }
    Ok(())
}

/// A head that is fitted to the training images has their classes; one that is given has its own.
fn check_fitted_classes(train: &Features, test: &Features) -> Result<()> {
    let classes = train.class_count();
    if classes < 2 {
        return Err(Error::format(
            &train.path,
            "labels",
            "at least two classes, from 0",
            "0 alone",
            "give images of two classes or more, or their head with --head",
        ));
    }
    let mut labels = test.labels.iter();
    let Some(row) = labels.position(|&label| label >= classes) else {
        return Ok(());
    };
    let (expected, found) = (
        format!("a label below {classes}"),
        test.labels[row].to_string(),
    );
    Err(mismatch(
        (train, test),
        &format!("row {row}"),
        expected,
        found,
    ))
}

/// Says so where labels leave numbers out, as one that stands for "none" does: the head is fitted for these too.
fn note_classes_without_images(train: &Features) {
    let classes = train.class_count();
    let without = classes - train.labels.iter().collect::<BTreeSet<_>>().len();
    if without > 0 {
        note!(
            "ascribe: {}: {without} of {classes} classes have no image; the head is fitted for all of them",
            train.path.display()
        );
    }
}

fn mismatch(
    (train, test): (&Features, &Features),
    what: &str,
    expected: String,
    found: String,
) -> Error {
    let expected = format!("{expected} (as in {})", train.path.display());
    let remedy = "give train and test features of the same model and classes";
    Error::mismatch(
        format!("{}: {what}", test.path.display()),
        expected,
        found,
        remedy,
    )
}
