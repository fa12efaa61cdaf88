//! The smallest eigenvalue of a symmetric operator, and the damping that makes it positive definite.

use super::lanczos::unit;
use super::{Lanczos, Ritz, Stop};
use crate::Result;
use crate::operator::LinearOperator;

/// Most products.
const STEPS: usize = 96;
/// The residual of the Ritz pair that is enough, as a share of |value|.
const ACCURACY: f64 = 0.05;
/// What rounding of products does to a Ritz value, in units of the precision times the largest.
const ROUNDING: f64 = 8.0;
/// The advised damping over what the estimate asks for: Ritz values approach from above.
const MARGIN: f64 = 1.2;

/// The smallest eigenvalue, as a few products show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SmallestEigenvalue {
    /// The smallest Ritz value, never below the truth.
    pub value: f64,
    /// ‖A u − value·u‖, with what rounding hides of it: an eigenvalue lies that near, which need not be the smallest.
    pub residual: f64,
    /// A lower bound of all eigenvalues, wrong with probability 2e-6 at most over the seeds; −∞ after few products.
    pub at_least: f64,
    /// Products.
    pub steps: usize,
}

impl SmallestEigenvalue {
    /// Whether the operator has been seen to be indefinite: an eigenvalue below 0 beyond doubt.
    pub fn is_negative(&self) -> bool {
        self.value + self.residual < 0.0
    }

    /// What to add to every eigenvalue, with a margin for what the estimate missed; 0 where nothing is missing.
    pub fn missing_damping(&self) -> f64 {
        MARGIN * (self.residual - self.value).max(0.0)
    }
}

