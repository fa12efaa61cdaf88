//! The matrix beside its factor: what a factor in the lower triangle leaves free holds the matrix, for products with it.
//!
//! A x takes 2p² operations for a vector, where an operator that is a mean over n images takes 4np through them. Row by row of tiles,
//! R_J ← R_J − (A_{IJ})ᵀ X_I − D_J X_J − A_{JK} X_K with I above the tile J and K behind it: both lie above the diagonal, and what
//! factorising writes over, the diagonal's own tiles D, is copied.

use super::cholesky::SQUARE;
use crate::operator::SquareMatrix;
use crate::product::{Real, product};
use faer::reborrow::ReborrowMut;
use faer::{Accum, Mat, MatMut, MatRef};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a tile: whole squares of a factorisation, which may write anywhere in them.
pub(crate) const TILE: usize = 512;
const _: () = assert!(TILE.is_multiple_of(SQUARE));

/// The diagonal's tiles, `[TILE, TILE]` but for the last one.
pub(super) struct BesideFactor<T> {
    tiles: Vec<Mat<T>>,
}

impl<T: Real> BesideFactor<T> {
    /// Copies the lower triangle of `matrix`, which is about to be factorised, to where its factor does not come.
    pub(super) fn of(matrix: &mut SquareMatrix<T>) -> Self {
        let size = matrix.size();
        let tiles = rows_of_tiles(size).map(|rows| {
            let at = |i: usize, j: usize| (rows.start + i.max(j), rows.start + i.min(j));
            Mat::from_fn(rows.len(), rows.len(), |i, j| matrix[at(i, j)])
        });
        let tiles = tiles.collect();
        mirror(matrix.as_mut());
        Self { tiles }
    }

    /// `rest` ← `rest` − A · `values`, both `[p, k]`; `factor` is the matrix as factorising left it.
    pub(super) fn subtract_product(
        &self,
        factor: &SquareMatrix<T>,
        values: MatRef<T>,
        mut rest: MatMut<T>,
    ) {
        let (factor, size) = (factor.as_ref(), factor.size());
        let minus = T::from_f64(-1.0);
        let targets = rest.rb_mut().par_row_chunks_mut(TILE);
        (targets.zip(&self.tiles).enumerate()).for_each(|(place, (mut target, tile))| {
            let (start, end) = (place * TILE, place * TILE + tile.nrows());
            let above = factor.submatrix(0, start, start, end - start).transpose();
            let behind = factor.submatrix(start, end, end - start, size - end);
            for (part, rows) in [
                (above, 0..start),
                (tile.as_ref(), start..end),
                (behind, end..size),
            ] {
                let values = values.subrows(rows.start, rows.len());
                product(target.rb_mut(), Accum::Add, part, values, minus);
            }
        });
    }
}

fn rows_of_tiles(size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..size)
        .step_by(TILE)
        .map(move |start| start..size.min(start + TILE))
}

/// Copies what lies below the diagonal to above it, by halves.
fn mirror<T: Real>(matrix: MatMut<T>) {
    let size = matrix.nrows();
    if size <= TILE {
        return;
    }
    let half = (size / 2).next_multiple_of(TILE);
    let (first, above, below, second) = matrix.split_at_mut(half, half);
    rayon::join(
        || copy_turned(above, below.as_ref()),
        || rayon::join(|| mirror(first), || mirror(second)),
    );
}

/// `target` ← `source`ᵀ, by halves down to squares that stay in the cache.
fn copy_turned<T: Real>(target: MatMut<T>, source: MatRef<T>) {
    const CACHED: usize = 64;
    let (rows, columns) = target.shape();
    if rows.max(columns) <= CACHED {
        faer::zip!(target, source.transpose())
            .for_each(|faer::unzip!(target, source)| *target = *source);
        return;
    }
    if rows >= columns {
        let (upper, lower) = target.split_at_row_mut(rows / 2);
        let (left, right) = source.split_at_col(rows / 2);
        rayon::join(|| copy_turned(upper, left), || copy_turned(lower, right));
    } else {
        let (left, right) = target.split_at_col_mut(columns / 2);
        let (upper, lower) = source.split_at_row(columns / 2);
        rayon::join(|| copy_turned(left, upper), || copy_turned(right, lower));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Real>(size: usize, tolerance: f64) {
        let element =
            |i: usize, j: usize| T::from_f64((0.37 * (i.max(j) * size + i.min(j)) as f64).sin());
        let mut matrix = SquareMatrix::from_lower(size, element);
        let beside = BesideFactor::of(&mut matrix);
        // A factor takes the lower triangle, and may write anywhere in its squares.
        for (column, row) in (0..size).flat_map(|column| (0..size).map(move |row| (column, row))) {
            if row >= column || row / SQUARE == column / SQUARE {
                matrix[(row, column)] = T::from_f64(f64::NAN);
            }
        }
        let wave = |frequency: f64| {
            Mat::from_fn(size, 3, |i, j| {
                T::from_f64((frequency * (3 * i + j) as f64).cos())
            })
        };
        let (values, given) = (wave(0.7), wave(0.3));
        let mut rest = given.clone();
        beside.subtract_product(&matrix, values.as_ref(), rest.as_mut());
        for (row, column) in (0..size).flat_map(|row| (0..3).map(move |column| (row, column))) {
            let product =
                (0..size).map(|k| element(row, k).to_f64() * values[(k, column)].to_f64());
            let expected = given[(row, column)].to_f64() - product.sum::<f64>();
            let off = (rest[(row, column)].to_f64() - expected).abs();
            assert!(off < tolerance, "{size}: {row} {column}: {off:e}");
        }
    }

    #[test]
    fn products_are_those_of_the_matrix_whatever_a_factor_left_below() {
        for size in [1, 70, TILE, TILE + 1, 1300] {
            check::<f32>(size, 1e-3);
            check::<f64>(size, 1e-11);
        }
    }
}
