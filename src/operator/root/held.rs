//! Rows whose gradients are held layer by layer: nothing is written out, C − 1 rows an image.

use super::super::{NetworkCurvature, SquareMatrix};
use super::RootRows;
use crate::Result;
use candle_core::{Device, Tensor};

/// Of the passes that a curvature keeps.
pub(super) struct HeldRows<'a> {
    curvature: &'a NetworkCurvature<'a>,
    count: usize,
}

impl<'a> HeldRows<'a> {
    pub(super) fn of(curvature: &'a NetworkCurvature<'a>, images: usize) -> Self {
        Self {
            curvature,
            count: images * (curvature.network().class_count() - 1),
        }
    }
}

impl RootRows for HeldRows<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn products(&self, vectors: &Tensor) -> Result<Tensor> {
        let passes = self.curvature.passes()?;
        self.curvature.network().root_products(vectors, &passes)
    }

    fn sums(&self, weights: &Tensor) -> Result<Tensor> {
        let passes = self.curvature.passes()?;
        self.curvature.network().root_sums(weights, &passes)
    }

    fn add_gram(&self, matrix: &mut SquareMatrix<f64>) -> Result<()> {
        let passes = self.curvature.passes()?;
        let network = self.curvature.network();
        network.add_root_gram(&passes, matrix.as_mut())
    }
}
