//! What all runs share: source models and target sets, opened once; images decoded once.

use super::{Cell, SourceSpec, Spec, TargetSpec};
use crate::artefact::{DIGESTS, Input, RunFolder, RunRecord, folder_of};
use crate::data::{
    Dataset, DecisionFiles, Decisions, Framing, Pixels, TrainingImages, Transform,
    check_same_classes, evenly_spaced, held_back, subset,
};
use crate::model::{Backbone, open_backbone};
use crate::train::{Norm, check_last_batch};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Opened sources and target sets, in the order of the spec.
#[derive(Debug)]
pub struct Material {
    pub(super) sources: Vec<Backbone>,
    pub(super) targets: Vec<Target>,
}

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
    idle: Vec<String>,
    flip_labels: f64,
}

/// The images of one target set as one source sees them.
pub(super) struct Decoded {
    /// All that some run trains on.
    pub(super) train: Pixels,
    pub(super) test: Pixels,
}

/// Images by target, and what the sources see of them.
pub(super) type Images = BTreeMap<(usize, Framing), Decoded>;

impl Material {
    /// Opens everything, and checks that every run of the grid makes sense.
    ///
    /// # Errors
    /// A model or data set that cannot be read; a source that was trained within another radius; fewer images or blocks than an axis asks
    /// for; a last batch of one image, where that cannot be trained on.
    pub fn open(spec: &Spec) -> Result<Self> {
        let open = |source: &SourceSpec| {
            let backbone = open_backbone(&source.model, source.settings)?;
            check_radius(spec, source, &backbone.input)?;
            for blocks in &spec.blocks {
                (blocks.first_segment(backbone.model.architecture()))
                    .map_err(|error| located(spec, &format!("source.{}", source.name), error))?;
            }
            Ok(backbone)
        };
        let sources = spec.sources.iter().map(open).collect::<Result<Vec<_>>>()?;
        let least_side = sources.iter().map(|source| source.model.side()).min();
        let open = |target: &TargetSpec| Target::open(spec, target, least_side.unwrap_or(0));
        let material = Self {
            targets: spec.targets.iter().map(open).collect::<Result<_>>()?,
            sources,
        };
        material.check_runs(spec)?;
        Ok(material)
    }

    /// Refuses, before any run, a search that would hold back too many images to train on all classes, and batches of one image.
    fn check_runs(&self, spec: &Spec) -> Result<()> {
        let (mut seen, mut counts) = (BTreeSet::new(), BTreeSet::new());
        for cell in self.cells(spec) {
            if !seen.insert((cell.target, cell.images, cell.seed)) {
                continue;
            }
            let target = &self.targets[cell.target];
            let training = target.training(cell.images, cell.seed)?;
            counts.insert((cell.target, training.ids.len()));
            if let Some(search) = &spec.search {
                let (kept, _) = (target.split(&training, search.validation, cell.seed))
                    .map_err(|error| located(spec, "search.validation", error))?;
                counts.insert((cell.target, kept.len()));
            }
        }
        let mut counts = counts.into_iter();
        counts.try_for_each(|(target, images)| self.check_batches(spec, target, images))
    }

    /// Refuses to train on so many images of a target set where they leave a batch of one that batch norm has no statistics for.
    fn check_batches(&self, spec: &Spec, target: usize, images: usize) -> Result<()> {
        let as_written = [BTreeMap::new()];
        let candidates = (spec.search.as_ref()).map_or(&as_written[..], |it| &it.candidates);
        let mut seen = Vec::new();
        for chosen in candidates {
            let recipe = spec.options_for(target, chosen)?.recipe();
            let decides = (recipe.batch_size, recipe.frozen_statistics);
            if seen.contains(&decides) {
                continue;
            }
            seen.push(decides);
            let refused = |error: Error| match error {
                Error::Config { .. } => Error::format(
                    &spec.file,
                    format!("batch-size for target.{}", spec.targets[target].name),
                    "a size that leaves no batch of one image, which batch norm has no statistics for",
                    format!("{} for {images} training images", recipe.batch_size),
                    "choose another size or number of images, or a larger side of the source",
                ),
                other => other,
            };
            for Backbone { model, .. } in &self.sources {
                let size = [model.framing().height, model.framing().width];
                for blocks in &spec.blocks {
                    let first_segment = blocks.first_segment(model.architecture())?;
                    check_last_batch(model, first_segment, &recipe, (images, size))
                        .map_err(refused)?;
                }
            }
        }
        Ok(())
    }

    /// How many training images every target set has.
    #[must_use]
    pub fn totals(&self) -> Vec<usize> {
        let targets = self.targets.iter();
        targets.map(|target| target.train.len()).collect()
    }

    /// All cells of a spec's grid.
    #[must_use]
    pub fn cells(&self, spec: &Spec) -> Vec<Cell> {
        spec.cells(&self.totals())
    }

    /// What in the spec changes nothing, or is hardly meant, in words.
    pub fn idle(&self) -> impl Iterator<Item = &str> {
        let targets = self.targets.iter();
        targets.flat_map(|target| target.idle.iter().map(String::as_str))
    }

    /// What `run.json` says of all of it.
    #[must_use]
    pub fn inputs(&self) -> Vec<Input> {
        let sources = self.sources.iter().map(|source| source.input.clone());
        let sets = (self.targets.iter()).flat_map(|target| {
            let sets = [target.train.input("train"), target.test.input("test")];
            sets.into_iter()
                .chain(target.decision_inputs.iter().cloned())
        });
        sources.chain(sets).collect()
    }

