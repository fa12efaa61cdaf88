//! How far scores are off because logits are: what is solved and multiplied exactly afterwards is that of slightly other gradients.
//!
//! A logit is a sum of d + 1 products, off by at most γ ‖W_c‖ ‖a‖ (Cauchy–Schwarz; Higham 2002, chapter 3). Probabilities then have a
//! relative error of at most ρ = exp(2 γ ‖W‖ ‖a‖) − 1 and what the softmax itself rounds, and so have a residual r, whose entry at
//! the label is minus the sum of the others, and the curvature, H' ≼ (1 + ρ) H and the reverse. Hence with u = ‖g‖_{A⁻¹},
//!
//! |s' − s| ≤ (δ_q u_t + u_q δ_t + δ_q δ_t + ρ_H u_q u_t)/n, δ = ρ ‖r‖ ‖a‖_{A⁻¹}.
//!
//! Large logits that cancel (an equal large bias in every class, features far from their origin) make this the largest term. Residuals
//! so small that their squares leave f64 count as [`SMALLEST`] long: no more is known of them.

use super::scaling::gamma;
use crate::Result;
use crate::influence::Examples;
use crate::influence::examples::Factors;
use crate::operator::Vectors;
use crate::solve::Refinement;

/// Well above the root of the least number in f64.
const SMALLEST: f64 = 1e-140;
/// Beyond this relative error residuals and curvature are not known at all.
const UNKNOWN: f64 = 0.5;
/// How far two residuals can be apart at most: each is a probability vector less a unit vector.
const LARGEST: f64 = 3.0;

/// Of all examples at one head.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputError {
    /// The longest ‖W_c‖.
    weights: f64,
    /// ρ_H
    curvature: f64,
}

/// u and δ of some gradients.
#[derive(Debug, Default, Clone)]
pub(super) struct Reach {
    pub(super) lengths: Vec<f64>,
    errors: Vec<f64>,
}

impl Reach {
    pub(super) fn append(&mut self, other: Self) {
        self.lengths.extend(other.lengths);
        self.errors.extend(other.errors);
    }
}

impl InputError {
    /// `weights` is the longest ‖W_c‖; `blocks` are ranges of all `training` images.
    pub(super) fn new(
        weights: f64,
        training: &Examples,
        blocks: impl Iterator<Item = std::ops::Range<usize>>,
    ) -> Result<Self> {
        let mut most = 0.0f64;
        for block in blocks {
            let errors = relative(weights, &training.factors(block)?)?;
            most = errors.into_iter().fold(most, f64::max);
        }
        let curvature = match most < UNKNOWN {
            true => most / (1.0 - most),
            false => f64::MAX.sqrt(),
        };
        Ok(Self { weights, curvature })
    }

    /// Of gradients r ⊗ a: their lengths in a band of feature axes are ‖r‖ ‖a_band‖.
    pub(super) fn reach(&self, refinement: &Refinement, factors: Factors) -> Result<Reach> {
        let rho = relative(self.weights, &factors)?;
        let residuals = factors.residuals.sqr()?.sum(1)?.to_vec1::<f64>()?;
        let inputs = refinement.inverse_lengths(&Vectors::new(factors.inputs)?)?;
        let mut reach = Reach::default();
        for ((square, input), rho) in residuals.into_iter().zip(inputs).zip(rho) {
            let (residual, slack) = (square.sqrt(), 1.0 + 1e-12);
            let off = match rho < UNKNOWN {
                true => rho / (1.0 - rho) * residual,
                false => LARGEST,
            };
            reach.lengths.push((residual + SMALLEST) * input * slack);
            reach.errors.push((off + SMALLEST) * input * slack);
        }
        Ok(reach)
    }

    /// n times what it may do to a score.
    pub(super) fn of(&self, (one, at): (&Reach, usize), (other, place): (&Reach, usize)) -> f64 {
        let (u, v) = (one.lengths[at], other.lengths[place]);
        let (du, dv) = (one.errors[at], other.errors[place]);
        du * v + u * dv + du * dv + self.curvature * u * v
    }
}

/// ρ, row by row.
fn relative(weights: f64, factors: &Factors) -> Result<Vec<f64>> {
    let columns = factors.inputs.dims()[1];
    let classes = factors.residuals.dims()[1] + 1;
    let unit = f64::EPSILON / 2.0;
    let sum = gamma(columns + 8, unit);
    let squares = factors.inputs.sqr()?.sum(1)?.to_vec1::<f64>()?;
    let rho = |square: f64| {
        let logit = 1.01 * sum * weights * square.sqrt();
        // Two logits of each difference, and the rounding of the difference itself; then what softmax and class axes round.
        let later = gamma(2 * classes + 16, unit) * (classes as f64).sqrt();
        (2.5 * logit).min(1.0).exp_m1() + later
    };
    Ok(squares.into_iter().map(rho).collect())
}
