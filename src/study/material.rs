//! What all runs share: source models and target sets, opened once; images decoded once.

use super::radius::check_radius;
use super::target::Target;
use super::{Cell, SourceSpec, Spec, TargetSpec};
use crate::artefact::Input;
use crate::data::{Dataset, Framing, Pixels};
use crate::model::{Backbone, open_backbone};
use crate::train::check_last_batch;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Opened sources and target sets, in the order of the spec.
#[derive(Debug)]
pub struct Material {
    pub(super) sources: Vec<Backbone>,
    pub(super) targets: Vec<Target>,
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
