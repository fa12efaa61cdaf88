//! A symmetric matrix written out in f32 or f64, on the host or on a device: what factorisations work on.
//!
//! On the host column-major; only the lower triangle means anything, so that no time goes into the other half.

use super::BlockColumns;
use crate::Result;
use crate::product::{Real, lower_product};
use faer::{Accum, Mat, MatRef};
use ndarray::Array2;
use rayon::prelude::*;

/// A `[p, p]` matrix of which the lower triangle is stored.
#[derive(Debug, Clone)]
pub enum SymmetricMatrix {
    /// Single precision.
    F32(Mat<f32>),
    /// Double precision.
    F64(Mat<f64>),
    /// Either, on the device of the operator.
    Columns(BlockColumns),
}

impl SymmetricMatrix {
    /// p.
    pub fn size(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.nrows(),
            Self::F64(matrix) => matrix.nrows(),
            Self::Columns(columns) => columns.size(),
        }
    }

    /// Adds `value` to every element of the diagonal.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn add_to_diagonal(&mut self, value: f64) -> Result<()> {
        match self {
            Self::F32(matrix) => (0..matrix.nrows()).for_each(|i| matrix[(i, i)] += value as f32),
            Self::F64(matrix) => (0..matrix.nrows()).for_each(|i| matrix[(i, i)] += value),
            Self::Columns(columns) => columns.add_to_diagonal(value)?,
        }
        Ok(())
    }

    /// The whole matrix in f64.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_array(&self) -> Result<Array2<f64>> {
        let size = self.size();
        let from = |element: &dyn Fn(usize, usize) -> f64| {
            Array2::from_shape_fn((size, size), |(i, j)| element(i.max(j), i.min(j)))
        };
        Ok(match self {
            Self::F32(matrix) => from(&|row, column| f64::from(matrix[(row, column)])),
            Self::F64(matrix) => from(&|row, column| matrix[(row, column)]),
            Self::Columns(columns) => {
                let values = columns.lower_triangle()?;
                from(&|row, column| values[row * size + column])
            }
        })
    }
}

/// The inputs of m images and, for each pair of output directions, a weight per image: the sum of weighted outer products
/// Σ_i w_i[c, e] a_i a_iᵀ is block (c, e) of the curvature.
pub(crate) struct WeightedMoments<'a, T> {
    /// `[m, columns]`, row-major.
    pub(crate) inputs: &'a [T],
    /// d + 1.
    pub(crate) columns: usize,
    /// `[m, width, width]`, row-major and symmetric.
    pub(crate) weights: &'a [f64],
    /// Output directions.
    pub(crate) width: usize,
}

impl<T: Real> WeightedMoments<'_, T> {
    /// Adds `scale` times every block (c, e ≤ c) to the lower triangle of `matrix`. A block is itself symmetric: half of
    /// it is computed, 2·m·columns²/2 operations, and [`mirror_blocks`] fills in the rest at the end.
    pub(crate) fn add_to(&self, matrix: &mut Mat<T>, scale: f64) {
        let count = self.inputs.len() / self.columns;
        let inputs = MatRef::from_column_major_slice(self.inputs, self.columns, count);
        let mut weighted = vec![T::from_f64(0.0); self.inputs.len()];
        for c in 0..self.width {
            for e in 0..=c {
                self.weigh(&mut weighted, (c, e), scale);
                let block = matrix.as_mut().submatrix_mut(
                    c * self.columns,
                    e * self.columns,
                    self.columns,
                    self.columns,
                );
                let weighted = MatRef::from_column_major_slice(&weighted, self.columns, count);
                lower_product(
                    block,
                    Accum::Add,
                    weighted,
                    inputs.transpose(),
                    T::from_f64(1.0),
                );
            }
        }
    }

    /// `target` = the inputs, each times its weight.
    fn weigh(&self, target: &mut [T], (c, e): (usize, usize), scale: f64) {
        let inputs = self.inputs.par_chunks_exact(self.columns);
        let weights = self.weights.par_chunks_exact(self.width * self.width);
        target
            .par_chunks_exact_mut(self.columns)
            .zip(inputs.zip(weights))
            .for_each(|(target, (input, weights))| {
                let weight = T::from_f64(scale * weights[c * self.width + e]);
                target
                    .iter_mut()
                    .zip(input)
                    .for_each(|(value, &input)| *value = input * weight);
            });
    }
}

/// Copies the lower triangle of every block below the diagonal into its upper triangle.
pub(crate) fn mirror_blocks<T: Real>(matrix: &mut Mat<T>, columns: usize) {
    let width = matrix.nrows() / columns;
    for c in 0..width {
        for e in 0..c {
            for column in 1..columns {
                for row in 0..column {
                    let value = matrix[(c * columns + column, e * columns + row)];
                    matrix[(c * columns + row, e * columns + column)] = value;
                }
            }
        }
    }
}
