//! Activations with the channels last, `[m, H, W, C]`: a pixel's channels are contiguous, so that an unfolded row of a
//! convolution is copied in a few runs and all images of a batch enter one matrix product.

use super::buffer::{Buffer, Pool};
use super::storage::Storage;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// `f32` or `f64`, with matrix products.
pub(crate) trait Scalar:
    candle_core::WithDType + Default + faer::traits::RealField + Copy
{
    /// Memory for its next use.
    fn pool() -> &'static Pool<Self>;

    /// What is kept of this precision in memory.
    fn kept(storage: &Storage) -> Option<&[Self]>;

    /// The same, to append to.
    fn kept_mut(storage: &mut Storage) -> Option<&mut Vec<Self>>;

    /// Little-endian.
    fn to_bytes(values: &[Self]) -> Vec<u8>;

    /// Appends the numbers that little-endian bytes hold.
    fn extend_from_bytes(bytes: &[u8], values: &mut Vec<Self>);
}

macro_rules! scalar {
    ($type:ty, $variant:ident) => {
        impl Scalar for $type {
            fn pool() -> &'static Pool<Self> {
                static POOL: Pool<$type> = Pool::new();
                &POOL
            }

            fn kept(storage: &Storage) -> Option<&[Self]> {
                match storage {
                    Storage::$variant(kept) => Some(kept),
                    _ => None,
                }
            }

            fn kept_mut(storage: &mut Storage) -> Option<&mut Vec<Self>> {
                match storage {
                    Storage::$variant(kept) => Some(kept),
                    _ => None,
                }
            }

            fn to_bytes(values: &[Self]) -> Vec<u8> {
                values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect()
            }

            fn extend_from_bytes(bytes: &[u8], values: &mut Vec<Self>) {
                let (numbers, _) = bytes.as_chunks();
                values.extend(numbers.iter().map(|&number| Self::from_le_bytes(number)));
            }
        }
    };
}
scalar!(f32, F32);
scalar!(f64, F64);

/// Height, width and channels of one image's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Shape {
    /// H·W.
    pub(crate) fn positions(self) -> usize {
        self.height * self.width
    }

    /// H·W·C.
    pub(crate) fn elements(self) -> usize {
        self.positions() * self.channels
    }
}

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

    /// The activations of the images at `indices`.
    pub(crate) fn select(&self, indices: &[usize]) -> Self {
        let size = self.shape.elements();
        let mut chosen = Self::stale(indices.len(), self.shape);
        for (to, &index) in chosen.values.chunks_exact_mut(size).zip(indices) {
            to.copy_from_slice(&self.values[index * size..][..size]);
        }
        chosen
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.values
            .par_chunks_mut(PART)
            .zip(other.values.par_chunks(PART))
            .for_each(|(sum, other)| {
                sum.iter_mut()
                    .zip(other)
                    .for_each(|(sum, &value)| *sum += value);
            });
    }

    /// The inner product of each image's activation with the same image's of `other`, added to `sums`.
    pub(crate) fn add_dots(&self, other: &Self, sums: &mut [f64]) {
        let size = self.shape.elements().max(1);
        sums.par_iter_mut()
            .zip(
                self.values
                    .par_chunks(size)
                    .zip(other.values.par_chunks(size)),
            )
            .for_each(|(sum, (a, b))| *sum += dot(a, b));
    }
}

/// Elements a task of an elementwise pass; large enough that scheduling costs nothing.
pub(crate) const PART: usize = 1 << 14;

/// Σ a b in f64, with eight running sums that become vector instructions.
pub(crate) fn dot<T: Scalar>(a: &[T], b: &[T]) -> f64 {
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

/// `[rows, columns]` in row-major order.
pub(crate) fn rows<T>(values: &[T], columns: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(values, values.len() / columns, columns)
}

/// `c (+)= a b` on this thread alone, `c` row-major.
pub(crate) fn multiply<T: Scalar>(c: &mut [T], a: MatRef<T>, b: MatRef<T>, accumulate: bool) {
    let c = MatMut::from_row_major_slice_mut(c, a.nrows(), b.ncols());
    let beta = if accumulate {
        Accum::Add
    } else {
        Accum::Replace
    };
    matmul(
        c,
        beta,
        a,
        b,
        <T as candle_core::WithDType>::from_f64(1.0),
        Par::Seq,
    );
}
