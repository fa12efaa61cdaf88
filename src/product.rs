//! Large matrix products on the processor: OpenBLAS's kernels on rayon's threads.
//!
//! On two cores with AVX2 OpenBLAS takes 0.6 to 0.8 of the time of faer's kernels for large f64 products and 0.7 to 1.0 in f32
//! (`analysis/speed/README.md` has what whole runs gain). It is called through ndarray, and for what that leaves out by the
//! interface of BLAS; a part of the target to a call, and each call keeps to its own thread: `--threads` and a surrounding rayon
//! pool then hold for these products too. For that OpenBLAS is told to use one thread, in the whole process, with the first
//! product.
//!
//! An element is a sum over the shared dimension in an order that depends on the shapes and the machine alone, not on the number of
//! threads; bounds on rounding may assume no order.

mod accurate;
mod blas;
mod kernels;
mod tensors;
mod triangular;

pub(crate) use accurate::AccurateFactor;
pub(crate) use blas::{Real, Triangle};
pub use kernels::start_with_best_kernels;
pub(crate) use kernels::{Widest, kernels, widest};
pub(crate) use tensors::{row_products, tensor_product};
pub(crate) use triangular::solve_triangle;

use blas::{syrk, use_one_thread_a_call};
use faer::reborrow::ReborrowMut;
use faer::{Accum, MatMut, MatRef};
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};
// Links OpenBLAS, which ndarray's products call.
use ndarray_linalg as _;
use rayon::prelude::*;
use std::num::NonZero;
use std::sync::OnceLock;
use std::thread::available_parallelism;

/// Parts for each core of the machine, so that one that is held up leaves some to the others.
const PARTS: usize = 2;
/// The least width of a part: what is multiplied with it is copied into the kernel's layout once for each part.
const LEAST: usize = 192;
/// Parts are whole multiples of this, of which kernels compute whole ones best.
const KERNEL: usize = 48;
/// Triangles up to this size are one call.
const TRIANGLE: usize = 1280;

/// `target` ← `scale` · `left` · `right`, or this added to `target`.
///
/// Shapes have to agree, which is the caller's to see to.
pub(crate) fn product<T: Real>(
    target: MatMut<T>,
    accumulate: Accum,
    left: MatRef<T>,
    right: MatRef<T>,
    scale: T,
) {
    if target.nrows() >= target.ncols() {
        let width = part(target.nrows());
        (target.par_row_chunks_mut(width))
            .zip(left.par_row_chunks(width))
            .for_each(|(target, left)| product_here(target, accumulate, left, right, scale));
    } else {
        let width = part(target.ncols());
        (target.par_col_chunks_mut(width))
            .zip(right.par_col_chunks(width))
            .for_each(|(target, right)| product_here(target, accumulate, left, right, scale));
    }
}

/// The width of the parts that `size` rows or columns are cut into. It depends on the machine, but not on the number of threads that
/// a run is given: kernels sum the rows and columns at the ends of a call in another order than those inside.
fn part(size: usize) -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    let cores = CORES.get_or_init(|| available_parallelism().map_or(2, NonZero::get));
    let parts = (size / LEAST).clamp(1, PARTS * cores);
    size.max(1).div_ceil(parts).next_multiple_of(KERNEL)
}

/// Lower triangle of `target` ← `scale` · `rows` `rows`ᵀ, or this added to it; what is above it stays. Half the operations of a
/// product.
pub(crate) fn self_product<T: Real>(
    mut target: MatMut<T>,
    accumulate: Accum,
    rows: MatRef<T>,
    scale: T,
) {
    let size = target.nrows();
    if size <= TRIANGLE {
        return self_product_here(target, accumulate, rows, scale);
    }
    let half = size / 2;
    let (first, _, below, second) = target.rb_mut().split_at_mut(half, half);
    let (upper, lower) = rows.split_at_row(half);
    product(below, accumulate, lower, upper.transpose(), scale);
    rayon::join(
        || self_product(first, accumulate, upper, scale),
        || self_product(second, accumulate, lower, scale),
    );
}

/// [`self_product`] on the thread that calls it.
pub(crate) fn self_product_here<T: Real>(
    target: MatMut<T>,
    accumulate: Accum,
    rows: MatRef<T>,
    scale: T,
) {
    syrk(target, before(accumulate), rows, scale);
}

/// [`product`] on the thread that calls it.
pub(crate) fn product_here<T: Real>(
    target: MatMut<T>,
    accumulate: Accum,
    left: MatRef<T>,
    right: MatRef<T>,
    scale: T,
) {
    use_one_thread_a_call();
    general_mat_mul(
        scale,
        &view(left),
        &view(right),
        before(accumulate),
        &mut view_mut(target),
    );
}

