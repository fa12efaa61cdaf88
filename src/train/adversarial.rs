//! Ways to train against an adversary, from the dearest to the cheapest.
//!
//! | way | per batch | source |
//! |---|---|---|
//! | projected | k gradients of the images, then one step | Madry et al. 2018 |
//! | fast | one gradient of the images from a random start, step 1.25 ε, then one step | Wong, Rice & Kolter 2020 |
//! | free | m steps, each with one gradient of images and weights at once; the perturbation is carried over | Shafahi et al. 2019 |
//!
//! *Fast* is watched by a [`super::guard`]: it can fail from one batch to the next. Its step and start for L2 are ours (the
//! paper has L∞ alone): a direction at random, its length uniform in `[0, ε]`, then 1.25 ε along the gradient.
//! *Free* trains m times on every batch before the next: for the paper's amount of work give an m-th of the epochs. Its
//! perturbation goes from batch to batch within an epoch and begins at 0 in each, so that a killed run goes on exactly;
//! the paper carries it over epochs too.

use super::adversary::{Adversary, Norm, Start};
use super::guard;
use super::radius::check_epsilon;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How to train on adversarial images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdversarialTraining {
    /// The adversary's steps for each batch.
    Projected(Adversary),
    /// One step, watched.
    Fast(Fast),
    /// Gradients of images and weights from one pass.
    Free(Free),
}

/// Fast adversarial training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fast {
    /// One step from inside the ball.
    pub adversary: Adversary,
    /// Batches between two looks at whether it still works; there is one after each epoch anyway.
    pub guard_every: usize,
}

/// Free adversarial training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Free {
    /// The norm of the ball.
    pub norm: Norm,
    /// The radius, in pixel units of `[0, 1]`; a step is as long.
    pub epsilon: f64,
    /// m.
    pub replays: usize,
}

impl From<Adversary> for AdversarialTraining {
    fn from(adversary: Adversary) -> Self {
        Self::Projected(adversary)
    }
}

impl Fast {
    /// A step of 1.25 ε.
    ///
    /// # Errors
    /// Where ε is not a positive number.
    pub fn new(norm: Norm, epsilon: f64, guard_every: usize) -> Result<Self> {
        let adversary = Adversary {
            step_size: 1.25 * epsilon,
            start: Start::Inside,
            ..Adversary::new(norm, epsilon, 1)?
        };
        Ok(Self {
            adversary,
            guard_every,
        })
    }

    /// Who takes over where the single step fails.
    pub(super) fn fallback(&self) -> Adversary {
        guard::several_steps(&self.adversary, guard::FALLBACK_STEPS)
    }
}

impl Free {
    /// With m replays of each batch.
    ///
    /// # Errors
    /// Where ε is not a positive number or nothing is replayed.
    pub fn new(norm: Norm, epsilon: f64, replays: usize) -> Result<Self> {
        check_epsilon(norm, epsilon)?;
        if replays < 2 {
            let reason = format!("expected at least 2, found {replays}; 1 is natural training");
            return Err(Error::config("replays", reason));
        }
        Ok(Self {
            norm,
            epsilon,
            replays,
        })
    }
}
