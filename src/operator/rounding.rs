//! What rounding can do to a product with the curvature, and in which directions.
//!
//! Features have a mean, and along it the curvature is large: errors there hardly matter to A⁻¹, but they are most of the
//! error. The bound is therefore kept in two parts, *strong* (the first feature axis in every output) and *rest*, and it is
//! in terms of the weighted length ‖v ∘ m‖, m_j the root mean square of feature axis j, since solutions are short along the
//! strong axis.

use crate::Result;
use crate::operator::Vectors;
use candle_core::{DType, Tensor};

/// For every v: ‖(fl(A v) − A v)_strong‖ ≤ `strong`·‖v ∘ m‖ + `scalar`·‖v‖, the same for the rest.
#[derive(Debug, Clone)]
pub struct Rounding {
    /// Outputs, w.
    pub width: usize,
    /// m, one for each feature axis, `[d + 1]`; the strong axis is the first.
    pub weights: Vec<f64>,
    /// Of the strong part.
    pub strong: f64,
    /// Of the rest.
    pub rest: f64,
    /// Of either part, from terms that are multiples of the identity.
    pub scalar: f64,
}

impl Rounding {
    /// The lengths of the strong part and of the rest of each row of f64 `vectors` `[k, w·(d + 1)]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn parts(&self, vectors: &Vectors) -> Result<Vec<(f64, f64)>> {
        let columns = self.weights.len();
        let squares = |row: &[f64]| {
            let strong: f64 = row.iter().step_by(columns).map(|value| value * value).sum();
            let all: f64 = row.chunks_exact(columns).map(|part| tail(part)).sum();
            (strong.sqrt(), all.sqrt())
        };
        self.rows(vectors, squares)
    }

    /// ‖v ∘ m‖ of each row.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn weighted_lengths(&self, vectors: &Vectors) -> Result<Vec<f64>> {
        let length = |row: &[f64]| {
            let parts = row.chunks_exact(self.weights.len());
            let sum = |part: &[f64]| -> f64 {
                let terms = part.iter().zip(&self.weights);
                terms.map(|(value, weight)| (value * weight).powi(2)).sum()
            };
            parts.map(sum).sum::<f64>().sqrt()
        };
        self.rows(vectors, length)
    }

    fn rows<T: Send>(
        &self,
        vectors: &Vectors,
        of: impl Fn(&[f64]) -> T + Sync + Send,
    ) -> Result<Vec<T>> {
        use rayon::prelude::*;
        let rows: Tensor = vectors.tensor().to_dtype(DType::F64)?;
        let values = rows.flatten_all()?.to_vec1::<f64>()?;
        Ok(values.par_chunks_exact(vectors.size()).map(of).collect())
    }

    /// The strong unit vectors, one for each output, `[w, p]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn strong_axes(&self, like: &candle_core::Device) -> Result<Vectors> {
        let (columns, size) = (self.weights.len(), self.width * self.weights.len());
        let mut values = vec![0.0; self.width * size];
        (0..self.width).for_each(|output| values[output * size + output * columns] = 1.0);
        Vectors::new(Tensor::from_vec(values, (self.width, size), like)?)
    }
}

/// Σ of squares without the first.
fn tail(part: &[f64]) -> f64 {
    part[1..].iter().map(|value| value * value).sum()
}
