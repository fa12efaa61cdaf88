//! The perturbations an adversary chooses from: δ with ‖δ‖ ≤ ε, for each image of a batch `[B, 3, H, W]`.

use super::{Norm, Start};
use crate::data::random::{Purpose, generator};
#[cfg(feature = "cuda")]
use crate::model::op::cuda::{Ascent, ascend};
use crate::{Error, Result};
use candle_core::{D, DType, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};

/// Norm and radius.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::train) struct Ball {
    pub norm: Norm,
    pub epsilon: f64,
}

impl Ball {
    /// The steepest ascent of length 1: `g/‖g‖` for L2, `sign g` for L∞.
    pub(in crate::train) fn direction(&self, slope: &Tensor) -> Result<Tensor> {
        match self.norm {
            // A zero gradient gives a zero step.
            Norm::L2 => Ok(slope.broadcast_div(&lengths(slope)?.maximum(1e-30)?)?),
            Norm::Linf => Ok(slope.sign()?),
        }
    }

    /// The nearest perturbation in the ball, whatever becomes of the pixels.
    pub(in crate::train) fn shorten(&self, perturbation: &Tensor) -> Result<Tensor> {
        match self.norm {
            Norm::L2 => {
                let factor = (self.epsilon / lengths(perturbation)?.maximum(self.epsilon)?)?;
                Ok(perturbation.broadcast_mul(&factor)?)
            }
            Norm::Linf => Ok(perturbation.clamp(-self.epsilon, self.epsilon)?),
        }
    }

    /// The nearest point of the ball around `images`, pixels clipped to `[0, 1]`.
    pub(in crate::train) fn project(&self, images: &Tensor, perturbed: &Tensor) -> Result<Tensor> {
        let inside = self.shorten(&(perturbed - images)?)?;
        Ok((images + inside)?.clamp(0.0, 1.0)?)
    }

    /// `perturbed` after a step of length `step` up `slope`, projected: a constant.
    pub(super) fn ascend(
        &self,
        images: &Tensor,
        perturbed: &Tensor,
        slope: &Tensor,
        step: f64,
    ) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if images.device().is_cuda() {
            let ascent = Ascent {
                euclidean: self.norm == Norm::L2,
                radius: self.epsilon,
                step,
            };
            let [images, perturbed, slope] = [
                images.contiguous()?,
                perturbed.contiguous()?,
                slope.contiguous()?,
            ];
            return Ok(ascend(&images, &perturbed, &slope, ascent)?);
        }
        let step = (self.direction(slope)? * step)?;
        Ok(self.project(images, &(perturbed + step)?)?.detach())
    }

    /// Where the ascent begins, pixels clipped. `draw` identifies the batch.
    pub(super) fn start(&self, start: Start, images: &Tensor, draw: [u64; 3]) -> Result<Tensor> {
        let [seed, epoch, batch] = draw;
        let mut random = generator(Purpose::Adversary, seed, epoch, batch);
        let noise = match start {
            Start::Image => return Ok(images.clone()),
            Start::Random => self.point(images, &mut random)?,
            Start::Inside => {
                let point = self.point(images, &mut random)?;
                match self.norm {
                    Norm::L2 => {
                        let rows = images.dim(0)?;
                        let shares = uniform(&mut random, (0.0, 1.0), rows)?;
                        let shares = Tensor::from_vec(shares, (rows, 1, 1, 1), images.device())?;
                        point.broadcast_mul(&shares.to_dtype(images.dtype())?)?
                    }
                    Norm::Linf => point,
                }
            }
        };
        self.project(images, &(images + noise)?)
    }

    fn point(&self, images: &Tensor, random: &mut ChaCha8Rng) -> Result<Tensor> {
        let count = images.elem_count();
        let values: Vec<f32> = match self.norm {
            Norm::L2 => StandardNormal.sample_iter(random).take(count).collect(),
            Norm::Linf => uniform(random, (-1.0, 1.0), count)?,
        };
        let noise =
            Tensor::from_vec(values, images.shape(), images.device())?.to_dtype(images.dtype())?;
        match self.norm {
            Norm::L2 => Ok((self.direction(&noise)? * self.epsilon)?),
            Norm::Linf => Ok((noise * self.epsilon)?),
        }
    }
}

fn uniform(random: &mut ChaCha8Rng, (low, high): (f32, f32), count: usize) -> Result<Vec<f32>> {
    let uniform = Uniform::new_inclusive(low, high)
        .map_err(|error| Error::config("epsilon", error.to_string()))?;
    Ok(uniform.sample_iter(random).take(count).collect())
}

/// Euclidean length of each image, `[B, 1, 1, 1]`; summed in f64, as on a device, since squares of a small slope are 0 in f32.
pub(super) fn lengths(images: &Tensor) -> Result<Tensor> {
    Ok(images
        .to_dtype(DType::F64)?
        .sqr()?
        .flatten_from(1)?
        .sum_keepdim(D::Minus1)?
        .sqrt()?
        .to_dtype(images.dtype())?
        .unsqueeze(2)?
        .unsqueeze(3)?)
}
