//! The two Parquet files of retrained measurements.

use super::retrained::{RefitEnd, Retrained};
use super::table;
use crate::artefact::Columns;
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2, Axis};
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

/// What metadata say of trainings that left out losses alone.
const LOSSES_ALONE: (&str, &str) = ("left_out", "losses");

impl Retrained {
    /// The two files of measurements of that name in `folder`: subsets and measurements.
    pub fn files(folder: &Path, name: &str) -> [PathBuf; 2] {
        ["subsets", "measurements"].map(|what| folder.join(format!("{name}_{what}.parquet")))
    }

    /// Whether `folder` holds measurements of that name.
    pub fn exists(folder: &Path, name: &str) -> bool {
        let [_, measurements] = Self::files(folder, name);
        measurements.exists()
    }

    /// How many retrainings there are in measurements of that name.
    ///
    /// # Errors
    /// The file of the subsets is missing or malformed.
    pub fn count(folder: &Path, name: &str) -> Result<usize> {
        let [subsets, _] = Self::files(folder, name);
        let numbers = table::read(&subsets, &BTreeMap::new())?.integers("subset")?;
        Ok(numbers.into_iter().collect::<BTreeSet<_>>().len())
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
        let [subsets, measurements] = Self::files(folder, name);
        let mut metadata = metadata.clone();
        if self.losses_alone {
            metadata.insert(LOSSES_ALONE.0.into(), LOSSES_ALONE.1.into());
        }
        let left_out = self.left_out.iter().enumerate();
        let left_out =
            left_out.flat_map(|(subset, left_out)| left_out.iter().map(move |&at| (subset, at)));
        let columns = Columns::of(left_out)
            .integers("subset", |(subset, _)| subset as i64)
            .integers("left_out", |(_, at)| ids.train[at] as i64);
        table::write(&subsets, &metadata, columns.done())?;
        let queries = ids.queries.len();
        let rows =
            (0..=self.left_out.len()).flat_map(|row| (0..queries).map(move |query| (row, query)));
        let subset = |row: usize| row.checked_sub(1);
        let end = |row: usize| subset(row).and_then(|subset| self.refits.get(subset));
        let columns = Columns::of(rows)
            .integers("subset", |(row, _)| row as i64 - 1)
            .integers("query", |(_, query)| ids.queries[query] as i64)
            .numbers("loss", |(row, query)| match subset(row) {
                None => self.before[query],
                Some(subset) => self.losses[[subset, query]],
            })
            .optional_flags("correct", |(row, query)| match subset(row) {
                None => Some(self.hits_before.as_ref()?[query]),
                Some(subset) => Some(self.hits.as_ref()?[[subset, query]]),
            })
            .optional_numbers("gradient_norm", |(row, _)| Some(end(row)?.gradient_norm))
            .optional_flags("converged", |(row, _)| Some(end(row)?.converged))
            .optional_numbers("steps", |(row, _)| Some(end(row)?.steps as f64));
        table::write(&measurements, &metadata, columns.done())
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
        let [subsets, measurements] = Self::files(folder, name);
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
        let correct = table.optional_flags("correct")?;
        let mut right = Array2::<Option<bool>>::from_elem((rows, queries), None);
        for (row, ((&subset, query), &loss)) in subset.iter().zip(&query).zip(&losses).enumerate() {
            // Queries beyond those of this evaluation are of no use here.
            let Some(&column) = position.get(query) else {
                continue;
            };
            let line = (subset.checked_add(1)).and_then(|line| usize::try_from(line).ok());
            let line = line.filter(|&line| line < rows);
            let Some(line) = line.filter(|_| loss.is_finite()) else {
                let found = format!("subset {subset}, loss {loss}");
                return Err(malformed(&measurements, format!("row {row}"), found));
            };
            sums[[line, column]] += loss;
            counts[[line, column]] += 1;
            right[[line, column]] = correct[row];
        }
        if let Some(((line, column), _)) = counts.indexed_iter().find(|(_, count)| **count == 0) {
            let place = format!("subset {}, query {}", line as i64 - 1, ids.queries[column]);
            let found = match line {
                0 => "no row of the model of all images, from which every rise is counted",
                _ => "no row",
            };
            return Err(malformed(&measurements, place, found.into()));
        }
        // Several trainings of one pair may differ.
        let single = counts.iter().all(|&count| count == 1);
        let (before, after) = right.view().split_at(Axis(0), 1);
        let mean =
            |line: usize, column: usize| sums[[line, column]] / f64::from(counts[[line, column]]);
        Ok(Self {
            losses: Array2::from_shape_fn((rows - 1, queries), |(subset, query)| {
                mean(subset + 1, query)
            }),
            before: (0..queries).map(|query| mean(0, query)).collect(),
            hits: known(after).filter(|_| single),
            hits_before: known(before)
                .filter(|_| single)
                .map(|row| row.row(0).to_vec()),
            refits: ends(&table, &subset, rows - 1)?,
            work: Default::default(),
            losses_alone: table.says(LOSSES_ALONE.0) == Some(LOSSES_ALONE.1),
            left_out,
        })
    }
}

