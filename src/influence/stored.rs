//! `scores.npy` of a finished run, used again a few rows at a time: the file is mapped, and memory holds a step of it.

use crate::artefact::check_as_left;
use crate::data::Rows;
use crate::{Error, Result};
use candle_core::DType;
use ndarray::{Array2, ArrayView1};
use std::path::{Path, PathBuf};

const REMEDY: &str = "run ascribe rank again with --scores";

/// A run's score matrix on disk, in nats, `[query, train]`.
#[derive(Debug)]
pub struct StoredScores {
    path: PathBuf,
    rows: Rows,
}

impl StoredScores {
    /// Opens the matrix of a run of `queries` and `training` images.
    ///
    /// # Errors
    /// The file cannot be read, is no matrix, or one of another shape, or not what its run left.
    pub fn open(path: &Path, queries: usize, training: usize) -> Result<Self> {
        check_as_left(path)?;
        let rows = Rows::open_npy(path, REMEDY)?;
        if rows.dims() != [queries, training] {
            let expected = format!("{queries} queries × {training} training images, as in the run");
            let found = format!("{} × {}", rows.count(), rows.columns());
            return Err(Error::format(path, "shape", expected, found, REMEDY));
        }
        Ok(Self {
            path: path.to_path_buf(),
            rows: rows.to_dtype(DType::F64)?,
        })
    }

    /// The rows at `positions`, in that order.
    ///
    /// # Errors
    /// A score that is not finite, or the file has changed since it was opened.
    pub fn at(&self, positions: &[usize]) -> Result<Array2<f64>> {
        if positions.is_empty() {
            return Ok(Array2::zeros((0, self.rows.columns())));
        }
        let rows: Vec<u32> = positions.iter().map(|&at| at as u32).collect();
        let values = (self.rows.select(&rows)?.flatten_all()?).to_vec1::<f64>()?;
        for (row, &position) in values.chunks_exact(self.rows.columns()).zip(positions) {
            self.check(position, row, f64::is_finite)?;
        }
        Ok(
            Array2::from_shape_vec((positions.len(), self.rows.columns()), values)
                .map_err(ndarray_linalg::error::LinalgError::from)?,
        )
    }

    /// All rows, in f32.
    ///
    /// # Errors
    /// As for [`StoredScores::at`], and a score that f32 has no room for.
    pub fn whole(&self) -> Result<Array2<f32>> {
        let mut whole = Array2::zeros((self.rows.count(), self.rows.columns()));
        self.each_row(|row, scores| {
            (whole.row_mut(row).iter_mut().zip(scores)).for_each(|(to, &from)| *to = from as f32);
            self.check(row, scores, |score| (score as f32).is_finite())
        })?;
        Ok(whole)
    }

    /// Mean rows of groups of queries, by position: `[groups, n]`; 0 for an empty group.
    ///
    /// # Errors
    /// As for [`StoredScores::at`], of any row.
    pub fn means(&self, groups: &[Vec<usize>]) -> Result<Array2<f64>> {
        let mut groups_of = vec![Vec::new(); self.rows.count()];
        for (group, members) in groups.iter().enumerate() {
            members.iter().for_each(|&row| groups_of[row].push(group));
        }
        let mut means = Array2::zeros((groups.len(), self.rows.columns()));
        self.each_row(|row, scores| {
            let scores = ArrayView1::from(scores);
            for &group in &groups_of[row] {
                means.row_mut(group).scaled_add(1.0, &scores);
            }
            Ok(())
        })?;
        for (mut mean, members) in means.rows_mut().into_iter().zip(groups) {
            mean /= members.len().max(1) as f64;
        }
        Ok(means)
    }

    /// Hands on every row, in order, once its scores are known to be finite.
    fn each_row(&self, mut take: impl FnMut(usize, &[f64]) -> Result<()>) -> Result<()> {
        for step in self.rows.steps() {
            let values = (self.rows.chunk(step.clone())?.flatten_all()?).to_vec1::<f64>()?;
            for (row, scores) in step.zip(values.chunks_exact(self.rows.columns())) {
                self.check(row, scores, f64::is_finite)?;
                take(row, scores)?;
            }
        }
        Ok(())
    }

