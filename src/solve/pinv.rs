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

use super::diagonal::Approximation;
use super::lanczos::{negligible, unit};
use super::spectral::Spectral;
use super::{Inverse, Lanczos, Ritz, Solver, Stop, zero_curvature};
use crate::operator::{LinearOperator, Vectors};
use crate::{Error, Result, number_range};
use candle_core::DType;

/// Most Lanczos steps of one round.
const STEPS: usize = 4096;
/// The seed of the first round; every round has its own.
const SEED: u64 = 0;
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
        let mut search = Search::new(operator, self.effective_rcond(operator.dtype()));
        while search.round()? {}
        let (values, pairs) = search.kept()?;
        let notes = vec![
            ("eigenpairs kept", values.len() as f64),
            ("Lanczos steps", search.steps as f64),
            ("largest eigenvalue", search.largest),
            ("eigenvalue threshold", search.threshold()),
        ];
        let spectral = Spectral::new(Some(pairs), &values);
        Ok(Box::new(Approximation {
            operator,
            apply: move |block: &Vectors| spectral.apply(block),
            notes,
        }))
    }
}

/// Eigenpairs above the threshold, as far as they are known.
struct Search<'a> {
    operator: &'a dyn LinearOperator,
    rcond: f64,
    values: Vec<f64>,
    vectors: Option<Vectors>,
    /// The largest |eigenvalue|.
    largest: f64,
    rounds: u64,
    steps: usize,
}

impl<'a> Search<'a> {
    fn new(operator: &'a dyn LinearOperator, rcond: f64) -> Self {
        Self {
            operator,
            rcond,
            values: Vec::new(),
            vectors: None,
            largest: 0.0,
            rounds: 0,
            steps: 0,
        }
    }

    fn threshold(&self) -> f64 {
        self.rcond * self.largest
    }

    /// A Lanczos process in the complement of what is known; whether it found anything more.
    fn round(&mut self) -> Result<bool> {
        let mut process = Lanczos::new(self.operator, SEED + self.rounds, self.vectors.as_ref())?;
        let (ritz, stop) = process.run(STEPS, |process, ritz| self.is_settled(process, ritz))?;
        self.rounds += 1;
        self.steps += process.steps();
        if stop == Stop::Limit {
            let reason = format!(
                "{STEPS} Lanczos steps did not find all eigenvalues above {:e} of the largest; raise it",
                self.rcond
            );
            return Err(Error::config("rcond", reason));
        }
        self.largest = self.largest.max(ritz.largest());
        if self.largest == 0.0 {
            return Err(zero_curvature());
        }
        let found: Vec<usize> = (0..above(&ritz, self.threshold())).collect();
        if found.is_empty() {
            return Ok(false);
        }
        self.values.extend(&ritz.values[..found.len()]);
        let mut blocks: Vec<Vectors> = self.vectors.take().into_iter().collect();
        blocks.push(process.vectors(&ritz, &found)?);
        self.vectors = Some(Vectors::concatenate(&blocks)?);
        Ok(true)
    }

    /// Whether a round can end: every pair above the threshold has converged and the next one is below it; where none is
    /// above, whether none was missed.
    fn is_settled(&self, process: &Lanczos, ritz: &Ritz) -> bool {
        let largest = self.largest.max(ritz.largest());
        let (threshold, small) = (self.rcond * largest, self.tolerance() * largest);
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
    fn tolerance(&self) -> f64 {
        let dtype = self.operator.dtype();
        let usual = match dtype {
            DType::F64 => 1e-11,
            _ => 1e-5,
        };
        (usual * (self.rcond / USUAL).min(1.0)).max(unit(dtype))
    }

    /// The pairs above the threshold: a later round may have raised it.
    fn kept(&self) -> Result<(Vec<f64>, Vectors)> {
        let threshold = self.threshold();
        let places: Vec<usize> = (0..self.values.len())
            .filter(|&place| self.values[place].abs() >= threshold)
            .collect();
        let vectors = self.vectors.as_ref().ok_or_else(zero_curvature)?;
        let values = places.iter().map(|&place| self.values[place]).collect();
        Ok((values, vectors.select(&places)?))
    }
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
