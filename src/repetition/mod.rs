//! Whether a run that was repeated left the same: each file of one folder is held against that of the other.
//!
//! Files are the same if their bytes are. Tables (`.csv`, `.parquet`), arrays (`.npy`) and weights (`.safetensors`) that are not are
//! compared value by value, so that a difference has a size; of a `run.json` the results are. What the speed of the machine decides
//! does not count: columns and results called `seconds`, `bytes` or `rate`, and pictures of a table that has such columns. Nor do the
//! results that say what of the work a resumed run did last: `resumed` and `factor_operations`.

mod contents;

use crate::artefact::{DIGESTS, RunRecord, file_names, left_files, read_json};
use crate::{Error, Result};
use contents::{Column, Contents, Values, columns};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// Columns and results that the speed of the machine decides, or where the run was resumed.
const COSTS: [&str; 5] = ["seconds", "bytes", "rate", "resumed", "factor_operations"];

/// A file of both folders, or of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Its path in the folder, with `/` between components.
    pub file: String,
    /// What a look at both found.
    pub found: Found,
}

/// What a look at a file of two runs found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Found {
    /// The same bytes.
    Same,
    /// The same but for what the speed of the machine decides.
    SameButCosts,
    /// Values that differ.
    Values {
        /// How many.
        differing: usize,
        /// Of how many.
        of: usize,
        /// Largest absolute difference of two numbers; `None` where no two finite numbers differ.
        largest: Option<f64>,
    },
    /// Other bytes, columns or numbers of rows.
    Differs,
    /// Only in the first folder.
    Missing,
    /// Only in the second folder.
    Added,
}

impl Found {
    /// Whether the run came out the same as far as this file goes.
    pub fn is_same(&self) -> bool {
        matches!(self, Self::Same | Self::SameButCosts)
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Same => write!(f, "the same"),
            Self::SameButCosts => write!(f, "the same but for times and memory"),
            Self::Values {
                differing,
                of,
                largest,
            } => {
                write!(f, "{differing} of {of} values differ")?;
                match largest {
                    Some(largest) => write!(f, ", by {largest:.1e} at most"),
                    None => Ok(()),
                }
            }
            Self::Differs => write!(f, "differs"),
            Self::Missing => write!(f, "was not made again"),
            Self::Added => write!(f, "was not there before"),
        }
    }
}

/// Compares all files of two folders but hidden ones, in the order of their names; where `stem` is given those of that name, whatever
/// its ending, whose record is `stem.json`. Runs of a study that the second lacks are left out:
/// they are of an earlier spec or of data that changed since, and a run of the table that was missing would show there. So are
/// files with the first record that it does not name, if it names any, and that are of no run of its study: somebody put them there.
///
/// # Errors
/// A file cannot be read, or a record is malformed.
pub fn compare(first: &Path, second: &Path, stem: Option<&str>) -> Result<Vec<Comparison>> {
    let of_it = |name: &String| {
        stem.is_none_or(|stem| Path::new(name).with_extension("") == Path::new(stem))
    };
    let names = |folder: &Path| -> Result<BTreeSet<String>> {
        Ok(file_names(folder)?.into_iter().filter(of_it).collect())
    };
    let [mut before, after] = [names(first)?, names(second)?];
    let record = format!("{}.json", stem.unwrap_or("run"));
    let (mut left, mut is_study) = (Vec::new(), false);
    if before.contains(&record) {
        let file = first.join(&record);
        left = left_files(&file)?;
        is_study = read_json::<RunRecord>(&file)?.command == "study";
    }
    let is_left = |name: &String| {
        let is_named = *name == record || left.iter().any(|file| file.name == *name);
        left.is_empty() || is_named || is_study && name.starts_with("runs/")
    };
    before.retain(is_left);
    let names: BTreeSet<&String> = before.iter().chain(&after).collect();
    let found = |name: &str| -> Result<Found> {
        Ok(match (before.contains(name), after.contains(name)) {
            (true, false) => Found::Missing,
            (false, _) => Found::Added,
            _ if Path::new(name).ends_with(&record) => {
                compare_results(&first.join(name), &second.join(name))?
            }
            _ => compare_files(&first.join(name), &second.join(name))?,
        })
    };
    let is_left_behind = |name: &&String| {
        let run = name
            .strip_prefix("runs/")
            .and_then(|rest| rest.split_once('/'));
        run.is_some_and(|(run, _)| !second.join("runs").join(run).exists())
    };
    (names.into_iter().filter(|name| !is_left_behind(name)))
        .map(|name| {
            Ok(Comparison {
                file: name.clone(),
                found: found(name)?,
            })
        })
        .collect()
}

