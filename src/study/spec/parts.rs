//! The parts of a spec: seeds, recipe, search, sources, targets.

use super::keys::Keys;
use super::{AXES, Search, SourceSpec, TargetSpec, differ, positive};
use crate::artefact::effective;
use crate::data::{Transform, is_built_in};
use crate::model::{Blocks, Normalisation, SourceSettings};
use crate::study::ImageCount;
use crate::train::{Norm, TransferOptions, check_epsilon, read_radius};
use crate::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// More are a slip of the pen.
const MOST_SEEDS: u64 = 1000;

/// `0`, `3` or `"all"`.
pub(super) fn blocks(value: &Value) -> Option<Blocks> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.parse().ok()
}

/// So many from 0, or a list of them.
pub(super) fn seeds(keys: &mut Keys) -> Result<Vec<u64>> {
    let expected = "a number of seeds from 1 to 1000, or a list of different seeds";
    /// So many, or these.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Count(u64),
        List(Vec<u64>),
    }
    let seeds = match keys.take("seeds", expected)? {
        None => vec![0],
        Some(Written::Count(count)) => (0..count.min(MOST_SEEDS + 1)).collect(),
        Some(Written::List(seeds)) => seeds,
    };
    match (1..=MOST_SEEDS as usize).contains(&seeds.len()) && differ(&seeds) {
        true => Ok(seeds),
        false if differ(&seeds) => {
            let found = format!("{} seeds", seeds.len());
            Err(keys.wrong("seeds", expected, found))
        }
        false => Err(keys.wrong("seeds", expected, format!("{seeds:?}"))),
    }
}

/// `400` or `"all"`.
pub(super) fn images(value: &Value) -> Option<ImageCount> {
    match value {
        Value::String(text) if text == "all" => Some(ImageCount::All),
        other => positive(other).map(ImageCount::Number),
    }
}

/// What numbers of images of the axis take, `kind`: each from 1 to `most`.
pub(super) fn of_images(
    keys: &mut Keys,
    (name, images): (&str, &[ImageCount]),
    (kind, most): (&str, usize),
) -> Result<BTreeMap<ImageCount, usize>> {
    let upto = match most {
        usize::MAX => "up".to_owned(),
        most => format!("to {most}"),
    };
    let expected = format!(
        "numbers of images from the axis, each with {kind} from 1 {upto}, as in {{ 3200 = 1 }}"
    );
    let given: BTreeMap<String, usize> = keys.take(name, &expected)?.unwrap_or_default();
    let number = |(key, &count): (&String, &usize)| {
        let images_of = key.parse().ok().filter(|number| images.contains(number))?;
        (1..=most).contains(&count).then_some((images_of, count))
    };
    let read: Option<BTreeMap<ImageCount, usize>> = given.iter().map(number).collect();
    read.ok_or_else(|| keys.wrong(name, expected, format!("{given:?}")))
}

/// The options of a transfer that are no axes.
pub(super) fn recipe_names(options: &TransferOptions) -> Result<Vec<String>> {
    let names = effective(options)?.into_keys();
    Ok(names
        .filter(|name| !AXES.contains(&name.as_str()))
        .collect())
}

/// The recipe with one value of the spec.
pub(super) fn set(
    keys: &Keys,
    options: &TransferOptions,
    name: &str,
    value: &Value,
) -> Result<TransferOptions> {
    options.with(name, value).map_err(|error| match error {
        Error::Mismatch { expected, .. } => keys.wrong(name, expected, value.to_string()),
        Error::Config { reason, .. } => {
            let expected = reason.split(", found").next().unwrap_or(&reason);
            let expected = expected.trim_start_matches("expected ");
            keys.wrong(name, expected, value.to_string())
        }
        other => other,
    })
}

