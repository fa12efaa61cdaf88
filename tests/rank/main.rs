//! Scores and rankings of a head: against oracles, of whole groups, of small and large sets, and by `ascribe rank`.

mod agreement;
mod archives;
mod certificates;
mod command;
#[path = "../command_line/mod.rs"]
mod command_line;
#[path = "../feature_archive/mod.rs"]
mod feature_archive;
mod head_scores;
mod influence_oracle;
#[path = "../killed_run/mod.rs"]
mod killed_run;
mod measurement;
#[path = "../parquet_table/mod.rs"]
mod parquet_table;
mod scale;
#[path = "../sets/mod.rs"]
mod sets;
mod singular;
mod small_sets;
mod train_groups;

use ndarray::Array2;
use std::path::Path;

/// What a run kept with `--scores`.
pub(crate) fn scores(folder: &Path, run: &str) -> Array2<f32> {
    ndarray_npy::read_npy(folder.join(run).join("scores.npy")).unwrap()
}
