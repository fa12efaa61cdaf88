//! Activations with the channels last, `[m, H, W, C]`: a pixel's channels are contiguous, so that an unfolded row of a
//! convolution is copied in a few runs and all images of a batch enter one matrix product.

use crate::in_parallel::for_each_row;
use crate::model::op::channels_last::Buffer;
pub(crate) use crate::model::op::channels_last::{Scalar, Shape, multiply, rows};
use candle_core::WithDType;

/// The activations of m images.
#[derive(Debug, Clone)]
pub(crate) struct Planes<T: Scalar> {
    pub(crate) shape: Shape,
    pub(crate) values: Buffer<T>,
}

impl<T: Scalar> Planes<T> {
    /// m images of zeros.
    pub(crate) fn zeros(images: usize, shape: Shape) -> Self {
        let values = Buffer::zeros(images * shape.elements());
        Self { shape, values }
    }

    /// m images of numbers left over, for what is written before it is read.
    pub(crate) fn stale(images: usize, shape: Shape) -> Self {
        let values = Buffer::stale(images * shape.elements());
        Self { shape, values }
    }

    /// m.
    pub(crate) fn images(&self) -> usize {
        self.values.len() / self.shape.elements().max(1)
    }

    /// The activations of one image.
    pub(crate) fn of_image(&self, index: usize) -> &[T] {
        let size = self.shape.elements();
        &self.values[index * size..][..size]
    }

    /// The activations of the images at `indices`.
    pub(crate) fn select(&self, indices: &[usize]) -> Self {
        let mut chosen = Self::stale(indices.len(), self.shape);
        let places = chosen.values.chunks_exact_mut(self.shape.elements());
        for (to, &index) in places.zip(indices) {
            to.copy_from_slice(self.of_image(index));
        }
        chosen
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for_each_row(&mut self.values, PART, &|part, sum| {
            let other = &other.values[part * PART..];
            (sum.iter_mut().zip(other)).for_each(|(sum, &value)| *sum += value);
        });
    }

    /// The inner product of each image's activation with the same image's of `other`, added to `sums`.
    pub(crate) fn add_dots(&self, other: &Self, sums: &mut [f64]) {
        for_each_row(sums, 1, &|image, sum| {
            sum[0] += dot(self.of_image(image), other.of_image(image));
        });
    }
}

/// Elements a task of an elementwise pass; large enough that scheduling costs nothing.
pub(crate) const PART: usize = 1 << 14;

/// Σ a b in f64, with eight running sums that become vector instructions.
pub(crate) fn dot<T: WithDType>(a: &[T], b: &[T]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (a_whole, b_whole) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_whole.remainder().iter().zip(b_whole.remainder());
    let rest: f64 = rest.map(|(&a, &b)| a.to_f64() * b.to_f64()).sum();
    for (a, b) in a_whole.zip(b_whole) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a.to_f64() * b.to_f64();
        }
    }
    lanes.iter().sum::<f64>() + rest
}