/// All combinations of the values listed.
pub(super) fn search(
    mut keys: Keys,
    options: &TransferOptions,
    names: &[String],
) -> Result<Search> {
    let expected = "a share between 0 and 1";
    let validation: f64 = keys.take("validation", expected)?.unwrap_or(0.2);
    if !(validation > 0.0 && validation < 1.0) {
        return Err(keys.wrong("validation", expected, validation.to_string()));
    }
    let mut candidates = vec![BTreeMap::new()];
    for name in names {
        let Some(values) = keys.take_any(name) else {
            continue;
        };
        let values = match values {
            Value::Array(values) if !values.is_empty() && differ(&values) => values,
            other => {
                let expected = "a list of different values";
                return Err(keys.wrong(name, expected, other.to_string()));
            }
        };
        for value in &values {
            set(&keys, options, name, value)?;
        }
        let with = |candidate: &BTreeMap<String, Value>| {
            let candidate = candidate.clone();
            let name = name.clone();
            (values.clone().into_iter()).map(move |value| {
                let mut candidate = candidate.clone();
                candidate.insert(name.clone(), value);
                candidate
            })
        };
        candidates = candidates.iter().flat_map(with).collect();
    }
    keys.refuse_unknown()?;
    if candidates.len() < 2 {
        let expected = "lists of values that make at least two candidates";
        return Err(keys.wrong("learning-rate", expected, "one"));
    }
    Ok(Search {
        candidates,
        validation,
    })
}

/// A value of the recipe, or a target's own, would never be tried where others are searched.
pub(super) fn refuse_searched(
    file: &Path,
    search: &Search,
    (given, targets): (&[String], &[TargetSpec]),
) -> Result<()> {
    for name in search.candidates.iter().flat_map(BTreeMap::keys) {
        let own = (targets.iter()).find(|target| target.recipe.contains_key(name));
        let place = match own {
            Some(target) => format!("target.{}.{name}", target.name),
            None if given.contains(name) => name.clone(),
            None => continue,
        };
        let (found, remedy) = (
            format!("a value, and search.{name}"),
            "leave out one of them",
        );
        return Err(Error::format(
            file,
            place,
            "one or the other",
            found,
            remedy,
        ));
    }
    Ok(())
}

/// By ε, then name.
pub(super) fn sources(keys: &mut Keys, folder: &Path) -> Result<Vec<SourceSpec>> {
    let tables = keys.tables("source")?.into_iter();
    let sources = tables.map(|(name, keys)| source(name, keys, folder));
    let mut sources = sources.collect::<Result<Vec<_>>>()?;
    sources.sort_by(|a, b| a.epsilon.total_cmp(&b.epsilon).then(a.name.cmp(&b.name)));
    Ok(sources)
}

fn source(name: String, mut keys: Keys, folder: &Path) -> Result<SourceSpec> {
    let model: PathBuf = keys.need("model", "a path or built-in name, as --source takes it")?;
    let epsilon = epsilon(&mut keys)?;
    let norm: Option<Norm> = keys.take("norm", "l2 or linf")?;
    if epsilon > 0.0 && norm.is_none() {
        return Err(keys.wrong("norm", "l2 or linf, the norm of epsilon", "nothing"));
    }
    if epsilon == 0.0 && norm.is_some() {
        let expected = "a number above 0, as there is a norm";
        return Err(keys.wrong("epsilon", expected, epsilon.to_string()));
    }
    if let Some(norm) = norm {
        check_epsilon(norm, epsilon).map_err(|error| as_of_key(&keys, epsilon, error))?;
    }
    let three = "three numbers, as in [0.485, 0.456, 0.406]";
    let mean: Option<[f64; 3]> = keys.take("source-mean", three)?;
    let deviation: Option<[f64; 3]> = keys.take("source-deviation", three)?;
    if mean.is_some() != deviation.is_some() {
        let missing = ["source-mean", "source-deviation"][usize::from(mean.is_some())];
        return Err(keys.wrong(missing, three, "one of mean and deviation alone"));
    }
    let (side, resize) = (pixels(&mut keys, "side")?, pixels(&mut keys, "resize")?);
    keys.refuse_unknown()?;
    Ok(SourceSpec {
        name,
        model: located(model, folder),
        epsilon,
        norm,
        settings: SourceSettings {
            normalisation: (mean.zip(deviation))
                .map(|(mean, deviation)| Normalisation { mean, deviation }),
            side,
            resize,
        },
    })
}

/// A radius as `--epsilon` takes it, or 0.
fn epsilon(keys: &mut Keys) -> Result<f64> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Fraction(String),
    }
    let expected =
        "0 (natural) or a positive number in pixel units of [0, 1], as in 0.25 or \"8/255\"";
    let (epsilon, found) = match keys.take("epsilon", expected)? {
        None => return Ok(0.0),
        Some(Written::Number(number)) => (Some(number), number.to_string()),
        Some(Written::Fraction(text)) => (read_radius(&text).ok(), text),
    };
    epsilon
        .filter(|&epsilon| epsilon >= 0.0 && epsilon.is_finite())
        .ok_or_else(|| keys.wrong("epsilon", expected, found))
}

