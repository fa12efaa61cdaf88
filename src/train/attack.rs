//! The attack under which a model is measured: projected gradient ascent from several starts, the worst end kept.
//!
//! Of each image the perturbation of highest loss among the image itself and the end of every restart is kept, so that the
//! loss is never below the clean one; the image counts as right where the model is right at all of them. The first restart
//! begins at the image, further ones at random points of the ball.

use super::adversary::{Adversary, Norm, Start};
use crate::model::ResNet;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

/// An adversary and how often it tries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Attack {
    /// What one try does; where it starts is the try's.
    pub adversary: Adversary,
    /// Tries.
    pub restarts: usize,
}

/// What an attack found for a batch.
#[derive(Debug)]
pub struct Attacked {
    /// The images of highest loss, `[B, 3, H, W]`.
    pub images: Tensor,
    /// Their cross-entropy in nats.
    pub losses: Vec<f64>,
    /// Whether the model is right at the image and at the end of every try.
    pub right: Vec<bool>,
}

impl Attack {
    /// With the customary step size 2.5·ε/steps.
    ///
    /// # Errors
    /// Where ε is not a positive number, or there are no steps or restarts.
    pub fn new(norm: Norm, epsilon: f64, steps: usize, restarts: usize) -> Result<Self> {
        if restarts == 0 {
            return Err(Error::config("eval-restarts", "expected at least 1"));
        }
        Ok(Self {
            adversary: Adversary::new(norm, epsilon, steps)?,
            restarts,
        })
    }

    /// Attacks `images` `[B, 3, H, W]`; random starts are fixed by `batch`, the batch's number.
    ///
    /// # Errors
    /// As the model's forward pass.
    pub fn run(
        &self,
        model: &ResNet,
        images: &Tensor,
        labels: &Tensor,
        batch: u64,
    ) -> Result<Attacked> {
        let (losses, right) = judged(model, images, labels)?;
        let mut worst = Attacked {
            images: images.clone(),
            losses,
            right,
        };
        for restart in 0..self.restarts as u64 {
            let start = match restart {
                0 => self.adversary.start,
                _ => Start::Random,
            };
            let adversary = Adversary {
                start,
                ..self.adversary
            };
            let end = adversary.perturb(model, images, labels, [0, restart, batch])?;
            let judged = judged(model, &end, labels)?;
            worst.take(end, judged)?;
        }
        Ok(worst)
    }
}

impl Attacked {
    /// Takes over what is worse.
    fn take(&mut self, end: Tensor, (losses, right): (Vec<f64>, Vec<bool>)) -> Result<()> {
        let mut worse = vec![0_u8; losses.len()];
        for (index, (loss, right)) in losses.into_iter().zip(right).enumerate() {
            self.right[index] &= right;
            if loss > self.losses[index] {
                self.losses[index] = loss;
                worse[index] = 1;
            }
        }
        let mask = Tensor::from_vec(worse, (self.losses.len(), 1, 1, 1), end.device())?;
        self.images = mask
            .broadcast_as(end.shape())?
            .where_cond(&end, &self.images)?;
        Ok(())
    }
}

/// Each image's cross-entropy in nats, in f64 from the logits, and whether its label has the largest.
///
/// # Errors
/// As the model's forward pass.
pub(crate) fn judged(
    model: &ResNet,
    images: &Tensor,
    labels: &Tensor,
) -> Result<(Vec<f64>, Vec<bool>)> {
    let logits = model
        .logits(images)?
        .to_dtype(DType::F64)?
        .to_vec2::<f64>()?;
    let labels = labels.to_vec1::<u32>()?;
    let judge = |(row, label): (Vec<f64>, u32)| {
        let own = row[label as usize];
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|logit| (logit - largest).exp()).sum();
        // The first of equal logits is the prediction, as everywhere.
        let first = row.iter().position(|&logit| logit == largest);
        // In this order a small loss keeps its digits.
        (largest - own + sum.ln(), first == Some(label as usize))
    };
    Ok(logits.into_iter().zip(labels).map(judge).unzip())
}
