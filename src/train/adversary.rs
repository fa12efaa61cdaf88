//! Projected gradient descent on the image: the inner maximisation of adversarial training.
//!
//! Equation 1 of Utrera et al.: `min_θ E max_{‖δ‖_p ≤ ε} ℓ(x + δ, y; θ)`. One step moves along the gradient of the
//! loss, normalised to length 1 (L2) or by its sign (L∞), projects back to the ball of radius ε around the image and
//! clips the pixels to `[0, 1]` (Madry et al. 2018; the `robustness` library's formulas). ε is in units of pixels in
//! `[0, 1]`, before normalisation. The model is in evaluation mode while it is attacked, as in that library. The direction is that
//! of the gradient also where a prediction is so sure that the gradient itself is 0 in f32
//! ([`OfInput::Direction`](crate::derivative::OfInput)): such an image would count as robust whatever the radius.
//!
//! An ascent ends at its last step; that library's (`use_best`) at the step of the highest loss, which a few steps of constant size seldom
//! leave behind.

mod ball;
#[cfg(test)]
mod tests;

pub(super) use ball::Ball;

use super::radius::check_epsilon;
use crate::derivative::{LossGradientsOf, OfInput, loss_gradients};
use crate::model::{Pass, ResNet};
use crate::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// The norm that bounds a perturbation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Euclidean length over all pixels and channels of an image.
    L2,
    /// Largest change of one value.
    Linf,
}

impl std::fmt::Display for Norm {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::L2 => "L2",
            Self::Linf => "L∞",
        })
    }
}

/// Where an ascent begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the image.
    Image,
    /// At a random point: uniform in the cube of L∞; of L2 on the rim, where nearly all of a ball of so many dimensions is.
    Random,
    /// Likewise, but of L2 at a length uniform in `[0, ε]`. A single step of 1.25 ε from the rim ends, projected, with 0.78 of
    /// the radius along the gradient; from here with 0.92 on average over the lengths, near the 0.86 of L∞.
    Inside,
}

const OF_IMAGES: LossGradientsOf = LossGradientsOf {
    parameters_from: None,
    input: OfInput::Direction,
};

/// Who perturbs the images, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adversary {
    /// The norm of the ball.
    pub norm: Norm,
    /// The radius, in pixel units of `[0, 1]`.
    pub epsilon: f64,
    /// Gradient steps.
    pub steps: usize,
    /// Length of a step; the customary value is `2.5·ε/steps`.
    pub step_size: f64,
    /// Where the ascent begins.
    pub start: Start,
}

impl Adversary {
    /// An adversary with the customary step size, starting at the image.
    ///
    /// # Errors
    /// Where ε is not a positive number, or of L∞ above 1, or there are no steps.
    pub fn new(norm: Norm, epsilon: f64, steps: usize) -> Result<Self> {
        check_epsilon(norm, epsilon)?;
        if steps == 0 {
            return Err(Error::config("steps", "expected at least 1"));
        }
        Ok(Self {
            norm,
            epsilon,
            steps,
            step_size: 2.5 * epsilon / steps as f64,
            start: Start::Image,
        })
    }

    /// Perturbed images `[B, 3, H, W]` that raise the cross-entropy of `model` (whose weights stay as they are).
    /// `draw` identifies the batch (seed, epoch, batch number) for a random start.
    ///
    /// # Errors
    /// As the model's forward pass.
    pub fn perturb(
        &self,
        model: &ResNet,
        images: &Tensor,
        labels: &Tensor,
        draw: [u64; 3],
    ) -> Result<Tensor> {
        let ball = self.ball();
        let model = &model.for_evaluation()?;
        let mut perturbed = ball.start(self.start, images, draw)?;
        for _ in 0..self.steps {
            let mut pass = Pass::evaluation();
            let found = loss_gradients(model, (0, &perturbed), labels, &mut pass, OF_IMAGES)?;
            perturbed = ball.ascend(images, &perturbed, &found.of_input()?, self.step_size)?;
        }
        Ok(perturbed)
    }

    pub(super) fn ball(&self) -> Ball {
        Ball {
            norm: self.norm,
            epsilon: self.epsilon,
        }
    }
}