/// What the check of `--epsilon` says, said of the key, where a fraction stands in quotes.
fn as_of_key(keys: &Keys, epsilon: f64, error: Error) -> Error {
    let Error::Config { reason, .. } = error else {
        return error;
    };
    let reason = reason.strip_prefix("expected ").unwrap_or(&reason);
    let (expected, found) = reason.split_once(", found ").unwrap_or((reason, "another"));
    let fraction = format!("{epsilon}/255");
    let found = found.replace(&fraction, &format!("\"{fraction}\""));
    keys.wrong("epsilon", expected, found)
}

fn pixels(keys: &mut Keys, name: &str) -> Result<Option<usize>> {
    let Some(value) = keys.take_any(name) else {
        return Ok(None);
    };
    match positive(&value) {
        None => Err(keys.wrong(name, "a positive number", value.to_string())),
        pixels => Ok(pixels),
    }
}

/// By name.
pub(super) fn targets(
    keys: &mut Keys,
    folder: &Path,
    options: &TransferOptions,
    names: &[String],
) -> Result<Vec<TargetSpec>> {
    let tables = keys.tables("target")?.into_iter();
    tables
        .map(|(name, keys)| target(name, keys, folder, (options, names)))
        .collect()
}

fn target(
    name: String,
    mut keys: Keys,
    folder: &Path,
    (options, names): (&TransferOptions, &[String]),
) -> Result<TargetSpec> {
    let train: PathBuf = keys.need("train", "the path of a data set")?;
    let test: PathBuf = keys.need("test", "the path of a data set")?;
    let mut recipe = BTreeMap::new();
    for option in names {
        if let Some(value) = keys.take_any(option) {
            set(&keys, options, option, &value)?;
            recipe.insert(option.clone(), value);
        }
    }
    let transform = transform(&mut keys)?;
    let test_images = match keys.take_any("test-images") {
        Some(value) => match positive(&value) {
            None => return Err(keys.wrong("test-images", "a positive number", value.to_string())),
            count => count,
        },
        None => None,
    };
    let file = "the path of a file of decisions";
    let exclude: Option<PathBuf> = keys.take("exclude", file)?;
    let relabel: Option<PathBuf> = keys.take("relabel", file)?;
    let share = "a share of the labels, from 0 to 1";
    let flip_labels: f64 = keys.take("flip-labels", share)?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&flip_labels) {
        return Err(keys.wrong("flip-labels", share, flip_labels.to_string()));
    }
    keys.refuse_unknown()?;
    Ok(TargetSpec {
        name,
        train: located(train, folder),
        test: located(test, folder),
        transform,
        exclude: exclude.map(|file| located(file, folder)),
        relabel: relabel.map(|file| located(file, folder)),
        flip_labels,
        test_images,
        recipe,
    })
}

/// `"greyscale"`, or a table with `greyscale`, `downscale` or both.
fn transform(keys: &mut Keys) -> Result<Transform> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Name(String),
        Table(Table),
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        #[serde(default)]
        greyscale: bool,
        downscale: Option<usize>,
    }
    let expected =
        "\"none\", \"greyscale\", or a table such as { downscale = 16, greyscale = true }";
    let found = match keys.take::<Written>("transform", expected)? {
        None => return Ok(Transform::default()),
        Some(found) => found,
    };
    let transform = |greyscale, downscale| Transform {
        greyscale,
        downscale,
    };
    match found {
        Written::Name(name) if name == "none" => Ok(Transform::default()),
        Written::Name(name) if name == "greyscale" => Ok(transform(true, None)),
        Written::Name(name) => Err(keys.wrong("transform", expected, name)),
        Written::Table(table) if table.downscale == Some(0) => {
            Err(keys.wrong("transform", "downscale of at least 1 pixel", "0"))
        }
        Written::Table(table) => Ok(transform(table.greyscale, table.downscale)),
    }
}

/// A path of the spec; built-in names stay as they are.
fn located(path: PathBuf, folder: &Path) -> PathBuf {
    match is_built_in(&path) {
        true => path,
        false => folder.join(path),
    }
}
