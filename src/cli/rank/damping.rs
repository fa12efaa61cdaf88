//! `--damping`: a number, or the one that stands for a training that was stopped.
//!
//! Gradient descent for a time t, the sum of all rates over 1 − momentum, answers a small change of the gradient by (1 − e^(−σt))/σ
//! along an axis of curvature σ. 1/(σ + 1/t) is the same for small and for large σt, and less by a quarter at most in between:
//! damping by 1/t is to influence what stopping is to training. Measured in `analysis/stopped-heads`.

use super::{BLOCKS_DAMPING, HEAD_DAMPING, Rank};
use crate::model::Blocks;
use crate::{Error, Result, number_range};

/// λ as it is typed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Damping {
    /// λ itself.
    Value(f64),
    /// 1/t.
    Trained,
}

impl Damping {
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        match text {
            "trained" => Ok(Self::Trained),
            number => (number.parse().map(Self::Value))
                .map_err(|_| "expected a number, or trained".into()),
        }
    }
}

/// What is known of how the parameters came to be.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Training {
    /// The L2 term of the loss.
    pub(in crate::cli) l2: f64,
    /// t, of a transfer; unknown of others.
    pub(in crate::cli) time: Option<f64>,
    /// Whether nothing but the head was trained.
    pub(in crate::cli) of_head: bool,
}

impl Rank {
    /// λ of the run.
    pub(super) fn effective_damping(&self, training: Training) -> Result<f64> {
        match (self.damping, training.time) {
            (None, _) => Ok(self.usual_damping(training.l2)),
            (Some(Damping::Value(damping)), _) => number_range::at_least_zero("damping", damping),
            (Some(Damping::Trained), Some(time)) => Ok(1.0 / time),
            (Some(Damping::Trained), None) => {
                let reason = "trained is for a --model that ascribe transfer left, whose rates and steps are known; give a number";
                Err(Error::config("damping", reason))
            }
        }
    }

    /// Says so where the training of a head ended before the axes that nothing else bounds were trained, and where the damping that
    /// stands for that is no better than others.
    pub(super) fn note_stopped(&self, training: Training) {
        let is_alone = training.of_head && self.is_of_head();
        let bounded = training.l2 + self.usual_damping(training.l2);
        match (self.damping, training.time.map(|time| 1.0 / time)) {
            (None, Some(trained)) if is_alone && self.solver.is_damped() && trained > bounded => {
                note!(
                    "ascribe: the head may have stopped short of the minimum of its loss, which scores are of; --damping trained ({trained:.2e} here) makes them those of a training that stops there (docs/solvers.md)"
                );
            }
            (Some(Damping::Trained), _) if !is_alone => {
                note!(
                    "ascribe: --damping trained is for heads that were trained alone: where blocks were trained too it was no better on the whole (docs/solvers.md)"
                );
            }
            _ => {}
        }
    }

    /// Whether a curvature is the head's; where training was unrolled, that of the estimators that are held beside it.
    pub(super) fn is_of_head(&self) -> bool {
        self.unrolled || self.blocks == Blocks::Last(0)
    }

    /// None for a head whose loss has an L2 term to bound the curvature: more takes scores further from what leaving an image out
    /// does (`docs/solvers.md`). Through blocks no one value is best; this one is nowhere far from it.
    fn usual_damping(&self, l2: f64) -> f64 {
        match self.is_of_head() {
            true if l2 > 0.0 => 0.0,
            true => HEAD_DAMPING,
            false => BLOCKS_DAMPING,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_trained() {
        assert_eq!(Damping::parse("1e-3"), Ok(Damping::Value(1e-3)));
        assert_eq!(Damping::parse("-1"), Ok(Damping::Value(-1.0)));
        assert_eq!(Damping::parse("trained"), Ok(Damping::Trained));
        assert!(Damping::parse("auto").is_err());
    }

    /// The claim of the module's head, on the axes of a quadratic.
    #[test]
    fn damping_by_the_time_is_within_a_quarter_of_what_stopped_training_does() {
        let ratios = (0..4000).map(|step| {
            let x = 1e-6 * 1.01f64.powi(step / 2);
            -(-x).exp_m1() / x * (1.0 + x)
        });
        let (least, most) = ratios.fold((f64::MAX, 0.0f64), |(least, most), ratio| {
            (least.min(ratio), most.max(ratio))
        });
        assert!(least > 0.999 && most < 4.0 / 3.0, "{least} {most}");
    }
}
