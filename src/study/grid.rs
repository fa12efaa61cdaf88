//! The cells of the grid, and the runs they take; each run is known by the digest of all that determines it.

use super::{ImageCount, Material, Spec};
use crate::Result;
use crate::artefact::digest_bytes;
use crate::model::Blocks;
use crate::train::{TransferOptions, effective};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One point of the grid: the paper's six variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Index into the spec's sources.
    pub source: usize,
    /// Index into the spec's target sets.
    pub target: usize,
    /// Training images.
    pub images: usize,
    /// Fine-tuned blocks.
    pub blocks: Blocks,
    /// Epochs.
    pub epochs: usize,
    /// Seed.
    pub seed: u64,
}

/// One training.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Where in the grid.
    pub cell: Cell,
    /// Index into the candidates of the search, where the job judges one; then it sees no test image.
    pub candidate: Option<usize>,
    /// The transfer's options.
    pub options: TransferOptions,
    /// The name of its folder.
    pub digest: String,
}

impl Spec {
    /// A cell in words.
    #[must_use]
    pub fn describe(&self, cell: &Cell) -> String {
        format!(
            "{} to {}, {} images, blocks {}, {} epochs, seed {}",
            self.sources[cell.source].name,
            self.targets[cell.target].name,
            cell.images,
            cell.blocks,
            cell.epochs,
            cell.seed
        )
    }

    /// All cells, first seeds first: a study that is cut short is whole for some of them. `totals` are the training images of every
    /// target set.
    #[must_use]
    pub fn cells(&self, totals: &[usize]) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &seed in &self.seeds {
            for epochs in self.all_epochs() {
                for &images in &self.images {
                    let is_taken = self.seeds_of(images).contains(&seed)
                        && self.epochs_of(images).contains(&epochs);
                    if !is_taken {
                        continue;
                    }
                    for &blocks in &self.blocks {
                        for (target, &total) in totals.iter().enumerate() {
                            if self.is_listed(images, total) {
                                continue;
                            }
                            cells.extend((0..self.sources.len()).map(|source| Cell {
                                source,
                                target,
                                images: images.of(total),
                                blocks,
                                epochs,
                                seed,
                            }));
                        }
                    }
                }
            }
        }
        cells
    }

    /// Epochs of any number of images: those of the axis, then others.
    fn all_epochs(&self) -> Vec<usize> {
        let others: BTreeSet<usize> = self.epochs_of_images.values().copied().collect();
        let others = others.iter().filter(|epochs| !self.epochs.contains(epochs));
        self.epochs.iter().chain(others).copied().collect()
    }

    /// Whether all images are a number that is on the axis too.
    pub(super) fn is_listed(&self, images: ImageCount, total: usize) -> bool {
        images == ImageCount::All && self.images.contains(&ImageCount::Number(total))
    }
}

impl Job {
    /// The run of a cell with these options of a candidate, or of none; `candidate` says that it is for judging it.
    pub(super) fn new(
        (spec, material): (&Spec, &Material),
        cell: &Cell,
        chosen: &BTreeMap<String, Value>,
        candidate: Option<usize>,
    ) -> Result<Self> {
        let mut options = spec.options.clone();
        options.blocks = cell.blocks;
        options.recipe.epochs = cell.epochs;
        options.recipe.seed = cell.seed;
        for (name, value) in spec.targets[cell.target].recipe.iter().chain(chosen) {
            options = options.with(name, value)?;
        }
        if candidate.is_some() {
            options.recipe.evaluate_every = 0;
        }
        let (source, target) = (
            &material.sources[cell.source],
            &material.targets[cell.target],
        );
        let validation = (spec.search.as_ref())
            .filter(|_| candidate.is_some())
            .map(|search| search.validation);
        let test = json!({ "digest": target.test.digest(), "images": target.test_ids.len() });
        let mut decisive = effective(&options)?;
        decisive.remove("memory");
        let key = json!({
            "ascribe": env!("CARGO_PKG_VERSION"),
            "options": decisive,
            "images": cell.images,
            "source": source.input.digest,
            "framing": source.model.framing(),
            "normalisation": source.model.normalisation(),
            "train": target.train.digest(),
            "transform": target.transform,
            "decisions": target.decision_inputs.iter().map(|it| (&it.role, &it.digest)).collect::<Vec<_>>(),
            "flip-labels": spec.targets[cell.target].flip_labels,
            "test": if validation.is_some() { Value::Null } else { test },
            "validation": validation,
        });
        let digest = digest_bytes(key.to_string().as_bytes())[..24].to_owned();
        Ok(Self {
            cell: cell.clone(),
            candidate,
            options,
            digest,
        })
    }

    /// Image passes, a measure of how long it takes beside others.
    pub(super) fn cost(&self, test_images: usize) -> f64 {
        let recipe = &self.options.recipe;
        let evaluations = match recipe.evaluate_every {
            0 => 1,
            every => recipe.epochs.div_ceil(every),
        };
        // A training pass is worth about three of evaluation.
        (3 * recipe.epochs * self.cell.images + evaluations * test_images) as f64
    }
}
