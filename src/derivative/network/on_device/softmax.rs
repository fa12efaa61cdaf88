//! Cross-entropy on the device, computed in f64: what does not depend on a vector, once for all of them.
//!
//! With the logits z of an image, π their softmax and y its label, ∂ℓ/∂z = r = π − e_y and ∂²ℓ/∂z² = diag π − ππᵀ. r at the
//! label is −Σ_{c≠y} π_c, and tangents are shifted to 0 at the most probable class, which the second derivative does not see:
//! so no digits are lost for images of which the network is sure ([`head`](crate::derivative::head)).

use candle_core::{D, DType, Result, Tensor};

/// Probabilities and residuals of a batch.
pub(super) struct Softmax {
    /// π, `[B, C]` f64
    probabilities: Tensor,
    /// r, `[B, C]` f64
    residuals: Tensor,
    /// The most probable class, `[B, 1]`
    top: Tensor,
}

impl Softmax {
    /// Of `logits` `[B, C]`, constants, at `labels` `[B]`.
    pub(super) fn of(logits: &Tensor, labels: &Tensor) -> Result<Self> {
        let logits = logits.to_dtype(DType::F64)?;
        let (_, classes) = logits.dims2()?;
        let top = logits.argmax_keepdim(D::Minus1)?;
        let shifted = logits.broadcast_sub(&logits.gather(&top, 1)?)?.exp()?;
        let probabilities = shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?;
        let numbers = Tensor::arange(0u32, classes as u32, logits.device())?.unsqueeze(0)?;
        let wanted = labels.unsqueeze(1)?.broadcast_eq(&numbers)?;
        let zeros = probabilities.zeros_like()?;
        let others = wanted.where_cond(&zeros, &probabilities)?;
        let missing = others.sum_keepdim(D::Minus1)?.neg()?;
        let missing = missing.broadcast_as(others.shape())?.contiguous()?;
        Ok(Self {
            residuals: wanted.where_cond(&missing, &others)?,
            probabilities,
            top,
        })
    }

    /// r in the given precision.
    pub(super) fn residuals(&self, dtype: DType) -> Result<Tensor> {
        self.residuals.to_dtype(dtype)
    }

    /// (diag π − ππᵀ) ż for tangents `[B, k, C]`, in their precision.
    pub(super) fn curvature(&self, tangents: &Tensor) -> Result<Tensor> {
        let dtype = tangents.dtype();
        let tangents = tangents.to_dtype(DType::F64)?;
        let (batch, directions, _) = tangents.dims3()?;
        let top = self
            .top
            .unsqueeze(1)?
            .broadcast_as((batch, directions, 1))?;
        let shifted = tangents.broadcast_sub(&tangents.gather(&top.contiguous()?, D::Minus1)?)?;
        let probabilities = self.probabilities.unsqueeze(1)?;
        let mean = (probabilities.broadcast_mul(&shifted)?).sum_keepdim(D::Minus1)?;
        (probabilities.broadcast_mul(&shifted.broadcast_sub(&mean)?)?).to_dtype(dtype)
    }
}
