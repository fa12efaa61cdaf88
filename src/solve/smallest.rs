//! The smallest eigenvalue of a symmetric operator, and the damping that makes it positive definite.

use super::Lanczos;
use crate::Result;
use crate::operator::LinearOperator;

/// Most products.
const STEPS: usize = 96;
/// The residual of the Ritz pair that is enough, as a share of |value|.
const ACCURACY: f64 = 0.05;
/// The advised damping over what the estimate asks for: Ritz values approach from above.
const MARGIN: f64 = 1.2;

/// The smallest eigenvalue, as a few products show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SmallestEigenvalue {
    /// The smallest Ritz value, never below the truth.
    pub value: f64,
    /// ‖A u − value·u‖: an eigenvalue lies that near. That none is smaller is likely, not proven.
    pub residual: f64,
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
/// # Errors
/// An operator that is not symmetric or not finite, or a computation failed.
pub fn smallest_eigenvalue(operator: &dyn LinearOperator, seed: u64) -> Result<SmallestEigenvalue> {
    let smallest = |ritz: &super::Ritz| {
        let pairs = ritz.values.iter().zip(&ritz.residuals);
        pairs.fold((f64::INFINITY, 0.0), |least, (&value, &residual)| {
            if value < least.0 {
                (value, residual)
            } else {
                least
            }
        })
    };
    let mut process = Lanczos::new(operator, seed, None)?;
    let (ritz, _) = process.run(STEPS, |_, ritz| {
        let (value, residual) = smallest(ritz);
        residual <= ACCURACY * value.abs()
    })?;
    let (value, residual) = smallest(&ritz);
    Ok(SmallestEigenvalue {
        value,
        residual,
        steps: process.steps(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{Damped, Dense, Structure};
    use crate::solve::{Cg, Outcome, Solver};
    use candle_core::{Device, Tensor};
    use ndarray::Array2;

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
        let rows = Tensor::ones((1, 60), candle_core::DType::F64, &Device::Cpu).unwrap();
        let right = crate::operator::Vectors::new(rows).unwrap();
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
