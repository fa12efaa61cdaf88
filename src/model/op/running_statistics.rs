//! Batch norm in evaluation mode: by statistics that followed the batches of training.

use super::batch_norm::BatchMoments;
#[cfg(feature = "cuda")]
use super::cuda::{Moving, moved_statistics};
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
        let unbiased = unbiased(newest);
        let newest = &newest.values;
        let mixed = |old: &Tensor, new: Tensor| {
            (old * (1.0 - momentum))? + (new.to_dtype(old.dtype())? * momentum)?
        };
        Ok(Self {
            mean: mixed(&self.mean, newest.get(0)?)?,
            variance: mixed(&self.variance, (newest.get(1)? * unbiased)?)?,
        })
    }

    /// [`RunningStatistics::moved`] for all layers of a network, on a CUDA device in one launch.
    ///
    /// # Errors
    /// As there.
    pub fn all_moved(layers: &[(Self, BatchMoments)], momentum: f64) -> Result<Vec<Self>> {
        #[cfg(feature = "cuda")]
        if layers.iter().any(|(it, _)| it.mean.device().is_cuda()) {
            let moving = layers.iter().map(|(statistics, newest)| Moving {
                mean: &statistics.mean,
                variance: &statistics.variance,
                moments: &newest.values,
                unbiased: unbiased(newest),
            });
            let moving: Vec<Moving> = moving.collect();
            let moved = moved_statistics(&moving, momentum)?.into_iter();
            return Ok(moved
                .map(|(mean, variance)| Self { mean, variance })
                .collect());
        }
        let moved =
            |(statistics, newest): &(Self, BatchMoments)| statistics.moved(newest, momentum);
        layers.iter().map(moved).collect()
    }
}

/// N/(N − 1) of the N values behind a mean.
fn unbiased(newest: &BatchMoments) -> f64 {
    newest.count as f64 / (newest.count.max(2) - 1) as f64
}