/// Where all of them are.
fn known(hits: ArrayView2<Option<bool>>) -> Option<Array2<bool>> {
    let values: Option<Vec<bool>> = hits.iter().copied().collect();
    Array2::from_shape_vec(hits.dim(), values?).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Not in order: what is read goes by ids, not by places.
    const IDS: Ids<'static> = Ids {
        train: &[40, 10, 30, 20],
        queries: &[7, 5],
    };

    /// Subset and the training image that it leaves out.
    const SUBSETS: [(i64, i64); 3] = [(0, 40), (1, 30), (1, 20)];

    /// Subset, query and loss.
    const MEASUREMENTS: [(i64, i64, f64); 6] = [
        (-1, 7, 0.5),
        (-1, 5, 0.25),
        (0, 7, 0.75),
        (0, 5, 0.125),
        (1, 7, 1.0),
        (1, 5, 2.0),
    ];

    fn read(subsets: &[(i64, i64)], measurements: &[(i64, i64, f64)]) -> Result<Retrained> {
        let folder = tempfile::tempdir().unwrap();
        let [of_subsets, of_measurements] = Retrained::files(folder.path(), "lds");
        let columns = Columns::of(subsets.iter())
            .integers("subset", |row| row.0)
            .integers("left_out", |row| row.1);
        table::write(&of_subsets, &BTreeMap::new(), columns.done()).unwrap();
        let columns = Columns::of(measurements.iter())
            .integers("subset", |row| row.0)
            .integers("query", |row| row.1)
            .numbers("loss", |row| row.2);
        table::write(&of_measurements, &BTreeMap::new(), columns.done()).unwrap();
        Retrained::read(folder.path(), "lds", IDS, &BTreeMap::new())
    }

    fn with<T: Copy>(rows: &[T], at: usize, row: T) -> Vec<T> {
        let mut rows = rows.to_vec();
        rows[at] = row;
        rows
    }

    #[test]
    fn what_is_written_is_read() {
        let end = |steps: usize| RefitEnd {
            gradient_norm: 1e-11 * steps as f64,
            converged: steps < 3,
            steps,
        };
        let written = Retrained {
            left_out: vec![vec![2], vec![0, 3]],
            losses: Array2::from_shape_fn((2, 2), |(subset, query)| {
                (1 + subset + 3 * query) as f64
            }),
            hits: Some(ndarray::array![[true, false], [false, false]]),
            hits_before: Some(vec![false, true]),
            before: vec![0.5, 0.25],
            refits: vec![end(2), end(3)],
            work: Default::default(),
            losses_alone: false,
        };
        let place = tempfile::tempdir().unwrap();
        let (folder, name) = (place.path(), "lds");
        let metadata = BTreeMap::from([("l2".to_owned(), "0.01".to_owned())]);
        written.write(folder, name, IDS, &metadata).unwrap();
        let read = |name: &str| Retrained::read(folder, name, IDS, &metadata).unwrap();
        assert_eq!(read(name), written);
        let kept_batches = Retrained {
            losses_alone: true,
            ..written
        };
        kept_batches.write(folder, "kept", IDS, &metadata).unwrap();
        assert_eq!(read("kept"), kept_batches);
    }

    #[test]
    fn measurements_are_averaged_and_those_of_other_queries_left_aside() {
        let mut measurements = MEASUREMENTS.to_vec();
        measurements.extend([(1, 5, 4.0), (0, 99, f64::NAN), (77, 99, 1.0)]);
        let found = read(&SUBSETS, &measurements).unwrap();
        assert_eq!(found.left_out, [vec![0], vec![2, 3]]);
        assert_eq!(found.before, [0.5, 0.25]);
        assert_eq!(found.losses, ndarray::array![[0.75, 0.125], [1.0, 3.0]]);
        assert!(found.refits.is_empty());
        assert_eq!((found.hits, found.hits_before), (None, None));
    }

    #[test]
    fn a_measurement_that_is_none_or_of_no_subset_is_refused() {
        for (at, row, parts) in [
            (
                2,
                (0, 7, f64::NAN),
                ["row 2: ", "found subset 0, loss NaN;"],
            ),
            (
                3,
                (0, 5, f64::INFINITY),
                ["row 3: ", "found subset 0, loss inf;"],
            ),
            (4, (2, 7, 1.0), ["row 4: ", "found subset 2, loss 1;"]),
            (5, (-2, 5, 2.0), ["row 5: ", "found subset -2, loss 2;"]),
            (4, (1, 5, 1.0), ["subset 1, query 7: ", "found no row;"]),
            (
                0,
                (0, 7, 0.5),
                [
                    "subset -1, query 7: ",
                    "found no row of the model of all images, ",
                ],
            ),
        ] {
            let refused = read(&SUBSETS, &with(&MEASUREMENTS, at, row)).unwrap_err();
            let message = refused.to_string();
            let named = message.contains("lds_measurements.parquet: ");
            assert!(
                named && parts.iter().all(|part| message.contains(part)),
                "{message}"
            );
        }
    }

    #[test]
    fn subsets_of_other_images_or_numbers_are_refused() {
        let numbered = "column subset: ";
        for (subsets, parts) in [
            (
                with(&SUBSETS, 1, (1, 99)),
                ["row 1: ", "training image 99, which the run does not have"],
            ),
            (
                with(&SUBSETS, 1, (1, 20)),
                ["row 2: ", "training image 20 of subset 1 once more"],
            ),
            (
                vec![(0, 40), (2, 30)],
                [numbered, "2 subsets, not numbered from 0"],
            ),
            (
                vec![(1, 40), (2, 30)],
                [numbered, "2 subsets, not numbered from 0"],
            ),
            (
                vec![(-1, 10), (0, 40), (1, 30)],
                [numbered, "3 subsets, not numbered from 0"],
            ),
            (Vec::new(), [numbered, "0 subsets, not numbered from 0"]),
        ] {
            let message = read(&subsets, &MEASUREMENTS).unwrap_err().to_string();
            let named = message.contains("lds_subsets.parquet: ");
            assert!(
                named && parts.iter().all(|part| message.contains(part)),
                "{message}"
            );
        }
    }
}
