//! The three roles on the processor: each image unfolded, then one matrix product.

use super::geometry::Geometry;
use crate::model::op::Element;
use rayon::prelude::*;

/// `U(x)`: `[C_in, H, W]` → `[K, N]`.
fn unfold<T: Element>(g: &Geometry, image: &[T], unfolded: &mut [T]) {
    let (out_w, n, plane) = (g.out_w(), g.positions(), g.height * g.width);
    for channel in 0..g.c_in {
        let image = &image[channel * plane..(channel + 1) * plane];
        g.rows(channel, |tap, kx, oy, y| {
            let row = &mut unfolded[tap * n + oy * out_w..][..out_w];
            let Some(y) = y else {
                return row.fill(T::default());
            };
            let (first, last) = g.inside(kx);
            row[..first].fill(T::default());
            row[last..].fill(T::default());
            if first == last {
                return;
            }
            let source = &image[y * g.width + first * g.stride + kx - g.padding..(y + 1) * g.width];
            if g.stride == 1 {
                row[first..last].copy_from_slice(&source[..last - first]);
            } else {
                for (value, &pixel) in row[first..last]
                    .iter_mut()
                    .zip(source.iter().step_by(g.stride))
                {
                    *value = pixel;
                }
            }
        });
    }
}

/// `U*`: `[K, N]` → `[C_in, H, W]`, adding what overlaps.
fn fold<T: Element>(g: &Geometry, unfolded: &[T], image: &mut [T]) {
    let (out_w, n, plane) = (g.out_w(), g.positions(), g.height * g.width);
    image.fill(T::default());
    for channel in 0..g.c_in {
        let image = &mut image[channel * plane..(channel + 1) * plane];
        g.rows(channel, |tap, kx, oy, y| {
            let (first, last) = g.inside(kx);
            let (Some(y), true) = (y, first < last) else {
                return;
            };
            let row = &unfolded[tap * n + oy * out_w..][first..last];
            let target =
                &mut image[y * g.width + first * g.stride + kx - g.padding..(y + 1) * g.width];
            if g.stride == 1 {
                for (pixel, &value) in target.iter_mut().zip(row) {
                    *pixel += value;
                }
            } else {
                for (pixel, &value) in target.iter_mut().step_by(g.stride).zip(row) {
                    *pixel += value;
                }
            }
        });
    }
}

/// A matrix by its elements and the strides of its rows and columns.
struct Matrix<'a, T> {
    elements: &'a [T],
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    fn row_major(elements: &'a [T], columns: usize) -> Self {
        Self {
            elements,
            row_stride: columns,
            column_stride: 1,
        }
    }
    fn transposed(elements: &'a [T], columns: usize) -> Self {
        Self {
            elements,
            row_stride: 1,
            column_stride: columns,
        }
    }
}

/// `c[m, n] (+)= a[m, k] b[k, n]`, on this thread alone.
fn multiply<T: Element>(
    (m, k, n): (usize, usize, usize),
    c: &mut [T],
    a: Matrix<T>,
    b: Matrix<T>,
    accumulate: bool,
) {
    assert!(c.len() >= m * n && a.elements.len() >= m * k && b.elements.len() >= k * n);
    let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
    // SAFETY: the three slices hold m·n, m·k and k·n elements (asserted), reached by these strides only.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.elements.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.elements.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if accumulate { one } else { zero },
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

pub(super) fn forward<T: Element>(g: &Geometry, x: &[T], weight: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let mut y = vec![T::default(); g.batch * g.output_len()];
    y.par_chunks_mut(g.output_len())
        .zip(x.par_chunks(g.image_len()))
        .for_each_init(
            || vec![T::default(); g.unfolded_len()],
            |unfolded, (y, image)| {
                let columns: &[T] = if g.is_pointwise() {
                    image
                } else {
                    unfold(g, image, unfolded);
                    unfolded
                };
                multiply(
                    (g.c_out, k, n),
                    y,
                    Matrix::row_major(weight, k),
                    Matrix::row_major(columns, n),
                    false,
                );
            },
        );
    y
}

pub(super) fn input_gradient<T: Element>(g: &Geometry, y_gradient: &[T], weight: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let mut x_gradient = vec![T::default(); g.batch * g.image_len()];
    x_gradient
        .par_chunks_mut(g.image_len())
        .zip(y_gradient.par_chunks(g.output_len()))
        .for_each_init(
            || vec![T::default(); g.unfolded_len()],
            |unfolded, (image, y)| {
                let shape = (k, g.c_out, n);
                let (weight, y) = (Matrix::transposed(weight, k), Matrix::row_major(y, n));
                if g.is_pointwise() {
                    multiply(shape, image, weight, y, false);
                } else {
                    multiply(shape, unfolded, weight, y, false);
                    fold(g, unfolded, image);
                }
            },
        );
    x_gradient
}

/// Partial sums of the weight gradient; a constant, so that the sum's order is the same on any number of threads.
const WEIGHT_GRADIENT_PARTS: usize = 8;

pub(super) fn weight_gradient<T: Element>(g: &Geometry, x: &[T], y_gradient: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let images = g.batch.div_ceil(WEIGHT_GRADIENT_PARTS).max(1);
    let parts: Vec<Vec<T>> = x
        .par_chunks(images * g.image_len())
        .zip(y_gradient.par_chunks(images * g.output_len()))
        .map(|(x, y)| {
            let mut sum = vec![T::default(); g.c_out * k];
            let mut unfolded = vec![T::default(); g.unfolded_len()];
            for (image, y) in x.chunks(g.image_len()).zip(y.chunks(g.output_len())) {
                let columns: &[T] = if g.is_pointwise() {
                    image
                } else {
                    unfold(g, image, &mut unfolded);
                    &unfolded
                };
                multiply(
                    (g.c_out, n, k),
                    &mut sum,
                    Matrix::row_major(y, n),
                    Matrix::transposed(columns, n),
                    true,
                );
            }
            sum
        })
        .collect();
    let mut parts = parts.into_iter();
    let mut total = parts
        .next()
        .unwrap_or_else(|| vec![T::default(); g.c_out * k]);
    for part in parts {
        for (sum, value) in total.iter_mut().zip(part) {
            *sum += value;
        }
    }
    total
}
