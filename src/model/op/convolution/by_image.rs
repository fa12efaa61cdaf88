//! The three roles on the processor: each image unfolded, then one matrix product.

use super::geometry::Geometry;
use crate::model::op::Element;
use crate::model::op::channels_last::{Buffer, Scalar, multiply, rows, write_product};
use crate::model::op::planewise::written;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// `U(x)`: `[C_in, H, W]` → `[K, N]`.
pub(super) fn unfold<T: Element>(g: &Geometry, image: &[T], unfolded: &mut [T]) {
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

pub(super) fn forward<T: Scalar>(g: &Geometry, x: &[T], weight: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let write = |index: usize, y: &mut [MaybeUninit<T>]| {
        let image = &x[index * g.image_len()..][..g.image_len()];
        if g.is_pointwise() {
            return write_product(y, rows(weight, k), rows(image, n));
        }
        let mut unfolded = Buffer::stale(g.unfolded_len());
        unfold(g, image, &mut unfolded);
        write_product(y, rows(weight, k), rows(&unfolded, n));
    };
    // SAFETY: either way a whole product is written.
    unsafe { written(g.batch * g.output_len(), g.output_len(), write) }
}

pub(super) fn input_gradient<T: Scalar>(g: &Geometry, y_gradient: &[T], weight: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let weight = rows(weight, k).transpose();
    let of_image = |index: usize| rows(&y_gradient[index * g.output_len()..][..g.output_len()], n);
    if g.is_pointwise() {
        let write = |index: usize, image: &mut [MaybeUninit<T>]| {
            write_product(image, weight, of_image(index));
        };
        // SAFETY: whole products are written.
        return unsafe { written(g.batch * g.image_len(), g.image_len(), write) };
    }
    let mut x_gradient = vec![T::default(); g.batch * g.image_len()];
    let images = x_gradient.par_chunks_mut(g.image_len()).enumerate();
    images.for_each(|(index, image)| {
        let mut unfolded = Buffer::stale(g.unfolded_len());
        multiply(&mut unfolded, weight, of_image(index), false);
        fold(g, &unfolded, image);
    });
    x_gradient
}

/// Partial sums of the weight gradient; a constant, so that the sum's order is the same on any number of threads.
const WEIGHT_GRADIENT_PARTS: usize = 8;

pub(super) fn weight_gradient<T: Scalar>(g: &Geometry, x: &[T], y_gradient: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let images = g.batch.div_ceil(WEIGHT_GRADIENT_PARTS).max(1);
    let parts: Vec<Vec<T>> = x
        .par_chunks(images * g.image_len())
        .zip(y_gradient.par_chunks(images * g.output_len()))
        .map(|(x, y)| {
            let mut sum = vec![T::default(); g.c_out * k];
            let mut unfolded = Buffer::stale(g.unfolded_len());
            for (image, y) in x.chunks(g.image_len()).zip(y.chunks(g.output_len())) {
                let columns: &[T] = if g.is_pointwise() {
                    image
                } else {
                    unfold(g, image, &mut unfolded);
                    &unfolded
                };
                multiply(&mut sum, rows(y, n), rows(columns, n).transpose(), true);
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
