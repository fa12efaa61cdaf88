//! Learning-rate schedules, by epoch.

use serde::{Deserialize, Serialize};

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// Times 0.1 after each third of the epochs, rounded down (the paper's: 50 of 150, 33 of 100), up where there are fewer
    /// than nine
    Step,
    /// Half a cosine from the first value to 0.
    Cosine,
}

impl Schedule {
    /// The factor on the learning rate in `epoch` (from 0) of `epochs`.
    #[must_use]
    pub fn factor(self, epoch: usize, epochs: usize) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step => {
                // Down, four epochs would see three steps.
                let third = match epochs < 9 {
                    true => epochs.div_ceil(3).max(1),
                    false => epochs / 3,
                };
                0.1_f64.powi((epoch / third) as i32)
            }
            Self::Cosine => {
                0.5 * (1.0 + (std::f64::consts::PI * epoch as f64 / epochs as f64).cos())
            }
        }
    }

    /// The sum of the factors of all `epochs`.
    #[must_use]
    pub fn total(self, epochs: usize) -> f64 {
        (0..epochs).map(|epoch| self.factor(epoch, epochs)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_at_the_turning_points() {
        let step = |epoch| Schedule::Step.factor(epoch, 150);
        assert_eq!([step(0), step(49)], [1.0, 1.0]);
        assert!((step(50) - 0.1).abs() < 1e-15 && (step(149) - 0.01).abs() < 1e-15);
        let steps = |epochs: usize| {
            (1..epochs).filter(move |&epoch| {
                Schedule::Step.factor(epoch, epochs) < Schedule::Step.factor(epoch - 1, epochs)
            })
        };
        assert_eq!(steps(5).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(steps(4).collect::<Vec<_>>(), [2]);
        assert_eq!(steps(10).collect::<Vec<_>>(), [3, 6, 9]);
        assert_eq!(steps(100).collect::<Vec<_>>(), [33, 66, 99]);
        assert_eq!(Schedule::Cosine.factor(0, 10), 1.0);
        assert!((Schedule::Cosine.factor(5, 10) - 0.5).abs() < 1e-15);
        assert_eq!(Schedule::Constant.factor(9, 10), 1.0);
        assert_eq!(Schedule::Constant.total(9), 9.0);
        assert!((Schedule::Step.total(150) - 55.5).abs() < 1e-12);
    }
}
