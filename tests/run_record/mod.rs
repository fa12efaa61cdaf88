//! What a run recorded of itself, and the scores that it kept.

use ndarray::Array2;
use ndarray_npy::read_npy;
use serde_json::Value;
use std::path::Path;

pub fn record(folder: &Path, run: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(run).join("run.json")).unwrap()).unwrap()
}

/// What a run kept with `--scores`, f32 or f64, as f64 `[query, train]`.
pub fn scores(folder: &Path, run: &str) -> Array2<f64> {
    let path = folder.join(run).join("scores.npy");
    read_npy(&path).unwrap_or_else(|_| {
        let scores: Array2<f32> = read_npy(&path).unwrap();
        scores.mapv(f64::from)
    })
}