/// What the target is multiplied by first.
fn before<T: Real>(accumulate: Accum) -> T {
    match accumulate {
        Accum::Replace => T::from_f64(0.0),
        Accum::Add => T::from_f64(1.0),
    }
}

fn view<T>(matrix: MatRef<'_, T>) -> ArrayView2<'_, T> {
    let strides = (stride(matrix.row_stride()), stride(matrix.col_stride()));
    // SAFETY: the same elements, borrowed as long; faer's views are within one allocation.
    unsafe { ArrayView2::from_shape_ptr(matrix.shape().strides(strides), matrix.as_ptr()) }
}

fn view_mut<T>(matrix: MatMut<'_, T>) -> ArrayViewMut2<'_, T> {
    let strides = (stride(matrix.row_stride()), stride(matrix.col_stride()));
    // SAFETY: as above, and no two elements of a mutable view are the same.
    unsafe { ArrayViewMut2::from_shape_ptr(matrix.shape().strides(strides), matrix.as_ptr_mut()) }
}

/// Views that run backwards have no place here: ndarray's pointer is to the first element in memory.
fn stride(stride: isize) -> usize {
    assert!(stride >= 0, "a matrix product of a reversed view");
    stride.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;

    fn wave<T: Real>(rows: usize, columns: usize, frequency: f64) -> Mat<T> {
        Mat::from_fn(rows, columns, |row, column| {
            T::from_f64((frequency * (row * columns + column) as f64).sin())
        })
    }

    /// Every element from its definition, in f64.
    fn by_definition<T: Real>(left: MatRef<T>, right: MatRef<T>) -> Mat<f64> {
        Mat::from_fn(left.nrows(), right.ncols(), |row, column| {
            (0..left.ncols())
                .map(|k| left[(row, k)].to_f64() * right[(k, column)].to_f64())
                .sum()
        })
    }

    fn largest_difference<T: Real>(found: MatRef<T>, expected: MatRef<f64>) -> f64 {
        let places = (0..found.nrows()).flat_map(|row| (0..found.ncols()).map(move |c| (row, c)));
        places.fold(0.0, |most, at| {
            most.max((found[at].to_f64() - expected[at]).abs())
        })
    }

    fn check<T: Real>(rows: usize, columns: usize, terms: usize, tolerance: f64) {
        // Both orders of each factor, and parts of larger matrices.
        let (left, right) = (
            wave::<T>(rows + 3, terms + 2, 0.37),
            wave::<T>(terms, columns, 0.73),
        );
        let left = left.as_ref().submatrix(2, 1, rows, terms);
        let expected = by_definition(left, right.as_ref());
        let turned = (
            left.to_owned().transpose().to_owned(),
            right.transpose().to_owned(),
        );
        for (left, right) in [
            (left, right.as_ref()),
            (turned.0.transpose(), right.as_ref()),
            (left, turned.1.transpose()),
            (turned.0.transpose(), turned.1.transpose()),
        ] {
            let mut found = Mat::from_fn(rows + 1, columns, |_, _| T::from_f64(f64::NAN));
            let mut target = found.as_mut().subrows_mut(1, rows);
            product(
                target.rb_mut(),
                Accum::Replace,
                left,
                right,
                T::from_f64(1.0),
            );
            assert!(largest_difference(target.as_ref(), expected.as_ref()) < tolerance);
            product(target.rb_mut(), Accum::Add, left, right, T::from_f64(-0.5));
            let half = Mat::from_fn(rows, columns, |row, column| 0.5 * expected[(row, column)]);
            assert!(largest_difference(target.as_ref(), half.as_ref()) < tolerance);
            // Row-major targets.
            let mut found = Mat::from_fn(columns, rows, |_, _| T::from_f64(f64::NAN));
            let target = found.as_mut().transpose_mut();
            product(target, Accum::Replace, left, right, T::from_f64(1.0));
            assert!(largest_difference(found.transpose(), expected.as_ref()) < tolerance);
        }
    }

    #[test]
    fn products_are_those_of_the_definition_in_every_layout() {
        for (rows, columns, terms) in [
            (1, 1, 1),
            (5, 9, 8),
            (1, 700, 30),
            (700, 3, 40),
            (450, 900, 65),
        ] {
            check::<f32>(rows, columns, terms, 1e-4);
            check::<f64>(rows, columns, terms, 1e-12);
        }
    }

    #[test]
    fn nothing_to_sum_is_zero_and_nothing_to_fill_is_nothing() {
        let mut found = Mat::from_fn(2, 3, |_, _| f64::NAN);
        let (left, right) = (Mat::zeros(2, 0), Mat::zeros(0, 3));
        product(
            found.as_mut(),
            Accum::Replace,
            left.as_ref(),
            right.as_ref(),
            1.0,
        );
        assert_eq!(found, Mat::<f64>::zeros(2, 3));
        let (mut found, left) = (Mat::<f64>::zeros(0, 3), Mat::zeros(0, 4));
        product(
            found.as_mut(),
            Accum::Add,
            left.as_ref(),
            Mat::zeros(4, 3).as_ref(),
            1.0,
        );
    }

    #[test]
    fn products_with_itself_are_the_lower_triangle_of_the_product() {
        for (size, terms) in [
            (1, 1),
            (1, 40),
            (7, 1),
            (300, 50),
            (TRIANGLE + 1, 30),
            (5, 0),
        ] {
            check_self_product::<f64>(size, terms, 1e-12);
            check_self_product::<f32>(size, terms, 1e-4);
        }
    }

    fn check_self_product<T: Real>(size: usize, terms: usize, tolerance: f64) {
        let rows = wave::<T>(size, terms, 0.31);
        let turned = rows.transpose().to_owned();
        let expected = by_definition(rows.as_ref(), rows.transpose());
        for rows in [rows.as_ref(), turned.transpose()] {
            let mut found = Mat::from_fn(size + 2, size + 3, |_, _| T::from_f64(7.0));
            let mut target = found.as_mut().submatrix_mut(1, 2, size, size);
            self_product(target.rb_mut(), Accum::Replace, rows, T::from_f64(1.0));
            self_product(target.rb_mut(), Accum::Add, rows, T::from_f64(-0.5));
            for column in 0..size {
                for row in 0..size {
                    let expected = match row >= column {
                        true => 0.5 * expected[(row, column)],
                        false => 7.0,
                    };
                    let difference = target[(row, column)].to_f64() - expected;
                    assert!(difference.abs() < tolerance, "{row} {column}");
                }
            }
        }
    }

    /// In every layout, with sizes that are no multiples of anything; what differs is named by its place, not shown whole.
    fn check_threads<T: Real>() {
        let made = |threads: usize| -> Vec<Mat<T>> {
            let pool = (rayon::ThreadPoolBuilder::new().num_threads(threads).build()).unwrap();
            let work = || -> Vec<Mat<T>> {
                let (left, right) = (wave::<T>(901, 300, 0.37), wave::<T>(300, 507, 0.73));
                let (left, right) = (left.as_ref(), right.as_ref());
                let rows = wave::<T>(TRIANGLE + 203, 300, 0.51);
                let diagonal = |i, j| T::from_f64(if i == j { 2.0 } else { 1e-3 });
                let triangle = Mat::from_fn(900, 900, diagonal);
                let mut found: Vec<Mat<T>> = [(901, 507), (507, 901), (901, 507), (507, 901)]
                    .map(|(rows, columns)| Mat::zeros(rows, columns))
                    .into();
                let turned = (right.transpose(), left.transpose());
                let (replace, one) = (Accum::Replace, T::from_f64(1.0));
                product(found[0].as_mut(), replace, left, right, one);
                product(found[1].as_mut(), replace, turned.0, turned.1, one);
                product(
                    found[2].as_mut().transpose_mut(),
                    replace,
                    turned.0,
                    turned.1,
                    one,
                );
                product(found[3].as_mut().transpose_mut(), replace, left, right, one);
                let mut own = Mat::zeros(rows.nrows(), rows.nrows());
                self_product(own.as_mut(), replace, rows.as_ref(), one);
                found.push(own);
                for half in [Triangle::Lower, Triangle::Upper] {
                    let mut down = wave::<T>(900, 707, 0.2);
                    let mut across = wave::<T>(707, 900, 0.2);
                    solve_triangle(triangle.as_ref(), half, down.as_mut());
                    solve_triangle(triangle.as_ref(), half, across.as_mut().transpose_mut());
                    found.extend([down, across]);
                }
                found
            };
            pool.install(work)
        };
        let one = made(1);
        for threads in [2, 3, 5] {
            for (which, (found, one)) in made(threads).iter().zip(&one).enumerate() {
                for (i, j) in (0..one.nrows()).flat_map(|i| (0..one.ncols()).map(move |j| (i, j))) {
                    let same = found[(i, j)].to_f64() == one[(i, j)].to_f64();
                    assert!(same, "{which}: row {i}, column {j}, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_number() {
        check_threads::<f64>();
        check_threads::<f32>();
    }
}
