//! What a training leaves of each epoch: losses and accuracies.

use super::measure::Performance;
use serde::{Deserialize, Serialize};

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// The learning rate of this epoch.
    pub learning_rate: f64,
    /// Mean training cross-entropy over the epoch, as the weights moved, without the L2 term; under attack in
    /// adversarial training.
    pub train_loss: f64,
    /// Share of training images predicted rightly, likewise.
    pub train_accuracy: f64,
    /// Mean test cross-entropy after the epoch; empty where not measured.
    pub test_loss: Option<f64>,
    /// Share of test images predicted rightly after the epoch.
    pub test_accuracy: Option<f64>,
    /// Wall-clock time of the epoch.
    pub seconds: f64,
}

impl Epoch {
    pub(super) fn new(
        epoch: usize,
        learning_rate: f64,
        train: Performance,
        test: Option<Performance>,
        seconds: f64,
    ) -> Self {
        Self {
            epoch,
            learning_rate,
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            test_loss: test.map(|test| test.loss),
            test_accuracy: test.map(|test| test.accuracy),
            seconds,
        }
    }
}
