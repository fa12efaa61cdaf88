//! Products with the head's Hessian and the matrix written out, by tensor operations alone: on any device.
//!
//! Block column e of the matrix, from its diagonal block down, is one matrix product: with the weights W_i[e, e..] of all
//! images, Σ_i (W_i[e, e..] ⊗ a_i) a_iᵀ, `[(w − e)·(d + 1), d + 1]`.

use super::HeadHessian;
use crate::Result;
use crate::derivative::head::outer_product;
use crate::operator::BlockColumns;
use candle_core::{DType, Tensor};

/// Weighted inputs that are held at once: 512 MiB in f32.
const WEIGHTED_ELEMENTS: usize = 1 << 27;

impl HeadHessian {
    /// (1/n) Σ_i over all chunks for `vectors` `[k·w, d + 1]`.
    pub(super) fn data_product_on_device(&self, vectors: &Tensor) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for chunk in self.chunks(self.row_chunk) {
            let inputs = self.inputs.chunk(chunk.clone())?;
            let curvature = self.curvature.narrow(chunk.start, chunk.len())?;
            let directions = curvature.apply(&inputs.matmul(&vectors.t()?)?)?;
            let part = directions.t()?.matmul(&inputs)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => (sum + part)?,
            });
        }
        let sum = sum.map_or_else(|| vectors.zeros_like(), Ok)?;
        Ok((sum / self.count() as f64)?)
    }

    /// (1/n) Σ_i W_i ⊗ a_i a_iᵀ, for some feature axes alone where they are given.
    pub(super) fn block_columns(&self, axes: Option<&[u32]>, dtype: DType) -> Result<BlockColumns> {
        let width = self.curvature.width();
        let axes = (axes.map(|axes| Tensor::new(axes, self.inputs.device()))).transpose()?;
        let columns = axes.as_ref().map_or(self.columns(), Tensor::elem_count);
        let mut sums: Vec<Option<Tensor>> = vec![None; width];
        let size = (WEIGHTED_ELEMENTS / (width * columns)).max(1);
        for chunk in self.chunks(size) {
            let inputs = self.inputs.chunk(chunk.clone())?;
            let inputs = match &axes {
                Some(axes) => inputs.index_select(axes, 1)?,
                None => inputs,
            };
            let inputs = inputs.to_dtype(dtype)?;
            let curvature = self.curvature.narrow(chunk.start, chunk.len())?;
            let curvature = curvature
                .matrices_in(dtype)?
                .affine(1.0 / self.count() as f64, 0.0)?;
            for (output, sum) in sums.iter_mut().enumerate() {
                let below = width - output;
                let weights = curvature.narrow(1, output, 1)?.narrow(2, output, below)?;
                let weights = weights.contiguous()?.reshape((chunk.len(), below))?;
                let part = outer_product(&weights, &inputs)?.t()?.matmul(&inputs)?;
                *sum = Some(match sum.take() {
                    None => part,
                    Some(sum) => (sum + part)?,
                });
            }
        }
        Ok(BlockColumns::new(sums.into_iter().flatten().collect()))
    }
}
