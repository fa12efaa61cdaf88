//! Rows whose gradients are held layer by layer: nothing is written out, C − 1 rows an image.

use super::super::{LinearOperator, NetworkCurvature, SquareMatrix};
use super::RootRows;
use crate::Result;
use candle_core::{Device, Tensor};

/// Of the passes that a curvature keeps.
pub(super) struct HeldRows<'a>(pub(super) &'a NetworkCurvature<'a>);

impl RootRows for HeldRows<'_> {
    fn count(&self) -> usize {
        self.0.image_count() * (self.0.network().class_count() - 1)
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn products(&self, vectors: &Tensor) -> Result<Tensor> {
        let passes = self.0.passes()?;
        self.0.network().root_products(vectors, &passes)
    }

    fn sums(&self, weights: &Tensor) -> Result<Tensor> {
        let passes = self.0.passes()?;
        self.0.network().root_sums(weights, &passes)
    }

    fn add_gram(&self, matrix: &mut SquareMatrix<f64>) -> Result<()> {
        let passes = self.0.passes()?;
        let network = self.0.network();
        network.add_root_gram(&passes, matrix.as_mut())
    }
}