fn compare_files(first: &Path, second: &Path) -> Result<Found> {
    if same_bytes(first, second)? {
        return Ok(Found::Same);
    }
    match (columns(first), columns(second)) {
        (Ok(Contents::Columns(first)), Ok(Contents::Columns(second))) => {
            Ok(compare_columns(&first, &second))
        }
        (Ok(_), Ok(_)) if shows_costs(first)? => Ok(Found::SameButCosts),
        // Or one of them is damaged.
        _ => Ok(Found::Differs),
    }
}

/// Whether a file is a picture drawn from a table beside it that has costs in it.
fn shows_costs(file: &Path) -> Result<bool> {
    let is_picture = file
        .extension()
        .is_some_and(|ending| ending == "svg" || ending == "png");
    let table = file.with_extension("csv");
    if !is_picture || !table.exists() {
        return Ok(false);
    }
    Ok(match columns(&table)? {
        Contents::Columns(columns) => columns.iter().any(is_cost),
        Contents::Other => false,
    })
}

fn is_cost(column: &Column) -> bool {
    COSTS.contains(&column.name.as_str())
}

fn same_bytes(first: &Path, second: &Path) -> Result<bool> {
    let [mut one, mut other] = [open(first)?, open(second)?];
    let (mut ours, mut theirs) = (vec![0; 1 << 20], Vec::new());
    loop {
        let length = one.read(&mut ours).map_err(Error::io(first, "read"))?;
        theirs.clear();
        // At the end of the first file, whether the second has more.
        let wanted = length.max(1) as u64;
        (other.by_ref().take(wanted).read_to_end(&mut theirs))
            .map_err(Error::io(second, "read"))?;
        if ours[..length] != theirs[..] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

fn open(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(Error::io(path, "read"))
}

fn compare_columns(first: &[Column], second: &[Column]) -> Found {
    let shape = |columns: &[Column]| -> Vec<(String, Vec<usize>)> {
        (columns.iter())
            .map(|column| (column.name.clone(), column.shape.clone()))
            .collect()
    };
    if shape(first) != shape(second) {
        return Found::Differs;
    }
    let mut tally = Tally::default();
    for (first, second) in first
        .iter()
        .zip(second)
        .filter(|(first, _)| !is_cost(first))
    {
        match (&first.values, &second.values) {
            (Values::Numbers(first), Values::Numbers(second)) => {
                (first.iter().zip(second)).for_each(|(&a, &b)| tally.numbers(a, b));
            }
            (Values::Text(first), Values::Text(second)) => {
                (first.iter().zip(second)).for_each(|(a, b)| tally.texts(a, b));
            }
            _ => return Found::Differs,
        }
    }
    tally.found()
}

/// Holds the results of two records against each other; all else in them says where, when and how fast. Digests are left out: the
/// files themselves are compared.
fn compare_results(first: &Path, second: &Path) -> Result<Found> {
    let [first, second] = [first, second].map(read_json::<RunRecord>);
    let mut tally = Tally::default();
    let results = |record: RunRecord| {
        let results = record.results.into_iter();
        Value::Object(results.filter(|(name, _)| name != DIGESTS).collect())
    };
    tally.values(&results(first?), &results(second?));
    Ok(tally.found())
}

/// Values that were held against each other so far.
#[derive(Default)]
struct Tally {
    differing: usize,
    of: usize,
    largest: Option<f64>,
}

impl Tally {
    fn numbers(&mut self, a: f64, b: f64) {
        self.of += 1;
        if a == b || (a.is_nan() && b.is_nan()) {
            return;
        }
        self.differing += 1;
        let difference = (a - b).abs();
        if difference.is_finite() && self.largest.is_none_or(|largest| difference > largest) {
            self.largest = Some(difference);
        }
    }

    fn texts(&mut self, a: &str, b: &str) {
        match (a.parse(), b.parse()) {
            (Ok(a), Ok(b)) => self.numbers(a, b),
            _ => self.others(a == b),
        }
    }

    fn others(&mut self, same: bool) {
        self.of += 1;
        self.differing += usize::from(!same);
    }

    fn values(&mut self, a: &Value, b: &Value) {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => {
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for name in names
                    .into_iter()
                    .filter(|name| !COSTS.contains(&name.as_str()))
                {
                    match (a.get(name), b.get(name)) {
                        (Some(a), Some(b)) => self.values(a, b),
                        _ => self.others(false),
                    }
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                (a.iter().zip(b)).for_each(|(a, b)| self.values(a, b));
            }
            (Value::Number(x), Value::Number(y)) => match (x.as_f64(), y.as_f64()) {
                (Some(x), Some(y)) => self.numbers(x, y),
                _ => self.others(x == y),
            },
            _ => self.others(a == b),
        }
    }

    fn found(&self) -> Found {
        match self.differing {
            // Whatever else lies in the files was written beside the same values.
            0 => Found::SameButCosts,
            differing => Found::Values {
                differing,
                of: self.of,
                largest: self.largest,
            },
        }
    }
}

#[cfg(test)]
mod tests;
