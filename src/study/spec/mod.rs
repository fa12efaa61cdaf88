//! The spec of a study: which sources go to which target sets, on which axes, by which recipe.
//!
//! The recipe's keys are the options of `ascribe transfer`, with their names, defaults and checks
//! ([`TransferOptions`]). Relative paths are relative to the spec's folder.

mod keys;
mod parts;
#[cfg(test)]
mod tests;

use self::keys::Keys;
use crate::Result;
use crate::data::Transform;
use crate::model::{Blocks, SourceSettings};
use crate::study::ImageCount;
use crate::train::{Norm, TransferOptions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The options of a transfer that are axes of a study, not part of its recipe.
const AXES: [&str; 3] = ["blocks", "epochs", "seed"];

/// Options of a transfer that hold for the whole process, and so for all runs of a study.
const OF_THE_PROCESS: [&str; 3] = ["device", "precision", "nondeterministic"];

/// Options of a recipe that make no other model.
const JUDGING_NOTHING: [&str; 2] = ["evaluate-every", "memory"];

/// A source model, and what its file does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceSpec {
    /// What it is called in tables and figures.
    pub name: String,
    /// As `--source` of `ascribe transfer`.
    pub model: PathBuf,
    /// The radius it was trained to be robust within; 0: natural.
    pub epsilon: f64,
    /// The norm of that radius.
    pub norm: Option<Norm>,
    /// As `--source-mean`, `--source-deviation`, `--side` and `--resize`.
    pub settings: SourceSettings,
}

/// A target set, or a variant of one.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetSpec {
    /// What it is called in tables and figures.
    pub name: String,
    /// Training images.
    pub train: PathBuf,
    /// Test images.
    pub test: PathBuf,
    /// What is done to all of them.
    pub transform: Transform,
    /// As `--exclude` and `--relabel` of `ascribe transfer`: files of decisions on the training images.
    pub exclude: Option<PathBuf>,
    /// See `exclude`.
    pub relabel: Option<PathBuf>,
    /// As `--flip-labels`.
    pub flip_labels: f64,
    /// So many test images, evenly taken; all where it is not given.
    pub test_images: Option<usize>,
    /// Options of the recipe that are others for this set.
    pub recipe: BTreeMap<String, Value>,
}

/// Values of the recipe that are tried, and how they are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// The options of each candidate: all combinations of the values listed.
    pub candidates: Vec<BTreeMap<String, Value>>,
    /// The share of a run's training images that is held back to judge candidates by.
    pub validation: f64,
}

/// A study.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// The file, for messages.
    pub file: PathBuf,
    /// By ε, then name: the natural source first.
    pub sources: Vec<SourceSpec>,
    /// By name.
    pub targets: Vec<TargetSpec>,
    /// Numbers of training images.
    pub images: Vec<ImageCount>,
    /// Fine-tuned blocks.
    pub blocks: Vec<Blocks>,
    /// Epochs; each number is a run of its own, with its own schedule.
    pub epochs: Vec<usize>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// How many of the seeds, where not all, by number of images.
    pub seeds_of_images: BTreeMap<ImageCount, usize>,
    /// Epochs in place of those of the axis, by number of images.
    pub epochs_of_images: BTreeMap<ImageCount, usize>,
    /// The recipe; blocks, epochs and seed in it are those of the first run.
    pub options: TransferOptions,
    /// The hyperparameter search, where there is one.
    pub search: Option<Search>,
    /// Whether the fine-tuned models are kept.
    pub keep_models: bool,
}

impl Spec {
    /// Reads and checks a spec.
    ///
    /// # Errors
    /// A file that is no TOML; a key that is unknown (with the nearest one), missing, or has an unusable value.
    pub fn read(file: &Path) -> Result<Self> {
        let mut keys = Keys::read(file)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        let images = axis(
            &mut keys,
            ("images", "a number above 0 or \"all\""),
            &parts::images,
        )?;
        let epochs = axis(&mut keys, ("epochs", "a number above 0"), &positive)?;
        let blocks = axis(
            &mut keys,
            ("blocks", "a number of blocks or \"all\""),
            &parts::blocks,
        )?;
        let seeds = parts::seeds(&mut keys)?;
        let keep_models = keys.take("keep-models", "true or false")?.unwrap_or(false);
        let seeds_of_images = parts::of_images(
            &mut keys,
            ("seeds-of-images", &images),
            ("a number of seeds", seeds.len()),
        )?;
        let epochs_of_images = parts::of_images(
            &mut keys,
            ("epochs-of-images", &images),
            ("a number of epochs", usize::MAX),
        )?;
        let mut options = TransferOptions::with_defaults(epochs[0])?;
        let names = parts::recipe_names(&options)?;
        let mut given = Vec::new();
        for name in &names {
            if let Some(value) = keys.take_any(name) {
                options = parts::set(&keys, &options, name, &value)?;
                given.push(name.clone());
            }
        }
        (options.blocks, options.recipe.seed) = (blocks[0], seeds[0]);
        let names: Vec<String> = (names.into_iter())
            .filter(|name| !OF_THE_PROCESS.contains(&name.as_str()))
            .collect();
        let search = match keys.table("search")? {
            Some(table) => {
                let mut names = names.clone();
                names.retain(|name| !JUDGING_NOTHING.contains(&name.as_str()));
                Some(parts::search(table, &options, &names)?)
            }
            None => None,
        };
        let sources = parts::sources(&mut keys, folder)?;
        let targets = parts::targets(&mut keys, folder, &options, &names)?;
        keys.refuse_unknown()?;
        if let Some(search) = &search {
            parts::refuse_searched(file, search, (&given, &targets))?;
        }
        Ok(Self {
            file: file.to_path_buf(),
            sources,
            targets,
            images,
            blocks,
            epochs,
            seeds,
            seeds_of_images,
            epochs_of_images,
            options,
            search,
            keep_models,
        })
    }

    /// The epochs of runs on so many images.
    #[must_use]
    pub fn epochs_of(&self, images: ImageCount) -> &[usize] {
        let other = self.epochs_of_images.get(&images);
        other.map_or(&self.epochs[..], std::slice::from_ref)
    }

    /// The seeds of runs on so many images.
    #[must_use]
    pub fn seeds_of(&self, images: ImageCount) -> &[u64] {
        let count = self.seeds_of_images.get(&images);
        &self.seeds[..count.copied().unwrap_or(self.seeds.len())]
    }
}

/// The values of an axis: at least one, all different, each of which `read` takes as it should be, `kind`.
fn axis<T: PartialEq>(
    keys: &mut Keys,
    (name, kind): (&str, &str),
    read: &dyn Fn(&Value) -> Option<T>,
) -> Result<Vec<T>> {
    let expected = format!("{kind}, or a list of different ones");
    let expected = expected.as_str();
    let values = match keys.need::<Value>(name, expected)? {
        Value::Array(values) => values,
        value => vec![value],
    };
    let found = Value::from(values.clone()).to_string();
    let taken: Option<Vec<T>> = values.iter().map(read).collect();
    match taken {
        Some(taken) if !taken.is_empty() && differ(&taken) => Ok(taken),
        _ => Err(keys.wrong(name, expected, found)),
    }
}

fn positive(value: &Value) -> Option<usize> {
    let number = usize::try_from(value.as_u64()?).ok()?;
    (number > 0).then_some(number)
}

fn differ<T: PartialEq>(values: &[T]) -> bool {
    (1..values.len()).all(|at| !values[..at].contains(&values[at]))
}
