//! Convolutions of any kernel and stride by unfolding (im2col).
//!
//! The unfolded rows U are made tile by tile in a buffer that fits the cache, one matrix product each. Kernels are `[K, C_out]`.

use super::Geometry;
use super::buffer::Buffer;
use super::geometry::{fold, unfold, unfold_columns};
use super::product::{Scalar, multiply, rows};
use rayon::prelude::*;

/// Elements of an unfolded tile: half a core's second-level cache in f32.
const TILE: usize = 1 << 17;
/// Rows of a tile: fewer spend too much on packing the kernel.
const TILE_ROWS: std::ops::RangeInclusive<usize> = 256..=1024;
/// Columns of U in one task of a weight gradient: no more, nor fewer where there is enough to do otherwise.
const WEIGHT_COLUMNS: std::ops::RangeInclusive<usize> = 64..=320;
/// Tasks of a weight gradient, a constant so that sums run in the same order on any number of threads.
const WEIGHT_TASKS: usize = 8;
/// Numbers of a sum that a task adds up.
const PART: usize = 1 << 14;

fn tile_rows(columns: usize) -> usize {
    (TILE / columns.max(1)).clamp(*TILE_ROWS.start(), *TILE_ROWS.end())
}

/// `onto + Σ U(x) W` for the terms (x, W), `[m·H_out·W_out, C_out]`; without `onto` the sum alone.
pub(super) fn output<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
    onto: Option<Buffer<T>>,
) -> Buffer<T> {
    let (total, columns) = (images * g.output().positions(), g.columns());
    let accumulate = onto.is_some();
    let mut y = onto.unwrap_or_else(|| Buffer::stale(total * g.c_out));
    let height = tile_rows(columns);
    y.par_chunks_mut(height * g.c_out)
        .enumerate()
        .for_each_init(Buffer::default, |buffer, (tile, y)| {
            let range = tile * height..tile * height + y.len() / g.c_out;
            for (index, &(x, weight)) in terms.iter().enumerate() {
                let unfolded = if g.is_pointwise() {
                    &x[range.start * columns..range.end * columns]
                } else {
                    buffer.resize(height * columns);
                    let unfolded = &mut buffer[..range.len() * columns];
                    unfold(g, x, range.clone(), unfolded);
                    unfolded
                };
                let add = accumulate || index > 0;
                multiply(y, rows(unfolded, columns), rows(weight, g.c_out), add);
            }
        });
    y
}

/// `onto + Σ U*(ȳ Wᵀ)` for the terms (ȳ, W), `[m, H, W, C_in]`; without `onto` the sum alone.
pub(super) fn input_gradient<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
    onto: Option<Buffer<T>>,
) -> Buffer<T> {
    let (size, positions, columns) = (g.input.elements(), g.output().positions(), g.columns());
    let accumulate = onto.is_some();
    let mut x = onto.unwrap_or_else(|| Buffer::zeros(images * size));
    let tile = tile_rows(columns).div_ceil(positions);
    x.par_chunks_mut(tile * size).enumerate().for_each_init(
        Buffer::default,
        |buffer, (index, x)| {
            let count = x.len() / size * positions;
            let start = index * tile * positions;
            if g.is_pointwise() {
                for (index, (y, weight)) in terms.iter().enumerate() {
                    let y = rows(&y[start * g.c_out..(start + count) * g.c_out], g.c_out);
                    let add = accumulate || index > 0;
                    multiply(x, y, rows(weight, g.c_out).transpose(), add);
                }
                return;
            }
            buffer.resize(tile * positions * columns);
            let unfolded = &mut buffer[..count * columns];
            for (index, (y, weight)) in terms.iter().enumerate() {
                let y = &y[start * g.c_out..(start + count) * g.c_out];
                let transposed = rows(weight, g.c_out).transpose();
                multiply(unfolded, rows(y, g.c_out), transposed, index > 0);
            }
            fold(g, unfolded, x);
        },
    );
    x
}

/// Adds `Σ U(x)ᵀ ȳ` for the terms (x, ȳ) to `into` `[K, C_out]`.
pub(super) fn add_weight_gradient<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
    into: &mut [T],
) {
    let (total, columns) = (images * g.output().positions(), g.columns());
    // Blocks of columns rather than parts of rows: parts have to be added up.
    let (least, most) = WEIGHT_COLUMNS.into_inner();
    let blocks = columns
        .div_ceil(most)
        .max((columns / least).min(WEIGHT_TASKS));
    let block = columns.div_ceil(blocks);
    let parts = WEIGHT_TASKS.div_ceil(blocks).min(total).max(1);
    let part_rows = total.div_ceil(parts);
    let task = |part: usize, index: usize, sum: &mut [T], buffer: &mut Buffer<T>| {
        let span = index * block..index * block + sum.len() / g.c_out;
        let end = total.min((part + 1) * part_rows);
        let height = tile_rows(span.len());
        buffer.resize(height * span.len());
        for start in (part * part_rows..end).step_by(height) {
            let range = start..end.min(start + height);
            let unfolded = &mut buffer[..range.len() * span.len()];
            for (x, y) in terms {
                unfold_columns(g, x, range.clone(), span.clone(), unfolded);
                let y = &y[range.start * g.c_out..range.end * g.c_out];
                let transposed = rows(unfolded, span.len()).transpose();
                multiply(sum, transposed, rows(y, g.c_out), true);
            }
        }
    };
    let all = |part: usize, sums: &mut [T]| {
        sums.par_chunks_mut(block * g.c_out)
            .enumerate()
            .for_each_init(Buffer::default, |buffer, (index, sum)| {
                task(part, index, sum, buffer);
            });
    };
    if parts == 1 {
        return all(0, into);
    }
    let mut partial = Buffer::zeros(parts * into.len());
    partial
        .par_chunks_mut(into.len())
        .enumerate()
        .for_each(|(part, sums)| all(part, sums));
    let size = into.len();
    into.par_chunks_mut(PART)
        .enumerate()
        .for_each(|(index, sums)| {
            for part in partial.chunks(size) {
                let part = &part[index * PART..][..sums.len()];
                (sums.iter_mut().zip(part)).for_each(|(sum, &value)| *sum += value);
            }
        });
}
