//! Scores and rankings of a head: against oracles, of whole groups, of small and large sets, and by `ascribe rank`.

mod agreement;
mod archives;
mod certificates;
mod command;
mod head_scores;
mod influence_oracle;
mod measurement;
mod scale;
mod singular;
mod small_sets;
mod train_groups;

use ndarray::Array2;
use std::path::Path;

/// What a run kept with `--scores`.
pub(crate) fn scores(folder: &Path, run: &str) -> Array2<f64> {
    let path = folder.join(run).join("scores.npy");
    ndarray_npy::read_npy(&path).unwrap_or_else(|_| {
        let scores: Array2<f32> = ndarray_npy::read_npy(&path).unwrap();
        scores.mapv(f64::from)
    })
}
