//! Archives of features of three made-up classes.

pub(crate) use crate::feature_archive::write;

use ndarray::{Array1, Array2};

fn labels(count: usize) -> Array1<i64> {
    Array1::from_shape_fn(count, |row| ((row * row + row / 3) % 3) as i64)
}

/// Classes that overlap, so that some predictions are wrong.
pub(crate) fn overlapping(
    count: usize,
    dimension: usize,
    phase: f64,
) -> (Array2<f32>, Array1<i64>) {
    let labels = labels(count);
    let features = Array2::from_shape_fn((count, dimension), |(row, column)| {
        let class = labels[row] as f64;
        let noise = 43758.5453 * (12.9898 * (row as f64 + phase) + 78.233 * column as f64).sin();
        ((1.3 * class * (column as f64 + 1.0)).cos() + 3.0 * noise.fract()) as f32
    });
    (features, labels)
}

/// Waves with something of the class in them.
pub(crate) fn waves(count: usize, dimension: usize, phase: f64) -> (Array2<f64>, Array1<i64>) {
    let labels = labels(count);
    let features = Array2::from_shape_fn((count, dimension), |(row, column)| {
        let class = labels[row] as f64;
        (1.3 * class * (column as f64 + 1.0)).cos()
            + (12.9898 * (row as f64 + phase) + 78.233 * column as f64).sin()
    });
    (features, labels)
}
