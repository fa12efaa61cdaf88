//! `results.parquet`: one row for each run and measured epoch, with all variables; `search.parquet`: one for each judged
//! candidate.
//!
//! Accuracies are shares from 0 to 1, losses in nats, seconds those of training and of measuring up to that epoch. A run whose loss
//! stopped being finite has one row without test results, `diverged`, with the seconds of the whole run.

#[cfg(test)]
mod tests;

use super::{Job, Material, Outcome, SearchRow, Spec};
use crate::artefact::{Columns, check_as_left, read_parquet, write_parquet};
use crate::model::Blocks;
use crate::train::Norm;
use crate::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// The name of the table of results.
pub const RESULTS: &str = "results.parquet";
/// The name of the table of the search.
pub const SEARCH: &str = "search.parquet";

/// One measured epoch of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The source's name.
    pub source: String,
    /// The norm it was made robust in; none for a natural one.
    pub norm: Option<Norm>,
    /// The radius; 0: natural.
    pub epsilon: f64,
    /// The target set's name.
    pub target: String,
    /// The digest of its test set.
    pub test: String,
    /// How many of the test images were measured.
    pub test_images: usize,
    /// What was done to its images.
    pub transform: String,
    /// Training images.
    pub images: usize,
    /// Fine-tuned blocks.
    pub blocks: Blocks,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// Seed.
    pub seed: u64,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// L2 term.
    pub l2: f64,
    /// Standard deviation of the new head's weights.
    pub head_deviation: f64,
    /// The epoch after which it was measured, from 1.
    pub epoch: usize,
    /// Mean training loss over the epoch; none where it stopped being finite.
    pub train_loss: Option<f64>,
    /// Likewise the accuracy.
    pub train_accuracy: Option<f64>,
    /// On the test images.
    pub test_loss: Option<f64>,
    /// On the test images.
    pub test_accuracy: Option<f64>,
    /// Of training and of measuring test images, up to the end of the epoch; of the whole run where it diverged.
    pub seconds: f64,
    /// Whether the loss stopped being finite.
    pub diverged: bool,
    /// The folder below `runs/`.
    pub run: String,
}

impl Row {
    /// All rows of a run.
    pub(super) fn of(
        (spec, material): (&Spec, &Material),
        job: &Job,
        outcome: &Outcome,
    ) -> Vec<Self> {
        let (source, target) = (
            &spec.sources[job.cell.source],
            &spec.targets[job.cell.target],
        );
        let (recipe, measured) = (&job.options.recipe, &material.targets[job.cell.target]);
        let row = Self {
            source: source.name.clone(),
            norm: source.norm.filter(|_| source.epsilon > 0.0),
            epsilon: source.epsilon,
            target: target.name.clone(),
            test: measured.test.digest().to_owned(),
            test_images: measured.test_ids.len(),
            transform: target.transform.to_string(),
            images: job.cell.images,
            blocks: job.cell.blocks,
            epochs: job.cell.epochs,
            seed: job.cell.seed,
            learning_rate: recipe.learning_rate,
            l2: recipe.l2,
            // Through its decimal form: 0.1, not what f32 makes of it.
            head_deviation: job
                .options
                .head_deviation
                .to_string()
                .parse()
                .unwrap_or(f64::NAN),
            epoch: job.cell.epochs,
            train_loss: None,
            train_accuracy: None,
            test_loss: None,
            test_accuracy: None,
            seconds: outcome.seconds,
            diverged: outcome.diverged.is_some(),
            run: job.digest.clone(),
        };
        if outcome.diverged.is_some() {
            return vec![row];
        }
        let mut seconds = 0.0;
        let epoch = |epoch: &crate::train::Epoch| {
            seconds += epoch.seconds;
            epoch.test_accuracy.map(|accuracy| Self {
                epoch: epoch.epoch,
                train_loss: Some(epoch.train_loss),
                train_accuracy: Some(epoch.train_accuracy),
                test_loss: epoch.test_loss,
                test_accuracy: Some(accuracy),
                seconds,
                ..row.clone()
            })
        };
        outcome.history.iter().filter_map(epoch).collect()
    }
}

/// How many runs of a grid the rows are of; two names of the same thing are two.
pub fn run_count(rows: &[Row]) -> usize {
    let cell = |row: &Row| {
        let sets = (row.source.clone(), row.target.clone());
        (
            sets,
            row.images,
            row.blocks.to_string(),
            row.epochs,
            row.seed,
        )
    };
    rows.iter().map(cell).collect::<BTreeSet<_>>().len()
}

fn norm_name(norm: Norm) -> &'static str {
    match norm {
        Norm::L2 => "l2",
        Norm::Linf => "linf",
    }
}

/// Writes the results, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_results(path: &Path, rows: &[Row]) -> Result<()> {
    let columns = Columns::of(rows.iter())
        .words("source", |row| &row.source)
        .optional_words("norm", |row| row.norm.map(norm_name))
        .numbers("epsilon", |row| row.epsilon)
        .words("target", |row| &row.target)
        .words("test", |row| &row.test)
        .integers("test_images", |row| row.test_images as i64)
        .words("transform", |row| &row.transform)
        .integers("images", |row| row.images as i64)
        .words("blocks", |row| row.blocks.to_string())
        .integers("epochs", |row| row.epochs as i64)
        .integers("seed", |row| row.seed as i64)
        .numbers("learning_rate", |row| row.learning_rate)
        .numbers("l2", |row| row.l2)
        .numbers("head_deviation", |row| row.head_deviation)
        .integers("epoch", |row| row.epoch as i64)
        .optional_numbers("train_loss", |row| row.train_loss)
        .optional_numbers("train_accuracy", |row| row.train_accuracy)
        .optional_numbers("test_loss", |row| row.test_loss)
        .optional_numbers("test_accuracy", |row| row.test_accuracy)
        .numbers("seconds", |row| row.seconds)
        .flags("diverged", |row| row.diverged)
        .words("run", |row| &row.run);
    write_parquet(path, metadata(), columns.done())
}