/// The smallest eigenvalue of `operator` by at most 96 Lanczos steps from a random vector that belongs to `seed`.
///
/// A Ritz pair with a small residual is near some eigenvalue: of many parameters the first vector of all is, where most eigenvalues are
/// about equal and a few are not. Only one below 0, or a bound above 0, ends the process early.
///
/// # Errors
/// An operator that is not finite, or a computation failed.
pub fn smallest_eigenvalue(operator: &dyn LinearOperator, seed: u64) -> Result<SmallestEigenvalue> {
    let smallest = |ritz: &Ritz| {
        let rounding = ROUNDING * unit(operator.dtype()) * ritz.largest();
        let pairs = ritz.values.iter().zip(&ritz.residuals);
        pairs.fold((f64::INFINITY, 0.0), |least, (&value, &residual)| {
            if value < least.0 {
                (value, residual + rounding)
            } else {
                least
            }
        })
    };
    let mut process = Lanczos::new(operator, seed, None)?;
    let (ritz, stop) = process.run(STEPS, |process, ritz| {
        let (value, residual) = smallest(ritz);
        let settled = value < 0.0 || process.smallest_at_least(ritz) > 0.0;
        residual <= ACCURACY * value.abs() && settled
    })?;
    let (value, residual) = smallest(&ritz);
    Ok(SmallestEigenvalue {
        value,
        residual,
        at_least: match stop {
            Stop::Exhausted => value - residual,
            _ => process.smallest_at_least(&ritz),
        },
        steps: process.steps(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::operator::{Damped, Dense, Structure, SymmetricMatrix, Vectors};
    use crate::solve::{Cg, Outcome, Solver};
    use candle_core::{DType, Device, Tensor};
    use ndarray::Array2;

    /// Too large to be written out.
    struct Diagonal(Vec<f64>);

    impl LinearOperator for Diagonal {
        fn size(&self) -> usize {
            self.0.len()
        }

        fn structure(&self) -> Structure {
            Structure::Symmetric
        }

        fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
            let row = Tensor::from_slice(&self.0, (1, self.0.len()), &Device::Cpu)?;
            Vectors::new(vectors.tensor().broadcast_mul(&row)?)
        }

        fn dtype(&self) -> DType {
            DType::F64
        }

        fn dense(&self, _: DType) -> Result<SymmetricMatrix> {
            let what = "a matrix as large as that";
            Err(Error::unsupported(what, "use products"))
        }

        fn diagonal(&self) -> Result<Vec<f64>> {
            Ok(self.0.clone())
        }
    }

    /// Eigenvalues −0.5, then 0.1 … 4, in axes turned by reflections.
    fn indefinite(size: usize) -> Dense {
        let axis: Vec<f64> = (0..size).map(|i| (1.3 * i as f64 + 0.2).sin()).collect();
        let length: f64 = axis.iter().map(|x| x * x).sum();
        let value = |i: usize| match i {
            0 => -0.5,
            i => 0.1 + 3.9 * i as f64 / size as f64,
        };
        let reflection = Array2::from_shape_fn((size, size), |(i, j)| {
            f64::from(u8::from(i == j)) - 2.0 * axis[i] * axis[j] / length
        });
        let diagonal = Array2::from_diag(&(0..size).map(value).collect::<ndarray::Array1<f64>>());
        let matrix = reflection.dot(&diagonal).dot(&reflection);
        Dense::new(matrix, Structure::Symmetric).unwrap()
    }

    #[test]
    fn a_negative_eigenvalue_is_found_and_the_advice_suffices() {
        let operator = indefinite(60);
        let found = smallest_eigenvalue(&operator, 3).unwrap();
        assert!(
            found.is_negative() && (found.value + 0.5).abs() < 0.05,
            "{found:?}"
        );
        let rows = Tensor::ones((1, 60), DType::F64, &Device::Cpu).unwrap();
        let right = Vectors::new(rows).unwrap();
        let solve = |damping: f64| {
            let damped = Damped::new(&operator, damping).unwrap();
            let cg = Cg {
                tolerance: 1e-8,
                iterations: 500,
                preconditioned: false,
            };
            let solution = cg.prepare(&damped).unwrap().solve(&right).unwrap();
            solution.reports[0].outcome
        };
        assert_eq!(solve(0.0), Outcome::NegativeCurvature);
        assert_eq!(solve(found.missing_damping()), Outcome::Converged);
    }

    /// A random vector is nearly in the space of the many eigenvalues, whose Ritz pair has a small residual at once.
    #[test]
    fn one_negative_eigenvalue_among_very_many_is_found() {
        let size = 20_000;
        let mut equal = vec![0.1; size];
        equal[777] = -0.2;
        let decay = |i: usize| 0.1 * (1.0 + 0.1 * (-12.0 * i as f64 / size as f64).exp());
        let mut decaying: Vec<f64> = (0..size).map(decay).collect();
        decaying[5..8].copy_from_slice(&[40.0, 15.0, 6.0]);
        decaying[size / 2] = -0.05;
        for (values, expected) in [(equal, -0.2), (decaying, -0.05)] {
            let operator = Diagonal(values);
            for seed in 0..4 {
                let found = smallest_eigenvalue(&operator, seed).unwrap();
                assert!(found.is_negative(), "{found:?}");
                assert!((found.value / expected - 1.0).abs() < 0.05, "{found:?}");
                assert!(found.missing_damping() > -expected, "{found:?}");
                assert!(found.at_least <= expected && found.steps < 20, "{found:?}");
            }
        }
    }

    #[test]
    fn a_bound_above_zero_ends_the_process_early_and_holds() {
        let value = |i: usize| 1.0 + 3.0 * i as f64 / 20_000.0;
        let operator = Diagonal((0..20_000).map(value).collect());
        for seed in 0..3 {
            let found = smallest_eigenvalue(&operator, seed).unwrap();
            assert!(found.at_least > 0.0 && found.at_least <= 1.0, "{found:?}");
            assert!(found.value < 1.05 && found.steps < STEPS, "{found:?}");
        }
    }

    #[test]
    fn nothing_is_missing_where_all_is_positive() {
        let operator = indefinite(40);
        let damped = Damped::new(&operator, 2.0).unwrap();
        let found = smallest_eigenvalue(&damped, 1).unwrap();
        assert!(
            !found.is_negative() && (found.value - 1.5).abs() < 0.1,
            "{found:?}"
        );
        assert_eq!(found.missing_damping(), 0.0);
    }
}
