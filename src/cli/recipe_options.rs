//! The options that `train` and `transfer` share: how to optimise.

use crate::Result;
use crate::artefact::physical_memory_bytes;
use crate::data::Augmentation;
use crate::train::{AdversarialTraining, FrozenStatistics, Recipe, Schedule};
use clap::{Args, ValueEnum};
use serde::Serialize;

const GIB: f64 = (1_u64 << 30) as f64;

/// A named augmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum AugmentationName {
    /// No change
    None,
    /// Horizontal flip alone
    Mirror,
    /// Random crop with 4 pixels of padding and horizontal flip
    Flip,
    /// The paper's: crop, flip, colour jitter 0.25, rotation by up to 2 degrees
    Standard,
}

impl AugmentationName {
    fn augmentation(self) -> Augmentation {
        match self {
            Self::None => Augmentation::none(),
            Self::Mirror => Augmentation::mirror(),
            Self::Flip => Augmentation::crop_and_flip(),
            Self::Standard => Augmentation::standard(),
        }
    }
}

/// How to optimise.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RecipeOptions {
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    pub epochs: usize,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub batch_size: usize,
    /// Learning rate of the first epoch
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = 0.1,
        allow_negative_numbers = true
    )]
    pub learning_rate: f64,
    /// Momentum
    #[arg(
        long,
        value_name = "M",
        default_value_t = 0.9,
        allow_negative_numbers = true
    )]
    pub momentum: f64,
    /// Weight of the L2 term l2/2·‖θ‖², over weights and biases alike
    #[arg(
        long,
        value_name = "L2",
        default_value_t = 5e-4,
        allow_negative_numbers = true
    )]
    pub l2: f64,
    /// How the learning rate falls; step: times 0.1 after each third of the epochs
    #[arg(long, value_enum, default_value_t = Schedule::Step)]
    pub schedule: Schedule,
    /// Random changes of the training images
    #[arg(long, value_enum, default_value_t = AugmentationName::Standard)]
    pub augmentation: AugmentationName,
    /// Measure the test images after every N epochs and after the last; 0: after the last alone
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub evaluate_every: usize,
    /// Most memory for decoded images and for what frozen blocks give, in GiB; images beyond it are decoded again in each
    /// epoch, the rest goes to a scratch file in the output folder (default: a quarter of the machine's)
    #[arg(long, value_name = "GIB", allow_negative_numbers = true)]
    pub memory: Option<f64>,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl RecipeOptions {
    pub(super) fn recipe(
        &self,
        adversary: Option<AdversarialTraining>,
        frozen_statistics: FrozenStatistics,
    ) -> Recipe {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            l2: self.l2,
            schedule: self.schedule,
            augmentation: self.augmentation.augmentation(),
            adversary,
            frozen_statistics,
            evaluate_every: self.evaluate_every,
            seed: self.seed,
            memory: match self.memory {
                Some(gib) => (gib * GIB) as u64,
                None => physical_memory_bytes().unwrap_or(8 << 30) / 4,
            },
        }
    }
}

/// Every option with its effective value, under its name on the command line.
pub(super) fn effective(options: &impl Serialize) -> Result<crate::artefact::Options> {
    match serde_json::to_value(options) {
        Ok(serde_json::Value::Object(map)) => Ok(map.into_iter().collect()),
        other => Err(crate::Error::mismatch(
            "options",
            "a table",
            format!("{other:?}"),
            "this is a bug",
        )),
    }
}