/// Writes the table of the search, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_search(path: &Path, spec: &Spec, rows: &[SearchRow]) -> Result<()> {
    let columns = Columns::of(rows.iter().map(|row| (row, &row.job.cell)))
        .words("source", |(_, cell)| &spec.sources[cell.source].name)
        .words("target", |(_, cell)| &spec.targets[cell.target].name)
        .integers("images", |(_, cell)| cell.images as i64)
        .words("blocks", |(_, cell)| cell.blocks.to_string())
        .integers("epochs", |(_, cell)| cell.epochs as i64)
        .integers("seed", |(_, cell)| cell.seed as i64)
        .words("options", |(row, _)| {
            Value::from_iter(row.options.clone()).to_string()
        })
        .optional_numbers("validation_loss", |(row, _)| row.loss)
        .optional_numbers("validation_accuracy", |(row, _)| row.accuracy)
        .flags("chosen", |(row, _)| row.chosen)
        .words("run", |(row, _)| &row.job.digest);
    write_parquet(path, metadata(), columns.done())
}

fn metadata() -> impl Iterator<Item = (String, String)> {
    let units = [("accuracy", "share from 0 to 1"), ("loss", "nats")];
    units
        .map(|(name, unit)| (name.to_owned(), unit.to_owned()))
        .into_iter()
}

/// Reads what [`write_results`] wrote.
///
/// # Errors
/// The file cannot be read or is not such a table.
pub fn read_results(path: &Path) -> Result<Vec<Row>> {
    check_as_left(path)?;
    let batch = read_parquet(path, |reason| damaged(path, &reason))?.batch;
    let table = Table {
        path,
        batch: &batch,
    };
    (0..batch.num_rows()).map(|at| table.row(at)).collect()
}

fn damaged(path: &Path, reason: &str) -> Error {
    let (expected, remedy) = (
        "a table written by ascribe study",
        "run ascribe study again",
    );
    Error::format(path, "table", expected, reason, remedy)
}

/// What is read.
struct Table<'a> {
    path: &'a Path,
    batch: &'a RecordBatch,
}

impl Table<'_> {
    fn row(&self, at: usize) -> Result<Row> {
        let need = |name: &str| {
            let value = self.number(name, at)?;
            value.ok_or_else(|| damaged(self.path, &format!("no {name} in row {at}")))
        };
        let wrong = |name: &str| damaged(self.path, &format!("another {name} in row {at}"));
        let count = |name: &str| {
            let count = usize::try_from(self.integer(name, at)?);
            count.map_err(|_| wrong(name))
        };
        Ok(Row {
            source: self.word("source", at)?,
            norm: match &self.word("norm", at)?[..] {
                "" => None,
                "l2" => Some(Norm::L2),
                "linf" => Some(Norm::Linf),
                _ => return Err(wrong("norm")),
            },
            epsilon: need("epsilon")?,
            target: self.word("target", at)?,
            test: self.word("test", at)?,
            test_images: count("test_images")?,
            transform: self.word("transform", at)?,
            images: count("images")?,
            blocks: (self.word("blocks", at)?.parse()).map_err(|_| wrong("blocks"))?,
            epochs: count("epochs")?,
            // Those above half of the range are negative in the table.
            seed: self.integer("seed", at)? as u64,
            learning_rate: need("learning_rate")?,
            l2: need("l2")?,
            head_deviation: need("head_deviation")?,
            epoch: count("epoch")?,
            train_loss: self.number("train_loss", at)?,
            train_accuracy: self.number("train_accuracy", at)?,
            test_loss: self.number("test_loss", at)?,
            test_accuracy: self.number("test_accuracy", at)?,
            seconds: need("seconds")?,
            diverged: (self.column("diverged")?.as_boolean_opt())
                .filter(|column| column.is_valid(at))
                .ok_or_else(|| wrong("diverged"))?
                .value(at),
            run: self.word("run", at)?,
        })
    }

    fn column(&self, name: &str) -> Result<&ArrayRef> {
        let missing = || damaged(self.path, &format!("no column {name}"));
        self.batch.column_by_name(name).ok_or_else(missing)
    }

    fn other_type(&self, name: &str) -> Error {
        damaged(self.path, &format!("a column {name} of another type"))
    }

    /// Empty for null.
    fn word(&self, name: &str, at: usize) -> Result<String> {
        let column = self.column(name)?.as_string_opt::<i32>();
        let column = column.ok_or_else(|| self.other_type(name))?;
        Ok(match column.is_valid(at) {
            true => column.value(at).to_owned(),
            false => String::new(),
        })
    }

    fn integer(&self, name: &str, at: usize) -> Result<i64> {
        let column = self.column(name)?.as_primitive_opt::<Int64Type>();
        let column = column.ok_or_else(|| self.other_type(name))?;
        let missing = || damaged(self.path, &format!("no {name} in row {at}"));
        column
            .is_valid(at)
            .then(|| column.value(at))
            .ok_or_else(missing)
    }

    fn number(&self, name: &str, at: usize) -> Result<Option<f64>> {
        let column = self.column(name)?.as_primitive_opt::<Float64Type>();
        let column = column.ok_or_else(|| self.other_type(name))?;
        let value = column.is_valid(at).then(|| column.value(at));
        match value.filter(|value| !value.is_finite()) {
            None => Ok(value),
            Some(value) => Err(damaged(self.path, &format!("{name} {value} in row {at}"))),
        }
    }
}
