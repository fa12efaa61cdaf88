//! Whether fast adversarial training still works.
//!
//! *Catastrophic overfitting* (Wong, Rice & Kolter 2020): within a few batches the model becomes right under the single step
//! it is trained with and wrong under several. So every so many batches, and after each epoch, the accuracy under both is
//! measured on a few training images of later batches, in evaluation mode and without augmentation. It has collapsed where
//!
//! - of the images that are right under the single step more than half are wrong under several: without that a loss has another
//!   reason, such as the learning rate; and
//! - under several steps less than half is left of the mean of the last looks, and what is missing is more than three standard errors of
//!   the difference (the best look so far would be the luckiest of so few images, and in the end call for an alarm);
//!
//! and where as many other images say the same: of the many looks of a long training some go beyond three standard errors.
//!
//! Training then returns to the weights, statistics and velocities of the look before and goes on with three steps instead
//! of one. Wong et al. stop there; a run that goes on ends with all its epochs and its learning rate at the bottom.

use super::adversary::{Adversary, Start};
use serde::{Deserialize, Serialize};

/// Images looked at.
pub(super) const IMAGES: usize = 128;
/// Steps of the adversary that looks.
pub(super) const STEPS: usize = 10;
/// Looks that one is held against.
const LOOKS: usize = 5;
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
    let last = &before[before.len().saturating_sub(LOOKS)..];
    if last.is_empty() {
        return false;
    }
    let sum: f64 = last.iter().map(|check| check.ten_step_accuracy).sum();
    let (count, images) = (last.len() as f64, now.images.max(1) as f64);
    let usual = sum / count;
    let variance = usual * (1.0 - usual) / images;
    let lost = usual - now.ten_step_accuracy;
    let of_the_single_step = now.ten_step_accuracy < 0.5 * now.single_step_accuracy;
    let is_more_than_chance = lost > 3.0 * (variance * (1.0 + 1.0 / count)).sqrt();
    of_the_single_step && lost > 0.5 * usual && is_more_than_chance
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, generator};
    use rand::Rng;

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
        assert!(has_collapsed(&before, &check(0.25, 0.02)));
        // Half of it is left, or what is right under the single step is right under several.
        assert!(!has_collapsed(&before, &check(0.6, 0.16)));
        assert!(!has_collapsed(&before, &check(0.08, 0.05)));
        // Nothing seen before; too few images right to tell.
        assert!(!has_collapsed(&[], &check(0.9, 0.0)));
        assert!(!has_collapsed(&[check(0.1, 0.05)], &check(0.3, 0.0)));
        // Both lost, as from a step that was too long.
        let before = [check(0.26, 0.242), check(0.2, 0.18)];
        assert!(!has_collapsed(&before, &check(0.117, 0.109)));
    }

    /// Looks at images each of which is right under the single step with one probability, and then under several with another.
    fn looks(single: f64, kept: f64, count: usize, draw: &mut impl FnMut() -> f64) -> Vec<Check> {
        let look = |_| {
            let right = (0..128).filter(|_| draw() < single).count();
            let left = (0..right).filter(|_| draw() < kept).count();
            check(right as f64 / 128.0, left as f64 / 128.0)
        };
        (0..count).map(look).collect()
    }

    #[test]
    fn chance_alone_is_no_collapse_and_a_collapse_is_seen_at_once() {
        let mut generator = generator(Purpose::Adversary, 0, 0, 0);
        let mut draw = || (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        for (single, kept) in [(0.1, 0.8), (0.2, 0.8), (0.3, 0.7), (0.4, 0.9), (0.7, 0.8)] {
            for _ in 0..100 {
                let looks = looks(single, kept, 480, &mut draw);
                // Each look with another one at hand.
                let (looks, again) = looks.split_at(240);
                let is_alarm = |&at: &usize| {
                    [looks[at], again[at]]
                        .iter()
                        .all(|look| has_collapsed(&looks[..at], look))
                };
                assert_eq!((1..240).find(is_alarm), None, "{single} {kept}");
            }
        }
        for single in [0.25, 0.4, 0.7] {
            for _ in 0..100 {
                let before = looks(single, 0.85, 30, &mut draw);
                let after = looks(0.8, 0.02, 1, &mut draw);
                assert!(has_collapsed(&before, &after[0]), "{single}");
            }
        }
    }
}