    /// That all scores of a row have room.
    fn check(&self, row: usize, scores: &[f64], has_room: fn(f64) -> bool) -> Result<()> {
        match scores.iter().position(|&score| !has_room(score)) {
            None => Ok(()),
            Some(column) => Err(Error::non_finite(
                self.path.display().to_string(),
                format!("row {row}, column {column}"),
                REMEDY,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray_npy::write_npy;

    fn written(scores: &Array2<f32>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.npy");
        write_npy(&path, scores).unwrap();
        (folder, path)
    }

    /// Powers of two, so that sums are exact in any order.
    fn scores(queries: usize, training: usize) -> Array2<f32> {
        Array2::from_shape_fn((queries, training), |(row, column)| {
            (1 + row % 4) as f32 * (column as f32 - 2.0) / 8.0
        })
    }

    #[test]
    fn means_over_groups_are_those_of_the_whole_matrix() {
        // More rows than one step has.
        let count = 9_000;
        let scores = scores(count, 5);
        let (_folder, path) = written(&scores);
        let stored = StoredScores::open(&path, count, 5).unwrap();
        let groups = [(0..count).collect(), vec![8_999, 0, 4_097], Vec::new()];
        let means = stored.means(&groups).unwrap();
        for (group, mean) in groups.iter().zip(means.rows()) {
            for (column, &mean) in mean.iter().enumerate() {
                let sum: f64 = (group.iter())
                    .map(|&row| f64::from(scores[[row, column]]))
                    .sum();
                assert_eq!(mean, sum / group.len().max(1) as f64);
            }
        }
        let rows = stored.at(&[4_097, 3]).unwrap();
        assert_eq!(rows.row(0), scores.row(4_097).mapv(f64::from));
        assert_eq!(rows.row(1), scores.row(3).mapv(f64::from));
        // Of a run in f64.
        let mut wide = scores.mapv(|score| f64::from(score) * 1e-60);
        write_npy(&path, &wide).unwrap();
        let stored = StoredScores::open(&path, count, 5).unwrap();
        assert_eq!(stored.at(&[3]).unwrap().row(0), wide.row(3));
        wide[[7, 1]] = 1e39;
        write_npy(&path, &wide).unwrap();
        let stored = StoredScores::open(&path, count, 5).unwrap();
        assert_eq!(stored.at(&[7]).unwrap()[[0, 1]], 1e39);
        let refused = stored.whole().unwrap_err().to_string();
        assert!(refused.contains("row 7, column 1"), "{refused}");
    }

    #[test]
    fn what_is_not_the_runs_matrix_is_refused_by_name() {
        let refused = |found: Result<StoredScores>, part: &str| {
            let reason = found
                .and_then(|stored| stored.means(&[vec![0]]))
                .unwrap_err()
                .to_string();
            assert!(
                reason.contains("scores.npy") && reason.contains(part),
                "{reason}"
            );
            assert!(reason.ends_with(REMEDY), "{reason}");
        };
        let (_folder, path) = written(&scores(6, 4));
        refused(StoredScores::open(&path, 6, 5), "6 × 4");
        refused(StoredScores::open(&path, 5, 4), "5 queries × 4");
        let whole = std::fs::read(&path).unwrap();
        for (bytes, part) in [
            (&whole[..whole.len() - 4], "as its header says"),
            (&b"scores"[..], "a matrix"),
            (&b""[..], "a matrix"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            refused(StoredScores::open(&path, 6, 4), part);
        }
        let mut spoilt = scores(6, 4);
        spoilt[[5, 2]] = f32::NAN;
        let (_folder, path) = written(&spoilt);
        refused(StoredScores::open(&path, 6, 4), "row 5, column 2");
    }
}
