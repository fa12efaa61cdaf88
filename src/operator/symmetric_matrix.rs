//! A symmetric matrix written out in f32 or f64, on the host or on a device: what factorisations work on.
//!
//! On the host column-major; only the lower triangle means anything, so that no time goes into the other half, which is free for other use.

use super::{BlockColumns, SquareMatrix};
use crate::Result;
use crate::product::{Real, self_product, self_product_here};
use faer::reborrow::ReborrowMut;
use faer::{Accum, MatMut, MatRef};
use ndarray::Array2;
use rayon::prelude::*;
use std::ops::Range;

/// A `[p, p]` matrix of which the lower triangle is stored.
#[derive(Debug, Clone)]
pub enum SymmetricMatrix {
    /// Single precision.
    F32(SquareMatrix<f32>),
    /// Double precision.
    F64(SquareMatrix<f64>),
    /// Either, on the device of the operator.
    Columns(BlockColumns),
}

impl SymmetricMatrix {
    /// p.
    pub fn size(&self) -> usize {
        match self {
            Self::F32(matrix) => matrix.size(),
            Self::F64(matrix) => matrix.size(),
            Self::Columns(columns) => columns.size(),
        }
    }

    /// Adds `value` to every element of the diagonal.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn add_to_diagonal(&mut self, value: f64) -> Result<()> {
        match self {
            Self::F32(matrix) => {
                (matrix.diagonal_mut()).for_each(|element| *element += value as f32)
            }
            Self::F64(matrix) => matrix.diagonal_mut().for_each(|element| *element += value),
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

/// Images that are weighted at once.
const WEIGHTED: usize = 2048;
/// From so many blocks on each is one task; fewer are shared among the threads.
const MANY: usize = 10;
/// Rows and columns that are mirrored at once.
const TILE: usize = 64;

impl<T: Real> WeightedMoments<'_, T> {
    /// Adds `scale` times every block (c, e ≤ c) to the lower triangle of `matrix`. A block is itself symmetric: half of
    /// it is computed, 2·m·columns²/2 operations, and [`mirror_blocks`] fills in the rest at the end.
    pub(crate) fn add_to(&self, matrix: &mut SquareMatrix<T>, scale: f64) {
        let count = self.weights.len() / (self.width * self.width);
        for_each_block(matrix.as_mut(), self.columns, &|place, mut block| {
            for start in (0..count).step_by(WEIGHTED) {
                let images = start..count.min(start + WEIGHTED);
                self.add_images(images, place, scale, block.rb_mut());
            }
        });
    }

    /// As w a aᵀ = ±(√|w| a)(√|w| a)ᵀ, a block is the product of the rows of positive weight with themselves, less that of the
    /// others.
    fn add_images(
        &self,
        images: Range<usize>,
        (c, e): (usize, usize),
        scale: f64,
        mut block: MatMut<T>,
    ) {
        let weight = |image: usize| scale * self.weights[(image * self.width + c) * self.width + e];
        let mut rows = Vec::with_capacity(images.len() * self.columns);
        for positive in [true, false] {
            rows.clear();
            for image in images
                .clone()
                .filter(|&image| weight(image).is_sign_positive() == positive)
            {
                let root = T::from_f64(weight(image).abs().sqrt());
                let input = &self.inputs[image * self.columns..][..self.columns];
                rows.extend(input.iter().map(|&value| value * root));
            }
            let count = rows.len() / self.columns;
            let rows = MatRef::from_column_major_slice(&rows, self.columns, count);
            let product = match self.width * (self.width + 1) / 2 {
                MANY.. => self_product_here,
                _ => self_product,
            };
            let sign = T::from_f64(if positive { 1.0 } else { -1.0 });
            product(block.rb_mut(), Accum::Add, rows, sign);
        }
    }
}

/// Copies the lower triangle of every block below the diagonal into its upper triangle.
pub(crate) fn mirror_blocks<T: Real>(matrix: &mut SquareMatrix<T>, columns: usize) {
    for_each_block(matrix.as_mut(), columns, &|(c, e), block| {
        if c != e {
            mirror(block);
        }
    });
}

/// Tile by tile: what is read across the columns stays in the cache.
fn mirror<T: Real>(mut square: MatMut<T>) {
    let size = square.nrows();
    for left in (0..size).step_by(TILE) {
        for top in (0..=left).step_by(TILE) {
            for column in left..size.min(left + TILE) {
                for row in top..column.min(top + TILE) {
                    square[(row, column)] = square[(column, row)];
                }
            }
        }
    }
}

/// What is done with the block at (c, e).
type BlockWork<'w, T> = dyn Fn((usize, usize), MatMut<T>) + Sync + 'w;

/// Hands every block (c, e ≤ c) of `columns` rows and columns to `work`, in parallel.
fn for_each_block<T: Real>(matrix: MatMut<T>, columns: usize, work: &BlockWork<T>) {
    let blocks = matrix.par_col_chunks_mut(columns).enumerate();
    blocks.for_each(|(e, blocks)| {
        let below = blocks.par_row_chunks_mut(columns).enumerate().skip(e);
        below.for_each(|(c, block)| work((c, e), block));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks that are shared among threads and blocks that are not, of more images and columns than one step takes.
    #[test]
    fn weighted_moments_are_those_of_the_definition() {
        for width in [1, 2, 4] {
            let (count, columns) = (WEIGHTED + 3, TILE + 6);
            let inputs: Vec<f64> = (0..count * columns)
                .map(|i| (0.37 * i as f64).sin())
                .collect();
            // Symmetric and of both signs.
            let weight =
                |i: usize, c: usize, e: usize| (1.3 * i as f64 + (c + e + 2 * c * e) as f64).cos();
            let places = (0..count * width * width)
                .map(|at| (at / (width * width), at / width % width, at % width));
            let weights: Vec<f64> = places.map(|(i, c, e)| weight(i, c, e)).collect();
            let moments = WeightedMoments {
                inputs: &inputs,
                columns,
                weights: &weights,
                width,
            };
            let mut matrix = SquareMatrix::zeros(width * columns);
            moments.add_to(&mut matrix, 0.5);
            mirror_blocks(&mut matrix, columns);
            for column in 0..width * columns {
                for row in column..width * columns {
                    let term = |i: usize| {
                        let pair = inputs[i * columns + row % columns]
                            * inputs[i * columns + column % columns];
                        0.5 * weight(i, row / columns, column / columns) * pair
                    };
                    let difference = matrix[(row, column)] - (0..count).map(term).sum::<f64>();
                    assert!(difference.abs() < 1e-10, "{width}: {row} {column}");
                }
            }
        }
    }
}