    /// Decodes what these runs look at, and nothing twice; the smallest sets in as many bytes as `memory` has, the others each time that
    /// an image is asked for.
    pub(super) fn decode<'a>(
        &self,
        cells: impl Iterator<Item = &'a Cell>,
        memory: u64,
    ) -> Result<Images> {
        let mut wanted: BTreeMap<(usize, Framing), BTreeSet<usize>> = BTreeMap::new();
        for cell in cells {
            let framing = self.sources[cell.source].model.framing();
            let ids = self.targets[cell.target]
                .training(cell.images, cell.seed)?
                .ids;
            wanted
                .entry((cell.target, framing))
                .or_default()
                .extend(ids);
        }
        let sizes = wanted.iter().flat_map(|(&(target, framing), ids)| {
            let sets = [ids.len(), self.targets[target].test_ids.len()];
            sets.map(|images| Pixels::bytes(images, framing))
        });
        let most = largest_within(sizes.collect(), memory);
        let decode = |((target, framing), ids): ((usize, Framing), BTreeSet<usize>)| {
            let target_set = &self.targets[target];
            let pixels = |set: &Dataset, ids: &[usize]| {
                Pixels::within(set, ids, target_set.transform, framing, most)
            };
            let ids: Vec<usize> = ids.into_iter().collect();
            let decoded = Decoded {
                train: pixels(&target_set.train, &ids)?,
                test: pixels(&target_set.test, &target_set.test_ids)?,
            };
            Ok(((target, framing), decoded))
        };
        wanted.into_iter().map(decode).collect()
    }
}

impl Target {
    fn open(spec: &Spec, target: &TargetSpec, least_side: usize) -> Result<Self> {
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
        for &images in &spec.images {
            let taken = (opened.training(images.of(opened.train.len()), 0))
                .map_err(|error| located(spec, &place, error))?;
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

/// Holds the ε of a source to that which `ascribe train` made it robust within, where its folder says so.
fn check_radius(spec: &Spec, source: &SourceSpec, input: &Input) -> Result<()> {
    let folder = folder_of(&input.path);
    // What lies beside weights from elsewhere may be anything.
    let record = RunFolder::read(folder).ok();
    let name = input.path.file_name().unwrap_or_default().to_string_lossy();
    let left_it = |record: &RunRecord| {
        let left = record
            .results
            .get(DIGESTS)
            .and_then(|files| files.get(&*name));
        record.command == "train" && left.and_then(Value::as_str) == Some(&input.digest)
    };
    let Some(record) = record.filter(left_it) else {
        return Ok(());
    };
    let norm = record.options.get("adversary").cloned();
    let norm: Option<Norm> = norm.and_then(|norm| serde_json::from_value(norm).ok());
    let epsilon = record.options.get("epsilon").and_then(Value::as_f64);
    let trained = norm.zip(epsilon);
    let given = source.norm.map(|norm| (norm, source.epsilon));
    let same = match (trained, given) {
        (Some((norm, epsilon)), Some((other, radius))) => {
            norm == other && (epsilon - radius).abs() <= 0.01 * epsilon
        }
        (trained, given) => trained.is_none() && given.is_none(),
    };
    if same {
        return Ok(());
    }
    let words = |radius: Option<(Norm, f64)>| match radius {
        None => "epsilon 0, natural".to_owned(),
        Some((norm, epsilon)) => format!("epsilon {epsilon} in {norm}"),
    };
    let place = format!("source.{}.epsilon", source.name);
    let expected = format!("{}, as in {}", words(trained), folder.display());
    Err(Error::format(
        &spec.file,
        place,
        expected,
        words(given),
        "correct the spec",
    ))
}

/// The largest of `sizes` up to which all of them are within `memory` together; 0 where none is.
fn largest_within(mut sizes: Vec<u64>, memory: u64) -> u64 {
    sizes.sort_unstable();
    let mut left = memory;
    let mut most = 0;
    for same in sizes.chunk_by(|a, b| a == b) {
        let Some(rest) = left.checked_sub(same.iter().sum()) else {
            break;
        };
        (left, most) = (rest, same[0]);
    }
    most
}

/// The error of an option as one of the spec.
pub(super) fn located(spec: &Spec, place: &str, error: Error) -> Error {
    let Error::Config { option, reason } = error else {
        return error;
    };
    let parts = reason
        .strip_prefix("expected ")
        .and_then(|rest| rest.split_once(", found "));
    let (expected, found) = parts.unwrap_or(("another value", &reason));
    // What is said of options of a command.
    let found = found.split("; ").next().unwrap_or(found);
    let place = format!("{option} for {place}");
    Error::format(&spec.file, place, expected, found, "correct the spec")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sets_are_kept_first_and_equal_ones_together() {
        for (memory, most) in [
            (0, 0),
            (3, 3),
            (8, 3),
            (9, 3),
            (12, 3),
            (13, 5),
            (112, 5),
            (113, 100),
        ] {
            assert_eq!(largest_within(vec![5, 100, 3, 5], memory), most, "{memory}");
        }
        assert_eq!(largest_within(Vec::new(), 10), 0);
    }
}
