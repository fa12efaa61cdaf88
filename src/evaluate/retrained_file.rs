//! The two Parquet files of retrained measurements.

use super::retrained::{RefitEnd, Retrained};
use super::table::{self, Columns};
use crate::{Error, Result};
use ndarray::Array2;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Ids of a run's training images and queries, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'a> {
    /// Of the training images.
    pub train: &'a [usize],
    /// Of the queries.
    pub queries: &'a [usize],
}

fn paths(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let file = |what: &str| folder.join(format!("{name}_{what}.parquet"));
    (file("subsets"), file("measurements"))
}

impl Retrained {
    /// Whether `folder` holds measurements of that name.
    pub fn exists(folder: &Path, name: &str) -> bool {
        paths(folder, name).1.exists()
    }

    /// Writes both files; `metadata` says what was retrained.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(
        &self,
        folder: &Path,
        name: &str,
        ids: Ids,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let (subsets, measurements) = paths(folder, name);
        let left_out = || {
            let numbered = self.left_out.iter().enumerate();
            numbered.flat_map(|(subset, left_out)| left_out.iter().map(move |&at| (subset, at)))
        };
        let columns = Columns::new()
            .integers("subset", left_out().map(|(subset, _)| subset as i64))
            .integers("left_out", left_out().map(|(_, at)| ids.train[at] as i64));
        table::write(&subsets, metadata, columns)?;
        let queries = ids.queries.len();
        let rows = || {
            (0..=self.left_out.len()).flat_map(|row| (0..queries).map(move |query| (row, query)))
        };
        let subset = |row: usize| row.checked_sub(1);
        let end = |row: usize| subset(row).and_then(|subset| self.refits.get(subset));
        let columns = Columns::new()
            .integers("subset", rows().map(|(row, _)| row as i64 - 1))
            .integers("query", rows().map(|(_, query)| ids.queries[query] as i64))
            .numbers(
                "loss",
                rows().map(|(row, query)| match subset(row) {
                    None => self.before[query],
                    Some(subset) => self.losses[[subset, query]],
                }),
            )
            .flags(
                "correct",
                rows().map(|(row, query)| Some(self.hits.as_ref()?[[subset(row)?, query]])),
            )
            .optional_numbers(
                "gradient_norm",
                rows().map(|(row, _)| Some(end(row)?.gradient_norm)),
            )
            .flags(
                "converged",
                rows().map(|(row, _)| Some(end(row)?.converged)),
            )
            .optional_numbers("steps", rows().map(|(row, _)| Some(end(row)?.steps as f64)));
        table::write(&measurements, metadata, columns)
    }

    /// Reads both files, made by us or elsewhere, for the images with these ids.
    ///
    /// # Errors
    /// A file is missing or malformed, was made from other data (where its metadata say so), lacks a pair of subset and query,
    /// or names an image that the run does not have.
    pub fn read(
        folder: &Path,
        name: &str,
        ids: Ids,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let (subsets, measurements) = paths(folder, name);
        let left_out = read_subsets(&subsets, ids.train, metadata)?;
        let table = table::read(&measurements, metadata)?;
        let position: BTreeMap<i64, usize> = (ids.queries.iter().enumerate())
            .map(|(at, &id)| (id as i64, at))
            .collect();
        let (rows, queries) = (left_out.len() + 1, ids.queries.len());
        let mut sums = Array2::<f64>::zeros((rows, queries));
        let mut counts = Array2::<u32>::zeros((rows, queries));
        let (subset, query) = (table.integers("subset")?, table.integers("query")?);
        let losses = table.numbers("loss")?;
        for (row, ((&subset, query), &loss)) in subset.iter().zip(&query).zip(&losses).enumerate() {
            // Queries beyond those of this evaluation are of no use here.
            let Some(&column) = position.get(query) else {
                continue;
            };
            let line = usize::try_from(subset + 1).ok().filter(|&line| line < rows);
            let Some(line) = line.filter(|_| loss.is_finite()) else {
                let found = format!("subset {subset}, loss {loss}");
                return Err(malformed(&measurements, format!("row {row}"), found));
            };
            sums[[line, column]] += loss;
            counts[[line, column]] += 1;
        }
        if let Some(((line, column), _)) = counts.indexed_iter().find(|(_, count)| **count == 0) {
            let place = format!("subset {}, query {}", line as i64 - 1, ids.queries[column]);
            return Err(malformed(&measurements, place, "no row".into()));
        }
        let mean =
            |line: usize, column: usize| sums[[line, column]] / f64::from(counts[[line, column]]);
        Ok(Self {
            losses: Array2::from_shape_fn((rows - 1, queries), |(subset, query)| {
                mean(subset + 1, query)
            }),
            before: (0..queries).map(|query| mean(0, query)).collect(),
            hits: None,
            refits: ends(&table, &subset, rows - 1)?,
            work: Default::default(),
            left_out,
        })
    }
}

fn read_subsets(
    path: &Path,
    train: &[usize],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<Vec<usize>>> {
    let table = table::read(path, metadata)?;
    let position: BTreeMap<i64, usize> = (train.iter().enumerate())
        .map(|(at, &id)| (id as i64, at))
        .collect();
    let mut left_out: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    let (subset, image) = (table.integers("subset")?, table.integers("left_out")?);
    for (row, (&subset, image)) in subset.iter().zip(&image).enumerate() {
        let Some(&at) = position.get(image) else {
            let found = format!("training image {image}, which the run does not have");
            return Err(malformed(path, format!("row {row}"), found));
        };
        if !known.insert((subset, at)) {
            let found = format!("training image {image} of subset {subset} once more");
            return Err(malformed(path, format!("row {row}"), found));
        }
        left_out.entry(subset).or_default().push(at);
    }
    let numbered = left_out.keys().copied().eq(0..left_out.len() as i64);
    if !numbered || left_out.is_empty() {
        let found = format!("{} subsets, not numbered from 0", left_out.len());
        return Err(malformed(path, "column subset".into(), found));
    }
    Ok(left_out.into_values().collect())
}

/// How refits ended, where the file says so.
fn ends(table: &table::Table, subsets: &[i64], count: usize) -> Result<Vec<RefitEnd>> {
    let norms = table.optional_numbers("gradient_norm")?;
    let steps = table.optional_numbers("steps")?;
    let converged = table.optional_flags("converged")?;
    let mut ends: Vec<Option<RefitEnd>> = vec![None; count];
    for (row, &subset) in subsets.iter().enumerate() {
        if let (Ok(subset), Some(gradient_norm), Some(steps), Some(converged)) = (
            usize::try_from(subset),
            norms[row],
            steps[row],
            converged[row],
        ) {
            // Rows of other queries may be of other subsets too.
            let Some(end) = ends.get_mut(subset) else {
                continue;
            };
            *end = Some(RefitEnd {
                gradient_norm,
                converged,
                steps: steps as usize,
            });
        }
    }
    Ok(ends.into_iter().flatten().collect())
}

fn malformed(path: &Path, place: String, found: String) -> Error {
    let expected = "one finite loss for every subset and query of this run";
    let remedy = "make the measurements again, for the same training images and queries";
    Error::format(path, place, expected, found, remedy)
}
