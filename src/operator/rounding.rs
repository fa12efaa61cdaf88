//! What rounding can do to a product with the curvature, and in which directions.
//!
//! Features have a mean and a few more strong axes, along which the curvature is large: errors there hardly matter to A⁻¹, but
//! they are most of the error. Bounds are therefore kept by *bands* of feature axes (which are sorted, strongest first), and
//! in terms of the weighted length ‖v ∘ m‖, m_j the root mean square of axis j, since solutions are short along strong axes.

use super::Vectors;
use crate::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Where the bands begin; the last one holds all weaker axes.
const STARTS: [usize; 4] = [0, 1, 4, 16];

/// For every v and band: ‖(fl(A v) − A v)_band‖ ≤ `errors[band]`·‖v ∘ m‖ + `scalar`·‖v‖.
#[derive(Debug, Clone)]
pub struct Rounding {
    /// Outputs, w.
    pub width: usize,
    /// m, one for each feature axis, `[d + 1]`.
    pub weights: Vec<f64>,
    /// One for each band.
    pub errors: Vec<f64>,
    /// Of every band, from terms that are multiples of the identity.
    pub scalar: f64,
}

/// The bands of `columns` feature axes.
pub fn bands(columns: usize) -> Vec<Range<usize>> {
    let starts: Vec<usize> = STARTS.iter().copied().filter(|&s| s < columns).collect();
    let ends = starts.iter().skip(1).copied().chain([columns]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| start..end)
        .collect()
}

impl Rounding {
    /// The length of each band of each row of `vectors` `[k, w·(d + 1)]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn lengths(&self, vectors: &Vectors) -> Result<Vec<Vec<f64>>> {
        let columns = self.weights.len();
        let bands = bands(columns);
        self.rows(vectors, |row| {
            let length = |band: &Range<usize>| {
                let parts = row.chunks_exact(columns).map(|part| &part[band.clone()]);
                parts
                    .flatten()
                    .map(|value| value * value)
                    .sum::<f64>()
                    .sqrt()
            };
            bands.iter().map(length).collect()
        })
    }

    /// ‖v ∘ m‖ of each row.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn weighted_lengths(&self, vectors: &Vectors) -> Result<Vec<f64>> {
        self.rows(vectors, |row| {
            let parts = row.chunks_exact(self.weights.len());
            let sum = |part: &[f64]| -> f64 {
                let terms = part.iter().zip(&self.weights);
                terms.map(|(value, weight)| (value * weight).powi(2)).sum()
            };
            parts.map(sum).sum::<f64>().sqrt()
        })
    }

    fn rows<T: Send>(
        &self,
        vectors: &Vectors,
        of: impl Fn(&[f64]) -> T + Sync + Send,
    ) -> Result<Vec<T>> {
        let rows = vectors.tensor().to_dtype(DType::F64)?;
        let values = rows.flatten_all()?.to_vec1::<f64>()?;
        Ok(values.par_chunks_exact(vectors.size()).map(of).collect())
    }

    /// The unit vectors of a band of axes, in every output, `[w·axes, p]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn unit_vectors(&self, band: &Range<usize>) -> Result<Vectors> {
        let (columns, size) = (self.weights.len(), self.width * self.weights.len());
        let count = self.width * band.len();
        let mut values = vec![0.0; count * size];
        for (row, values) in values.chunks_exact_mut(size).enumerate() {
            let (output, axis) = (row / band.len(), band.start + row % band.len());
            values[output * columns + axis] = 1.0;
        }
        Vectors::new(Tensor::from_vec(values, (count, size), &Device::Cpu)?)
    }
}
