//! Batch norm in evaluation mode: by statistics that followed the batches of training.

use super::batch_norm::BatchMoments;
#[cfg(feature = "cuda")]
use super::needs_gradient;
use candle_core::{Result, Tensor};

/// Batch norm in evaluation mode as scale `γ/√(σ² + ε)` and shift `β − μ scale`, `[C]` each, for a [`super::channel_affine`];
/// differentiable in γ and β.
///
/// # Errors
/// Where the number of channels differs.
pub fn folded_norm(
    [gamma, beta, mean, variance]: [&Tensor; 4],
    epsilon: f64,
) -> Result<(Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if gamma.device().is_cuda() && !needs_gradient(gamma) && !needs_gradient(beta) {
        return super::cuda::folded([gamma, beta, mean, variance], epsilon);
    }
    let scale = (gamma / (variance + epsilon)?.sqrt()?)?;
    let shift = (beta - (mean * &scale)?)?;
    Ok((scale, shift))
}

/// What batch norm uses in evaluation mode, `[C]` each.
#[derive(Debug, Clone)]
pub struct RunningStatistics {
    /// Mean of each channel.
    pub mean: Tensor,
    /// Unbiased variance of each channel.
    pub variance: Tensor,
}

impl RunningStatistics {
    /// Moved towards the moments of a batch: `(1 − momentum)` of the old and `momentum` of the new.
    ///
    /// # Errors
    /// Where the number of channels differs.
    pub fn moved(&self, newest: &BatchMoments, momentum: f64) -> Result<Self> {
        let unbiased = newest.count as f64 / (newest.count.max(2) - 1) as f64;
        let newest = &newest.values;
        #[cfg(feature = "cuda")]
        if newest.device().is_cuda() {
            let old = (&self.mean, &self.variance);
            let (mean, variance) = super::cuda::moved_statistics(old, newest, momentum, unbiased)?;
            return Ok(Self { mean, variance });
        }
        let mixed = |old: &Tensor, new: Tensor| {
            (old * (1.0 - momentum))? + (new.to_dtype(old.dtype())? * momentum)?
        };
        Ok(Self {
            mean: mixed(&self.mean, newest.get(0)?)?,
            variance: mixed(&self.variance, (newest.get(1)? * unbiased)?)?,
        })
    }
}
