//! Vectors approximated by matrices of low rank: V ≈ P Qᵀ, ⟨V, Σ_t a_t ⊗ g_t⟩ ≈ Σ_t ⟨Pᵀa_t, Qᵀg_t⟩.
//!
//! P Qᵀ is the best approximation of the rank in the Frobenius norm (Eckart & Young 1936): the projection of V `[K, C_out]` on the
//! first eigenvectors of VᵀV, or of VVᵀ where that is smaller, in f64. What it leaves out is measured, not taken from the
//! eigenvalues, which know it to half the digits only.

use super::super::layer::Site;
use super::super::planes::{Planes, Scalar, dot};
use super::Pairing;
use crate::in_parallel::mapped;
use crate::model::op::channels_last::Buffer;
use crate::model::op::channels_last::{Geometry, unfolded_output};
use faer::{Mat, MatRef, Side};
use std::ops::Range;

/// Numbers of Pᵀa and of Qᵀg that are held at once, for 64 images.
const HELD: usize = 1 << 22;

/// The factors of all vectors.
pub(super) struct LowRank<T: Scalar> {
    geometry: Geometry,
    rank: usize,
    blocks: Vec<Block<T>>,
    squared_errors: Vec<f64>,
}

/// Those of some vectors side by side.
struct Block<T: Scalar> {
    vectors: Range<usize>,
    /// P, `[K, vectors·R]`.
    inputs: Buffer<T>,
    /// Q, `[C_out, vectors·R]`.
    outputs: Buffer<T>,
}

impl<T: Scalar> LowRank<T> {
    /// For vectors as taps `[K, C_out]`.
    pub(super) fn new(geometry: Geometry, kernels: &[Buffer<T>], rank: usize) -> Self {
        let factors = mapped(kernels.len(), &|vector| {
            Factors::of(&kernels[vector], geometry.c_out, rank)
        });
        let step = HELD / (64 * geometry.output().positions() * rank).max(1);
        let block = |start: usize| {
            let vectors = start..kernels.len().min(start + step.max(1));
            let some = &factors[vectors.clone()];
            Block {
                inputs: side_by_side(some.iter().map(|factors| &factors.p)),
                outputs: side_by_side(some.iter().map(|factors| &factors.q)),
                vectors,
            }
        };
        Self {
            geometry,
            rank,
            blocks: (0..kernels.len()).step_by(step.max(1)).map(block).collect(),
            squared_errors: factors.iter().map(|f| f.squared_error).collect(),
        }
    }
}

/// P `[K, R]` and Q `[C_out, R]` of one vector.
struct Factors {
    p: Mat<f64>,
    q: Mat<f64>,
    squared_error: f64,
}

impl Factors {
    fn of<T: Scalar>(kernel: &[T], c_out: usize, rank: usize) -> Self {
        let height = kernel.len() / c_out;
        let v = Mat::from_fn(height, c_out, |row, column| {
            kernel[row * c_out + column].to_f64()
        });
        let (p, q) = match c_out <= height {
            true => {
                let q = leading(v.transpose() * &v, rank);
                (&v * &q, q)
            }
            false => {
                let p = leading(&v * v.transpose(), rank);
                let q = v.transpose() * &p;
                (p, q)
            }
        };
        let squared_error = (&v - &p * q.transpose()).squared_norm_l2();
        Self {
            p,
            q,
            squared_error,
        }
    }
}

/// The eigenvectors of the `rank` largest eigenvalues; of a matrix that is not finite zeros, whose error is not finite either.
fn leading(gram: Mat<f64>, rank: usize) -> Mat<f64> {
    let size = gram.nrows();
    match gram.self_adjoint_eigen(Side::Lower) {
        Ok(pairs) => {
            // In ascending order.
            let vectors: MatRef<f64> = pairs.U();
            vectors
                .subcols(size - rank.min(size), rank.min(size))
                .to_owned()
        }
        Err(_) => Mat::zeros(size, rank),
    }
}

/// Matrices of one height as one, row-major.
fn side_by_side<'a, T: Scalar>(matrices: impl Iterator<Item = &'a Mat<f64>> + Clone) -> Buffer<T> {
    let height = matrices.clone().next().map_or(0, Mat::nrows);
    let mut values = Vec::new();
    for row in 0..height {
        for matrix in matrices.clone() {
            let numbers = (0..matrix.ncols()).map(|column| matrix[(row, column)]);
            values.extend(numbers.map(<T as candle_core::WithDType>::from_f64));
        }
    }
    values.into()
}

impl<T: Scalar> Pairing<T> for LowRank<T> {
    fn add(&self, site: &Site<T>, gradient: &Planes<T>, sums: &mut [f64]) {
        let (x, images, g) = (site.inputs[0], gradient.images(), &self.geometry);
        let places = g.output().positions();
        for block in &self.blocks {
            let columns = block.vectors.len() * self.rank;
            let wide = Geometry {
                c_out: columns,
                ..*g
            };
            let pointwise = Geometry {
                input: gradient.shape,
                c_out: columns,
                kernel: 1,
                stride: 1,
                padding: 0,
            };
            let a = unfolded_output(&wide, images, &[(&x.values, &block.inputs)]);
            let b = unfolded_output(&pointwise, images, &[(&gradient.values, &block.outputs)]);
            let products = |image: usize| -> Vec<f64> {
                let mut row = vec![0.0; block.vectors.len()];
                let range = image * places * columns..(image + 1) * places * columns;
                let lines = a[range.clone()].chunks_exact(self.rank);
                let pairs = lines.zip(b[range].chunks_exact(self.rank));
                for (index, (a, b)) in pairs.enumerate() {
                    row[index % block.vectors.len()] += dot(a, b);
                }
                row
            };
            let rows = mapped(images, &products);
            for (image, row) in rows.into_iter().enumerate() {
                for (vector, product) in block.vectors.clone().zip(row) {
                    sums[vector * images + image] += product;
                }
            }
        }
    }

    fn squared_errors(&self) -> &[f64] {
        &self.squared_errors
    }
}
