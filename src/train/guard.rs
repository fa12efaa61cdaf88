//! Whether fast adversarial training still works.
//!
//! *Catastrophic overfitting* (Wong, Rice & Kolter 2020): within a few batches the model becomes right under the single step
//! it is trained with and wrong under several. So every so many batches, and after each epoch, the accuracy under both is
//! measured on a few training images of later batches, in evaluation mode and without augmentation. It has collapsed where
//!
//! - under several steps it has lost more than half of the best seen so far, and more than three standard errors of so few
//!   images, while
//! - under the single step it has at least half of the best: a loss of both has another reason, such as the learning rate.
//!
//! Training then returns to the weights, statistics and velocities of the look before and goes on with three steps instead
//! of one. Wong et al. stop there; a run that goes on ends with all its epochs and its learning rate at the bottom.

use super::adversary::{Adversary, Start};
use serde::{Deserialize, Serialize};

/// Images looked at.
pub(super) const IMAGES: usize = 128;
/// Steps of the adversary that looks.
pub(super) const STEPS: usize = 10;
/// Steps of the adversary that takes over.
pub(super) const FALLBACK_STEPS: usize = 3;

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// From 1.
    pub epoch: usize,
    /// Batches of this epoch so far.
    pub batch: usize,
    /// Images looked at.
    pub images: usize,
    /// Share predicted rightly under the single step of training.
    pub single_step_accuracy: f64,
    /// Share predicted rightly under ten steps.
    pub ten_step_accuracy: f64,
    /// Whether training went back and on with several steps.
    pub collapsed: bool,
}

/// An adversary of more steps for the same ball.
pub(super) fn several_steps(adversary: &Adversary, steps: usize) -> Adversary {
    Adversary {
        steps,
        step_size: 2.5 * adversary.epsilon / steps as f64,
        start: Start::Random,
        ..*adversary
    }
}

/// Whether `now` is a collapse after what was seen `before`.
pub(super) fn has_collapsed(before: &[Check], now: &Check) -> bool {
    let best = |of: fn(&Check) -> f64| before.iter().map(of).fold(0.0, f64::max);
    let (several, single) = (
        best(|check| check.ten_step_accuracy),
        best(|check| check.single_step_accuracy),
    );
    let standard_error = (several * (1.0 - several) / now.images.max(1) as f64).sqrt();
    let lost = several - now.ten_step_accuracy;
    lost > 0.5 * several && lost > 3.0 * standard_error && now.single_step_accuracy >= 0.5 * single
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(single: f64, several: f64) -> Check {
        Check {
            epoch: 1,
            batch: 1,
            images: 128,
            single_step_accuracy: single,
            ten_step_accuracy: several,
            collapsed: false,
        }
    }

    #[test]
    fn a_collapse_is_a_loss_under_several_steps_alone() {
        let before = [check(0.1, 0.05), check(0.4, 0.3), check(0.35, 0.28)];
        assert!(has_collapsed(&before, &check(0.6, 0.05)));
        assert!(has_collapsed(&before, &check(0.25, 0.14)));
        // Half of it is left, or the single step is lost as well.
        assert!(!has_collapsed(&before, &check(0.6, 0.16)));
        assert!(!has_collapsed(&before, &check(0.1, 0.05)));
        // Nothing seen before; too few images right to tell.
        assert!(!has_collapsed(&[], &check(0.9, 0.0)));
        assert!(!has_collapsed(&[check(0.1, 0.05)], &check(0.3, 0.0)));
    }
}
