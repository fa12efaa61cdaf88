//! Everything that determines the result of training.

use super::adversarial::AdversarialTraining;
use super::schedule::Schedule;
use crate::data::Augmentation;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What batch norm does in segments that are not trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FrozenStatistics {
    /// Their running statistics keep following the batches, as in the paper's code.
    Moving,
    /// They stay as the source model has them.
    Frozen,
}

/// Everything that determines the result of training, given model and data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// Momentum of [`Sgd`](super::Sgd).
    pub momentum: f64,
    /// L2 term over all trained parameters.
    pub l2: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Random changes of the training images.
    pub augmentation: Augmentation,
    /// Whether and how the training images are attacked.
    pub adversary: Option<AdversarialTraining>,
    /// Batch norm of frozen segments.
    pub frozen_statistics: FrozenStatistics,
    /// The test images are measured after every so many epochs, and after the last; 0: after the last alone.
    pub evaluate_every: usize,
    /// Seed of order, augmentation and adversary.
    pub seed: u64,
    /// Bytes for decoded images and for what the frozen segments give, half each; images beyond them are decoded again in
    /// each epoch, activations go to a scratch file. No effect on numbers.
    pub memory: u64,
}

impl Recipe {
    /// Refuses what cannot be trained with.
    ///
    /// # Errors
    /// Names the option.
    pub fn check(&self) -> Result<()> {
        let positive = |option, value: f64| {
            if value > 0.0 && value.is_finite() {
                Ok(())
            } else {
                Err(Error::config(
                    option,
                    format!("expected a positive number, found {value}"),
                ))
            }
        };
        positive("learning-rate", self.learning_rate)?;
        positive("epochs", self.epochs as f64)?;
        positive("batch-size", self.batch_size as f64)?;
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::config(
                "momentum",
                format!(
                    "expected a number from 0 up to but not 1, found {}",
                    self.momentum
                ),
            ));
        }
        if self.memory == 0 {
            let reason = "expected a positive number of GiB";
            return Err(Error::config("memory", reason));
        }
        if let Some(AdversarialTraining::Fast(fast)) = &self.adversary {
            positive("guard-every", fast.guard_every as f64)?;
        }
        if !(self.l2 >= 0.0 && (self.l2 as f32).is_finite()) {
            return Err(Error::config(
                "l2",
                format!(
                    "expected 0 or a positive number of at most 3.4e38, found {}",
                    self.l2
                ),
            ));
        }
        Ok(())
    }

    /// Of how many variants of a training image what the frozen segments give can be kept, and is worth it; none: it changes
    /// with the batch, with weights, or from epoch to epoch.
    pub(crate) fn kept_variants(&self, first_segment: usize) -> Option<usize> {
        let variants = self.augmentation.variants()?;
        (self.prefix_is_fixed(first_segment) && self.adversary.is_none() && self.epochs >= variants)
            .then_some(variants)
    }

    /// Whether what the frozen segments give for a test image is kept: where it is fixed, and asked for twice.
    pub(super) fn keeps_test(&self, first_segment: usize) -> bool {
        self.prefix_is_fixed(first_segment) && self.measurements() > 1
    }

    /// Bytes that decoded training and test images may take; none where each is asked for once.
    #[must_use]
    pub fn pixel_bytes(&self, first_segment: usize) -> [u64; 2] {
        let bytes = |kept: bool| if kept { 0 } else { self.memory / 4 };
        [
            bytes(self.kept_variants(first_segment).is_some()),
            bytes(self.keeps_test(first_segment)),
        ]
    }

    /// The first segment whose batch norms take the statistics of the batch.
    pub(super) fn first_with_batch_statistics(&self, first_segment: usize) -> usize {
        match self.frozen_statistics {
            FrozenStatistics::Moving => 0,
            FrozenStatistics::Frozen => first_segment,
        }
    }

    /// Whether what the frozen segments give depends on the image alone.
    fn prefix_is_fixed(&self, first_segment: usize) -> bool {
        first_segment > 0 && self.frozen_statistics == FrozenStatistics::Frozen
    }

    /// How often the test images are measured.
    pub(crate) fn measurements(&self) -> usize {
        match self.evaluate_every {
            0 => 1,
            every => self.epochs.div_ceil(every),
        }
    }

    pub(super) fn measures_after(&self, epoch: usize) -> bool {
        epoch + 1 == self.epochs
            || (self.evaluate_every > 0 && (epoch + 1).is_multiple_of(self.evaluate_every))
    }
}
