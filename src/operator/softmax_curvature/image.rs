//! The curvature of one image: written out, its diagonal, and its product with directions, by the formulas of the module above.

use super::Scalar;
use crate::product::self_product_here;
use faer::{Accum, MatMut, MatRef};

/// Uᵀ(diag(π) − ππᵀ)U of one image by the formula of the module's head, into `[width, width]`.
pub(super) fn write_out(row: &[f64], axes: &[f64], curvature: &mut [f64]) {
    let width = axes.len() / row.len();
    let top = most_probable(row);
    let reference = &axes[top * width..][..width];
    let (mut mean, mut difference) = (vec![0.0; width], vec![0.0; width]);
    curvature.fill(0.0);
    for (class, &weight) in row.iter().enumerate() {
        if class == top {
            continue;
        }
        for (i, value) in difference.iter_mut().enumerate() {
            *value = axes[class * width + i] - reference[i];
            mean[i] += weight * *value;
        }
        for (i, line) in curvature.chunks_exact_mut(width).enumerate() {
            let factor = weight * difference[i];
            line.iter_mut()
                .zip(&difference)
                .for_each(|(value, &other)| *value += factor * other);
        }
    }
    for (i, line) in curvature.chunks_exact_mut(width).enumerate() {
        line.iter_mut()
            .zip(&mean)
            .for_each(|(value, &other)| *value -= mean[i] * other);
    }
}

/// The same of many axes, as the product of the rows √π_k v_k with themselves, less that of the mean.
pub(super) fn write_out_many(row: &[f64], axes: &[f64], curvature: &mut [f64]) {
    let width = axes.len() / row.len();
    let reference = &axes[most_probable(row) * width..][..width];
    let (mut mean, mut rows) = (vec![0.0; width], Vec::with_capacity(axes.len()));
    for (&weight, axis) in row.iter().zip(axes.chunks_exact(width)) {
        let root = weight.sqrt();
        let scaled = axis
            .iter()
            .zip(reference)
            .map(|(own, other)| root * (own - other));
        let start = rows.len();
        rows.extend(scaled);
        (mean.iter_mut().zip(&rows[start..])).for_each(|(sum, value)| *sum += root * value);
    }
    let rows = MatRef::from_column_major_slice(&rows, width, row.len());
    let mut target = MatMut::from_column_major_slice_mut(curvature, width, width);
    self_product_here(target.as_mut(), Accum::Replace, rows, 1.0);
    for column in 0..width {
        for line in column..width {
            let value = target[(line, column)] - mean[line] * mean[column];
            (target[(line, column)], target[(column, line)]) = (value, value);
        }
    }
}

/// diag(π) − ππᵀ of one image, into `[C, C]`.
pub(super) fn write_laplacian(row: &[f64], curvature: &mut [f64]) {
    for ((own, rest), (class, line)) in
        (row.iter().zip(complements(row))).zip(curvature.chunks_exact_mut(row.len()).enumerate())
    {
        (line.iter_mut().zip(row)).for_each(|(entry, other)| *entry = -own * other);
        line[class] = own * rest;
    }
}

/// The diagonal of [`write_out`].
pub(super) fn write_diagonal(row: &[f64], axes: &[f64], diagonal: &mut [f64]) {
    let width = diagonal.len();
    let reference = &axes[most_probable(row) * width..][..width];
    let mut mean = vec![0.0; width];
    diagonal.fill(0.0);
    for (&weight, axis) in row.iter().zip(axes.chunks_exact(width)) {
        let sums = diagonal.iter_mut().zip(&mut mean);
        for ((square, mean), (own, other)) in sums.zip(axis.iter().zip(reference)) {
            let difference = own - other;
            let weighted = weight * difference;
            *mean += weighted;
            *square += weighted * difference;
        }
    }
    (diagonal.iter_mut().zip(&mean)).for_each(|(square, mean)| *square -= mean * mean);
}

/// 1 − π_c of each class, without cancellation where one is nearly 1.
pub(super) fn complements(row: &[f64]) -> impl Iterator<Item = f64> {
    let top = most_probable(row);
    let others = row.iter().enumerate().filter(|(class, _)| *class != top);
    let beside_top: f64 = others.map(|(_, own)| own).sum();
    (row.iter().enumerate()).map(move |(class, own)| match class == top {
        true => beside_top,
        false => 1.0 - own,
    })
}

pub(super) fn most_probable<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(
        0,
        |best, class| if row[class] > row[best] { class } else { best },
    )
}

pub(super) fn in_all_classes<T: Scalar>(row: &mut [T], weights: &[T]) {
    let top = most_probable(weights);
    for logits in row.chunks_exact_mut(weights.len()) {
        let shift = logits[top];
        let mean = shifted_mean(logits, weights, shift);
        logits
            .iter_mut()
            .zip(weights)
            .for_each(|(logit, &weight)| *logit = weight * (*logit - mean));
    }
}

/// Sums that go side by side: one after the other they would wait for each addition.
const LANES: usize = 16;

/// Takes `shift` from every logit, and sums them by their weights.
fn shifted_mean<T: Scalar>(logits: &mut [T], weights: &[T], shift: T) -> T {
    let mut sums = [T::default(); LANES];
    let (blocks, rest) = logits.as_chunks_mut::<LANES>();
    let (weights, weights_of_rest) = weights.as_chunks::<LANES>();
    for (block, weights) in blocks.iter_mut().zip(weights) {
        for ((logit, &weight), sum) in block.iter_mut().zip(weights).zip(&mut sums) {
            *logit -= shift;
            *sum += weight * *logit;
        }
    }
    let mut mean = T::default();
    for (logit, &weight) in rest.iter_mut().zip(weights_of_rest) {
        *logit -= shift;
        mean += weight * *logit;
    }
    sums.into_iter().for_each(|sum| mean += sum);
    mean
}

/// The image's matrix is written out once, C·width² operations, and multiplies all its directions.
pub(super) fn in_axes<T: Scalar>(row: &mut [T], weights: &[T], axes: &[f64], width: usize) {
    let weights: Vec<f64> = weights.iter().map(|weight| weight.to_f64()).collect();
    let mut matrix = vec![0.0; width * width];
    write_out(&weights, axes, &mut matrix);
    let matrix: Vec<T> = matrix.into_iter().map(T::from_f64).collect();
    let mut product = vec![T::default(); width];
    for direction in row.chunks_exact_mut(width) {
        product.fill(T::default());
        for (&value, line) in direction.iter().zip(matrix.chunks_exact(width)) {
            product
                .iter_mut()
                .zip(line)
                .for_each(|(sum, &entry)| *sum += value * entry);
        }
        direction.copy_from_slice(&product);
    }
}
