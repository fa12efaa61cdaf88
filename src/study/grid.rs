//! The cells of the grid, and the runs they take; each run is known by the digest of all that determines it.

use super::{ImageCount, Material, Spec};
use crate::Result;
use crate::artefact::{digest_bytes, effective};
use crate::model::Blocks;
use crate::train::TransferOptions;
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
    /// A run in words: where in the grid, and the options of the candidate that it judges.
    #[must_use]
    pub fn describe(&self, job: &Job) -> String {
        let cell = &job.cell;
        let mut words = format!(
            "{} to {}, {} images, blocks {}, {} epochs, seed {}",
            self.sources[cell.source].name,
            self.targets[cell.target].name,
            cell.images,
            cell.blocks,
            cell.epochs,
            cell.seed
        );
        let candidates = self.search.as_ref().map(|search| &search.candidates);
        let judged = candidates
            .zip(job.candidate)
            .and_then(|(all, at)| all.get(at));
        for (name, value) in judged.into_iter().flatten() {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            words.push_str(&format!(", {name} {value}"));
        }
        words
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

    /// The options of transfers to a target set, with those of a candidate, or of none; blocks, epochs and seed are a cell's.
    pub(super) fn options_for(
        &self,
        target: usize,
        chosen: &BTreeMap<String, Value>,
    ) -> Result<TransferOptions> {
        let mut others = self.targets[target].recipe.iter().chain(chosen);
        others.try_fold(self.options.clone(), |options, (name, value)| {
            options.with(name, value)
        })
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
        let mut options = spec.options_for(cell.target, chosen)?;
        options.blocks = cell.blocks;
        options.recipe.epochs = cell.epochs;
        options.recipe.seed = cell.seed;
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
            "validation of each class": validation,
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
        let recipe = self.options.recipe();
        // A training pass is worth about three of evaluation.
        (3 * recipe.epochs * self.cell.images + recipe.measurements() * test_images) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::Input;
    use crate::data::{Framing, Transform};
    use crate::model::{Normalisation, ResNet};
    use crate::study::Search;

    const SPEC: &str = r#"
images = 20
blocks = 0
epochs = 4

[source.natural]
model = "builtin:natural"
side = 8

[target.digits]
train = "builtin:digits-train"
test = "builtin:digits-test"
"#;

    /// All that a run is made from.
    struct Given {
        spec: Spec,
        material: Material,
        cell: Cell,
        chosen: BTreeMap<String, Value>,
        candidate: Option<usize>,
    }

    type Change = fn(&mut Given);

    /// What decides a run that judges no candidate.
    const DECISIVE: &[(&str, Change)] = &[
        ("recipe", |it| it.spec.options.recipe.learning_rate = 0.05),
        ("recipe of the set", |it| {
            let recipe = &mut it.spec.targets[0].recipe;
            recipe.insert("l2".into(), 0.25.into());
        }),
        ("options found", |it| {
            it.chosen.insert("momentum".into(), 0.5.into());
        }),
        ("images", |it| it.cell.images = 40),
        ("blocks", |it| it.cell.blocks = Blocks::Last(1)),
        ("epochs", |it| it.cell.epochs = 5),
        ("seed", |it| it.cell.seed = 1),
        ("source", |it| {
            it.material.sources[0].input.digest = "another".into();
        }),
        ("framing", |it| {
            it.change_model(|model| model.with_framing(Framing::from(12)).unwrap());
        }),
        ("normalisation", |it| it.change_model(renormalised)),
        ("training images", |it| {
            it.material.targets[0].train = it.material.targets[0].test.clone();
        }),
        ("transform", |it| {
            it.material.targets[0].transform = Transform {
                greyscale: true,
                downscale: None,
            };
        }),
        ("decisions", |it| it.decide("exclude", "1")),
        ("other decisions", |it| it.decide("exclude", "2")),
        ("decisions of another kind", |it| it.decide("relabel", "1")),
        ("flipped labels", |it| it.spec.targets[0].flip_labels = 0.5),
        ("test images", |it| {
            it.material.targets[0].test = it.material.targets[0].train.clone();
        }),
        ("number of test images", |it| {
            it.material.targets[0].test_ids.truncate(50);
        }),
    ];

    impl Given {
        fn read() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("spec.toml");
            std::fs::write(&file, SPEC).unwrap();
            let mut spec = Spec::read(&file).unwrap();
            let material = Material::open(&spec).unwrap();
            spec.search = Some(Search {
                candidates: vec![BTreeMap::new()],
                validation: 0.2,
            });
            Self {
                cell: material.cells(&spec).remove(0),
                spec,
                material,
                chosen: BTreeMap::new(),
                candidate: None,
            }
        }

        /// One that judges a candidate.
        fn judging() -> Self {
            Self {
                candidate: Some(0),
                ..Self::read()
            }
        }

        fn change_model(&mut self, change: impl FnOnce(ResNet) -> ResNet) {
            let model = &mut self.material.sources[0].model;
            *model = change(model.clone());
        }

        fn decide(&mut self, role: &str, digest: &str) {
            self.material.targets[0].decision_inputs.push(Input {
                role: role.into(),
                path: "decisions.csv".into(),
                digest: digest.into(),
                rows: None,
            });
        }

        fn job(&self) -> Job {
            let pair = (&self.spec, &self.material);
            Job::new(pair, &self.cell, &self.chosen, self.candidate).unwrap()
        }

        fn digest(&self) -> String {
            self.job().digest
        }

        fn with(mut self, change: Change) -> String {
            change(&mut self);
            self.digest()
        }
    }

    fn renormalised(model: ResNet) -> ResNet {
        ResNet::new(
            model.architecture().clone(),
            model.classes().to_vec(),
            Normalisation::IMAGENET,
            model.framing(),
            model.tensors().clone(),
        )
        .unwrap()
    }

    #[test]
    fn a_run_is_known_by_all_that_decides_it() {
        let mut known = BTreeMap::from([
            (Given::read().digest(), "nothing"),
            (Given::judging().digest(), "that it judges"),
        ]);
        for &(what, change) in DECISIVE {
            let same = known.insert(Given::read().with(change), what);
            assert_eq!(same, None, "{what}");
        }
    }

    #[test]
    fn a_run_that_judges_is_known_by_what_is_held_back_and_by_no_test_image() {
        let same = Given::judging().digest();
        let other_share = Given::judging().with(|it| {
            it.spec.search.as_mut().unwrap().validation = 0.5;
        });
        assert_ne!(other_share, same);
        let other_test = Given::judging().with(|it| {
            it.material.targets[0].test = it.material.targets[0].train.clone();
            it.material.targets[0].test_ids.truncate(50);
        });
        assert_eq!(other_test, same);
        let other_share = Given::read().with(|it| {
            it.spec.search.as_mut().unwrap().validation = 0.5;
        });
        assert_eq!(other_share, Given::read().digest());
    }

    #[test]
    fn a_run_that_judges_is_told_with_its_candidate() {
        let mut given = Given::judging();
        let other = BTreeMap::from([
            ("augmentation".to_owned(), "none".into()),
            ("learning-rate".to_owned(), 0.05.into()),
        ]);
        given.spec.search.as_mut().unwrap().candidates.push(other);
        given.candidate = Some(1);
        let cell = "natural to digits, 20 images, blocks 0, 4 epochs, seed 0";
        let candidate = "augmentation none, learning-rate 0.05";
        let told = |given: &Given| given.spec.describe(&given.job());
        assert_eq!(told(&given), format!("{cell}, {candidate}"));
        given.candidate = None;
        assert_eq!(told(&given), cell);
    }

    /// What is finished is not done again for a new name or more memory.
    #[test]
    fn names_places_and_memory_are_no_part_of_a_run() {
        let same = Given::read().with(|it| {
            it.spec.sources[0].name = "another".into();
            it.spec.sources[0].epsilon = 0.5;
            it.spec.targets[0].name = "another".into();
            it.material.sources[0].input.path = "elsewhere".into();
            it.spec.options.recipe.memory = Some(1.0);
        });
        assert_eq!(same, Given::read().digest());
    }
}
