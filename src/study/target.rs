//! A target set of a study: which of its images every run takes, and with which labels.

use super::material::located;
use super::{ImageCount, Spec, TargetSpec};
use crate::artefact::Input;
use crate::data::{
    Dataset, DecisionFiles, Decisions, TrainingImages, Transform, check_same_classes,
    evenly_spaced, flips_none, held_back, subset,
};
use crate::{Error, Result};
use std::collections::BTreeSet;

/// Training and test images, and what was decided on them.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) train: Dataset,
    pub(super) test: Dataset,
    /// The test images that are measured.
    pub(super) test_ids: Vec<usize>,
    pub(super) transform: Transform,
    /// What was decided on the training images, and the files that say so.
    decisions: Decisions,
    pub(super) decision_inputs: Vec<Input>,
    /// What in the spec changes nothing, or is hardly meant, in words.
    pub(super) idle: Vec<String>,
    flip_labels: f64,
}

impl Target {
    /// Opens a target set of the spec, for sources of `least_side` at least.
    pub(super) fn open(spec: &Spec, target: &TargetSpec, least_side: usize) -> Result<Self> {
        let train = Dataset::open(&target.train)?;
        let test = Dataset::open(&target.test)?;
        check_same_classes(&train, &test)?;
        let place = format!("target.{}", target.name);
        let wrong = |key: &str, expected: String, found: usize| {
            let remedy = "correct the spec";
            let place = format!("{place}.{key}");
            Err(Error::format(
                &spec.file,
                place,
                expected,
                found.to_string(),
                remedy,
            ))
        };
        let count = target.test_images.unwrap_or(test.len());
        if count > test.len() {
            let expected = format!("at most {}, the test images there are", test.len());
            return wrong("test-images", expected, count);
        }
        if let Some(small) = target.transform.downscale
            && small >= least_side
        {
            let expected = format!("a downscale below {least_side}, the side that a source takes");
            return wrong("transform", expected, small);
        }
        let (exclude, relabel) = (target.exclude.as_deref(), target.relabel.as_deref());
        let files = DecisionFiles::read(exclude, relabel, &train)?;
        let mut opened = Self {
            test_ids: evenly_spaced(test.len(), count),
            train,
            test,
            transform: target.transform,
            decisions: files.decisions,
            decision_inputs: files.inputs,
            idle: (files.idle.into_iter())
                .map(|idle| format!("{place}: {idle}"))
                .collect(),
            flip_labels: target.flip_labels,
        };
        let total = opened.train.len();
        let is_own = |images: &&ImageCount| !spec.is_listed(**images, total);
        for &images in spec.images.iter().filter(is_own) {
            let count = images.of(total);
            let taken =
                (opened.training(count, 0)).map_err(|error| located(spec, &place, error))?;
            if let Some(idle) = flips_none(opened.flip_labels, count) {
                opened.idle.push(format!("{place}.{idle}"));
            }
            if let Some(classes) = taken.without(&opened.train) {
                let idle = format!("{place}, {images} images: {classes}");
                opened.idle.push(idle);
            }
        }
        if opened.train.digest() == opened.test.digest() {
            opened
                .idle
                .push(format!("{place}: train and test are the same images"));
        }
        let (outside, all) = opened.decisions.outside(&opened.taken(spec)?);
        if outside > 0 {
            opened.idle.push(format!(
                "{place}: {outside} of {all} decisions are on images that no run takes, and change nothing"
            ));
        }
        Ok(opened)
    }

    /// The training images that some run takes, before any is decided to be left out.
    fn taken(&self, spec: &Spec) -> Result<BTreeSet<usize>> {
        let (labels, classes) = (self.train.labels(), self.train.classes().len());
        let of_runs: BTreeSet<(usize, u64)> = (spec.images.iter())
            .flat_map(|&images| {
                let count = images.of(labels.len());
                spec.seeds_of(images).iter().map(move |&seed| (count, seed))
            })
            .collect();
        let mut taken = BTreeSet::new();
        for (images, seed) in of_runs {
            taken.extend(subset(labels, classes, images, seed)?);
        }
        Ok(taken)
    }

    /// The training images of a run, as `ascribe transfer --images N --seed S` takes them: `N` by the labels of the file, then less those
    /// that were decided to be left out.
    pub(super) fn training(&self, images: usize, seed: u64) -> Result<TrainingImages> {
        let (labels, classes) = (self.train.labels(), self.train.classes().len());
        let ids = subset(labels, classes, images, seed)?;
        let flips = (self.flip_labels, seed);
        TrainingImages::of(&self.train, ids, self.decisions.clone(), flips)
    }

    /// Training images apart from those that judge, a share of `validation` of every class.
    pub(super) fn split(
        &self,
        training: &TrainingImages,
        validation: f64,
        seed: u64,
    ) -> Result<(Vec<usize>, Vec<usize>)> {
        let TrainingImages {
            ids,
            labels: changed,
            ..
        } = training;
        let held = ((ids.len() as f64 * validation).round() as usize).max(1);
        let label = |id: &usize| changed.get(id).copied().unwrap_or(self.train.label(*id));
        let labels: Vec<usize> = ids.iter().map(label).collect();
        let classes = self.train.classes().len();
        let held: BTreeSet<usize> = (held_back(&labels, classes, held, seed)?)
            .into_iter()
            .map(|position| ids[position])
            .collect();
        Ok(ids.iter().copied().partition(|id| !held.contains(id)))
    }
}
