//! Inversion on the eigenvectors of the largest curvature, found by a Krylov process (Schioppa et al. 2022).
//!
//! x = Σ_k u_k (u_kᵀ b) / θ_k over the `rank` Ritz pairs of largest |θ|; everything outside their span is dropped,
//! the directions of low curvature before all. Schioppa et al. run Arnoldi's process and symmetrise what it gives; for
//! a symmetric operator it *is* the Lanczos process, which is what runs here. They keep whatever a fixed number of steps
//! gives; we keep a pair only where its residual is small, and say so where too few were.
//!
//! An approximation by design: the outcome is [`Outcome::Approximate`], with the true residual.

use super::diagonal::Approximation;
use super::lanczos::negligible;
use super::spectral::Spectral;
use super::{Inverse, Lanczos, Outcome, Ritz, Solution, Solver, zero_curvature};
use crate::operator::{LinearOperator, Vectors};
use crate::{Error, Result, number_range};

/// The seed of the first vector.
const SEED: u64 = 0;

/// Inverts on the `rank` eigenvectors of largest |eigenvalue|.
#[derive(Debug, Clone, Copy)]
pub struct Arnoldi {
    /// Eigenpairs to keep; all where the operator has fewer.
    pub rank: usize,
    /// Most products with the operator.
    pub steps: usize,
    /// A pair is kept where ‖A u − θ u‖ ≤ tolerance · |θ|.
    pub tolerance: f64,
}

impl Default for Arnoldi {
    /// 50 pairs, 500 steps, 1e-3.
    fn default() -> Self {
        Self {
            rank: 50,
            steps: 500,
            tolerance: 1e-3,
        }
    }
}

impl Solver for Arnoldi {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        number_range::between_zero_and_one("tolerance", self.tolerance)?;
        number_range::at_least_one("rank", self.rank)?;
        let rank = self.rank.min(operator.size());
        if self.steps < rank {
            let reason = format!("{} cannot give {rank} eigenpairs; raise it", self.steps);
            return Err(Error::config("steps", reason));
        }
        let mut process = Lanczos::new(operator, SEED, None)?;
        let (ritz, _) = process.run(self.steps, |_, ritz| {
            ritz.values.len() >= rank && self.accepted(ritz, rank).eq(0..rank)
        })?;
        let kept: Vec<usize> = self.accepted(&ritz, ritz.values.len()).take(rank).collect();
        let complete = kept.iter().copied().eq(0..rank);
        let values = divisors(&ritz, &kept, negligible(operator.dtype()))?;
        let pairs = match kept.is_empty() {
            true => None,
            false => Some(process.vectors(&ritz, &kept)?),
        };
        Ok(Box::new(Prepared {
            operator,
            spectral: Spectral::new(pairs, &values),
            complete,
            notes: vec![
                ("eigenpairs kept", kept.len() as f64),
                ("Lanczos steps", process.steps() as f64),
            ],
        }))
    }
}

impl Arnoldi {
    /// Positions of the pairs whose residual is small enough, among the first `count`. Small beside its own θ: next to the mean of
    /// features, the strongest axis by far, the residual of any vector is small.
    fn accepted<'r>(&'r self, ritz: &'r Ritz, count: usize) -> impl Iterator<Item = usize> + 'r {
        let limit = move |position: usize| self.tolerance * ritz.values[position].abs();
        (0..count).filter(move |&position| ritz.residuals[position] <= limit(position))
    }
}

/// θ of the pairs kept; `negligible` is the share of the largest that is rounding.
fn divisors(ritz: &Ritz, kept: &[usize], negligible: f64) -> Result<Vec<f64>> {
    if ritz.largest() == 0.0 {
        return Err(zero_curvature());
    }
    let divisor = |&position: &usize| match ritz.values[position] {
        value if value.abs() <= negligible * ritz.largest() => {
            let reason = format!(
                "eigenvalue {} of the curvature is {value:e} with it, so that it cannot be divided by; raise it or lower --rank",
                position + 1
            );
            Err(Error::config("damping", reason))
        }
        value => Ok(value),
    };
    kept.iter().map(divisor).collect()
}

struct Prepared<'a> {
    operator: &'a dyn LinearOperator,
    spectral: Spectral,
    /// Whether the pairs asked for were found, and not others in their place.
    complete: bool,
    notes: Vec<(&'static str, f64)>,
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        let approximation = Approximation {
            operator: self.operator,
            apply: |block: &Vectors| self.spectral.apply(block),
            notes: Vec::new(),
        };
        let mut solution = approximation.solve(right_hand_sides)?;
        for report in &mut solution.reports {
            if !self.complete && report.outcome == Outcome::Approximate {
                report.outcome = Outcome::LimitReached;
            }
        }
        Ok(solution)
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        self.notes.clone()
    }
}

#[cfg(test)]
mod tests;
