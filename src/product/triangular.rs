//! Solves with a triangular matrix, by halves: nearly all operations are large products.

use super::blas::{Real, Triangle, trsm};
use super::{part, product};
use faer::reborrow::ReborrowMut;
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

/// Triangles up to this size are one call for each thread's columns. Smaller ones would need more products over few terms,
/// which are slow.
const WHOLE: usize = 512;

/// Columns ← `triangle`⁻¹ · columns; what lies in the other half is not read.
pub(crate) fn solve_triangle<T: Real>(triangle: MatRef<T>, half: Triangle, columns: MatMut<T>) {
    let size = triangle.nrows();
    if size <= WHOLE {
        let width = part(columns.ncols());
        let solve = |columns| trsm(triangle, half, columns);
        return columns.par_col_chunks_mut(width).for_each(solve);
    }
    let middle = (size / 2).next_multiple_of(WHOLE);
    let (first, across, below, second) = triangle.split_at(middle, middle);
    let (mut upper, mut lower) = columns.split_at_row_mut(middle);
    let minus = T::from_f64(-1.0);
    match half {
        Triangle::Lower => {
            solve_triangle(first, half, upper.rb_mut());
            product(lower.rb_mut(), Accum::Add, below, upper.as_ref(), minus);
            solve_triangle(second, half, lower);
        }
        Triangle::Upper => {
            solve_triangle(second, half, lower.rb_mut());
            product(upper.rb_mut(), Accum::Add, across, lower.as_ref(), minus);
            solve_triangle(first, half, upper);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;

    /// Well conditioned, with nothing to be read in the other half.
    fn triangle<T: Real>(size: usize, half: Triangle) -> Mat<T> {
        Mat::from_fn(size, size, |row, column| {
            let inside = match half {
                Triangle::Lower => row >= column,
                Triangle::Upper => row <= column,
            };
            let off = (0.37 * (row * size + column) as f64).sin() / size as f64;
            T::from_f64(match (row == column, inside) {
                (true, _) => 1.0 + 0.1 * off,
                (_, true) => off,
                _ => f64::NAN,
            })
        })
    }

    fn largest_error<T: Real>(size: usize, count: usize) -> f64 {
        let solution = Mat::from_fn(size, count, |row, column| ((row + 7 * column) as f64).sin());
        let mut worst: f64 = 0.0;
        for half in [Triangle::Lower, Triangle::Upper] {
            let triangle = triangle::<T>(size, half);
            let values = |row: usize, column: usize| match half {
                Triangle::Lower if row < column => 0.0,
                Triangle::Upper if row > column => 0.0,
                _ => triangle[(row, column)].to_f64(),
            };
            let right = Mat::from_fn(size, size, values) * &solution;
            let turned = triangle.transpose().to_owned();
            for triangle in [triangle.as_ref(), turned.transpose()] {
                let mut down = Mat::from_fn(size, count, |i, j| T::from_f64(right[(i, j)]));
                let mut across = down.transpose().to_owned();
                solve_triangle(triangle, half, down.as_mut());
                solve_triangle(triangle, half, across.as_mut().transpose_mut());
                for (i, j) in (0..size).flat_map(|i| (0..count).map(move |j| (i, j))) {
                    for found in [down[(i, j)], across[(j, i)]] {
                        worst = worst.max((found.to_f64() - solution[(i, j)]).abs());
                    }
                }
            }
        }
        worst
    }

    #[test]
    fn solutions_are_found_in_every_layout() {
        for (size, count) in [
            (1, 1),
            (1, 9),
            (40, 1),
            (130, 5),
            (700, 300),
            (1100, 3),
            (3, 0),
        ] {
            let (single, double) = (
                largest_error::<f32>(size, count),
                largest_error::<f64>(size, count),
            );
            assert!(
                single < 1e-4 && double < 1e-12,
                "{size} {count}: {single:e} {double:e}"
            );
        }
    }
}
