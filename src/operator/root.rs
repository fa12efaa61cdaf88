//! A = RᵀR/n + σI with fewer rows in R than parameters.
//!
//! The mean Gauss–Newton matrix of n images is RᵀR/n of their gradients Jᵀs for all rows s of a square root of the softmax's
//! curvature ([`CurvatureRoots`](crate::derivative::network::CurvatureRoots)): C − 1 an image, fewer where the network is sure of it.
//! What the matrix does, it does to the span of these rows, so that it can be inverted exactly by what they are to each other, however
//! many parameters there are.
//!
//! Rows are held layer by layer ([`by_layer`]), or [`written`] out, block by block, where they are too many that way or the network
//! gives none.

mod by_layer;
mod passes;
mod written;

use super::{LinearOperator, NetworkCurvature, SquareMatrix};
use crate::Result;
use crate::derivative::network::WrittenGradients;
use by_layer::RowsByLayer;
use candle_core::{Device, Tensor};
use written::WrittenRows;

pub use passes::RootPasses;

/// Most rows: what they are to each other takes 8 GiB.
pub const MOST_ROWS: usize = 32_768;

/// Rows of the root of a Gauss–Newton matrix over so many images of so many classes, at most.
pub fn root_rows(images: usize, classes: usize) -> usize {
    images.saturating_mul(classes.saturating_sub(1))
}

/// RᵀR/n + σI.
pub struct RootForm<'a> {
    rows: Box<dyn RootRows + 'a>,
    images: usize,
    shift: f64,
}

/// R `[N, p]`.
trait RootRows: Sync {
    /// N.
    fn count(&self) -> usize;

    /// Where vectors are.
    fn device(&self) -> Device;

    /// R v for every row v of `vectors` `[k, p]`: `[k, N]` in f64, on the device.
    fn products(&self, vectors: &Tensor) -> Result<Tensor>;

    /// Rᵀ t for every row t of `weights` `[k, N]`, f64 on the host: `[k, p]`, on the device.
    fn sums(&self, weights: &Tensor) -> Result<Tensor>;

    /// Adds the lower triangle of RRᵀ.
    fn add_gram(&self, matrix: &mut SquareMatrix<f64>) -> Result<()>;
}

impl<'a> RootForm<'a> {
    /// Of the mean Gauss–Newton matrix over the images at `positions`, with σ = `shift`; none where it has more than [`MOST_ROWS`].
    /// `bytes` are what rows may take at once.
    ///
    /// # Errors
    /// As [`WrittenGradients::outputs`].
    pub fn of_network<N: WrittenGradients>(
        network: &'a N,
        (examples, positions): (&'a N::Examples, &'a [u32]),
        (bytes, shift): (u64, f64),
    ) -> Result<Option<Self>> {
        let rows = WrittenRows::of((network, examples, positions), bytes)?;
        Ok(rows.map(|rows| Self {
            rows: Box::new(rows),
            images: positions.len(),
            shift,
        }))
    }

    /// Of a Gauss–Newton matrix by the root gradients of its images, with its L2 term.
    pub(super) fn of_curvature(curvature: &'a NetworkCurvature<'a>) -> Self {
        Self {
            rows: Box::new(RowsByLayer(curvature)),
            images: curvature.image_count(),
            shift: curvature.l2(),
        }
    }

    /// Adds `value` to σ.
    #[must_use]
    pub fn shifted(mut self, value: f64) -> Self {
        self.shift += value;
        self
    }

    /// σ.
    pub fn shift(&self) -> f64 {
        self.shift
    }

    /// Rows of R, N.
    pub fn count(&self) -> usize {
        self.rows.count()
    }

    /// Where the network computes.
    pub fn device(&self) -> Device {
        self.rows.device()
    }

    /// R v for every row v of `vectors` `[k, p]`, where the network computes: `[k, N]` in f64.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn products(&self, vectors: &Tensor) -> Result<Tensor> {
        self.rows.products(vectors)
    }

    /// Rᵀ t for every row t of `weights` `[k, N]`, f64 on the host: `[k, p]`, where the network computes.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn sums(&self, weights: &Tensor) -> Result<Tensor> {
        self.rows.sums(weights)
    }

    /// RRᵀ + nσI, its lower triangle.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn gram(&self) -> Result<SquareMatrix<f64>> {
        let mut matrix = SquareMatrix::zeros(self.count());
        let shift = self.images as f64 * self.shift;
        matrix.diagonal_mut().for_each(|element| *element = shift);
        self.rows.add_gram(&mut matrix)?;
        Ok(matrix)
    }
}
