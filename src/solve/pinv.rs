//! The pseudo-inverse without the small eigenvalues: the estimator of Utrera et al. 2020, `pinv(H, rcond)`.
//!
//! x = Σ_k u_k (u_kᵀ b) / λ_k over the eigenpairs with |λ_k| ≥ rcond · max |λ|, of the *data* Hessian: the operator is to
//! be given without damping. Utrera et al. decompose the whole matrix (20,490 × 20,490) at rcond 5e-2, which keeps a few
//! dozen pairs; we run the Lanczos process until all pairs above the threshold have converged and the next Ritz value
//! lies below it. Their Hessian is a sum over images and ours a mean; the 1/n in front of our scores makes them the same numbers.
//!
//! One Krylov space holds one vector of a multiple eigenvalue. Hence the process is repeated from a fresh random vector
//! in the complement of what is kept, until that finds nothing more above the threshold, with the certainty that
//! [`Lanczos::missed_at_most`] gives: a pair is missed with probability 1e-6 at most. Where an eigenvalue lies so close
//! below the threshold that this would take very many steps, its own convergence is enough.
//!
//! The scores are mostly of the smallest pairs that are kept. Products are rounded to about the last digit of the largest eigenvalue:
//! pairs not above that are dropped whatever the threshold, and the residuals of the others have to be small beside the threshold.
//!
//! An approximation by design: its outcome is [`super::Outcome::Approximate`], with the true residual.

use super::deflation::Deflation;
use super::diagonal::Approximation;
use super::lanczos::{negligible, unit};
use super::spectral::Spectral;
use super::{Inverse, Lanczos, Ritz, Solver, Stop, zero_curvature};
use crate::operator::{LinearOperator, Vectors};
use crate::{Error, Result, number_range};
use candle_core::DType;

/// Most Lanczos steps of one round.
const STEPS: usize = 4096;
/// The threshold of the paper's code.
const USUAL: f64 = 5e-2;

/// Inverts all eigenvalues of at least `rcond` times the largest.
#[derive(Debug, Clone, Copy)]
pub struct Pinv {
    /// The threshold as a share of the largest |eigenvalue|, between 0 and 1.
    pub rcond: f64,
}

impl Default for Pinv {
    /// 5e-2, as in the paper's code.
    fn default() -> Self {
        Self { rcond: USUAL }
    }
}

impl Pinv {
    /// The share of the largest |eigenvalue| below which pairs are dropped in a precision: the threshold, or what rounding takes for an
    /// eigenvalue where that is more.
    pub fn effective_rcond(&self, precision: DType) -> f64 {
        self.rcond.max(negligible(precision))
    }
}

impl Solver for Pinv {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        number_range::between_zero_and_one("rcond", self.rcond)?;
        let mut search = Search {
            rcond: self.effective_rcond(operator.dtype()),
            pairs: Deflation::new(operator),
        };
        while search.round()? {}
        search.drop_small()?;
        let values = &search.pairs.values;
        let notes = vec![
            ("eigenpairs kept", values.len() as f64),
            ("Lanczos steps", search.pairs.steps as f64),
            ("largest eigenvalue", search.pairs.largest),
            ("eigenvalue threshold", search.threshold()),
        ];
        let spectral = Spectral::new(search.pairs.vectors, values);
        Ok(Box::new(Approximation {
            operator,
            apply: move |block: &Vectors| spectral.apply(block),
            notes,
        }))
    }
}

/// Eigenpairs above the threshold, as far as they are known.
struct Search<'a> {
    rcond: f64,
    pairs: Deflation<'a>,
}

impl Search<'_> {
    fn threshold(&self) -> f64 {
        self.rcond * self.pairs.largest
    }

    /// A Lanczos process in the complement of what is known; whether it found anything more.
    fn round(&mut self) -> Result<bool> {
        let rcond = self.rcond;
        let (process, ritz, stop) = (self.pairs).round(STEPS, |pairs, process, ritz| {
            is_settled((pairs, rcond), process, ritz)
        })?;
        if stop == Stop::Limit {
            let reason = format!(
                "{STEPS} Lanczos steps did not find all eigenvalues above {rcond:e} of the largest; raise it"
            );
            return Err(Error::config("rcond", reason));
        }
        if self.pairs.largest == 0.0 {
            return Err(zero_curvature());
        }
        let found: Vec<usize> = (0..above(&ritz, self.threshold())).collect();
        self.pairs.keep(&process, &ritz, &found)?;
        Ok(!found.is_empty())
    }

    /// A later round may have raised the threshold.
    fn drop_small(&mut self) -> Result<()> {
        let threshold = self.threshold();
        let values = self.pairs.values.iter().enumerate();
        let large = values.filter(|(_, value)| value.abs() >= threshold);
        let places: Vec<usize> = large.map(|(place, _)| place).collect();
        self.pairs.select(&places)
    }
}

/// Whether a round can end: every pair above the threshold has converged and the next one is below it; where none is
/// above, whether none was missed.
fn is_settled((pairs, rcond): (&Deflation, f64), process: &Lanczos, ritz: &Ritz) -> bool {
    let largest = pairs.largest.max(ritz.largest());
    let (threshold, small) = (
        rcond * largest,
        tolerance(pairs.operator.dtype(), rcond) * largest,
    );
    if largest == 0.0 {
        return true;
    }
    let above = above(ritz, threshold);
    if ritz.residuals[..above].iter().any(|rest| *rest > small) {
        return false;
    }
    let Some(&rest) = ritz.residuals.get(above) else {
        return false;
    };
    let next = magnitude(ritz, above);
    if above > 0 {
        return rest <= small || next + rest < threshold;
    }
    let missed = process.missed_at_most(ritz);
    missed < threshold || (rest <= small && missed <= 2.0 * next)
}

/// Residuals that count as none, as a share of the largest eigenvalue.
fn tolerance(dtype: DType, rcond: f64) -> f64 {
    let usual = match dtype {
        DType::F64 => 1e-11,
        _ => 1e-5,
    };
    (usual * (rcond / USUAL).min(1.0)).max(unit(dtype))
}

/// |θ| at a position, 0 behind the last.
fn magnitude(ritz: &Ritz, position: usize) -> f64 {
    ritz.values.get(position).map_or(0.0, |value| value.abs())
}

/// Ritz values of at least `threshold`: these come first.
fn above(ritz: &Ritz, threshold: f64) -> usize {
    (ritz.values.iter())
        .take_while(|value| value.abs() >= threshold)
        .count()
}

#[cfg(test)]
mod tests;
