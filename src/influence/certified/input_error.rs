//! How far scores are off because what goes into them is: what is solved and multiplied exactly is that of slightly other gradients.
//!
//! **Logits.** One is a sum of d + 1 products, off by at most γ ‖W_c‖ ‖a‖ (Cauchy–Schwarz; Higham 2002, chapter 3). Probabilities then
//! have a relative error of at most ρ = exp(2 γ ‖W‖ ‖a‖) − 1 and what the softmax itself rounds, and so have a residual r, whose entry
//! at the label is minus the sum of the others, and the curvature, A' ≼ (1 + ρ) A and the reverse.
//!
//! **Coordinates** ([`CoordinateError`]). ã is off by f, |f_j| ≤ u |ã_j| + t ‖a‖, in weak axes too, where A⁻¹ is largest. The rows
//! S^½ ⊗ ã/√n that the curvature is made of, ‖S‖ ≤ ½, then change v by at most φ ‖v‖_A, φ = √½ rms(‖f‖_{A⁻¹}), so that the curvature
//! has a relative error of 2φ + φ². Axes that are not quite orthonormal change the damping by as much.
//!
//! Hence with u = ‖g‖_{A⁻¹}, δ = ρ ‖r‖ ‖a‖_{A⁻¹} + ‖r‖ ‖f‖_{A⁻¹}, and ψ all relative errors of the curvature,
//!
//! |s' − s| ≤ (δ_q u_t + u_q δ_t + δ_q δ_t + ψ (u_q + δ_q)(u_t + δ_t))/n.
//!
//! Large logits that cancel (an equal large bias in every class, features far from their origin) make this the largest term. Residuals
//! so small that their squares leave f64 count as [`SMALLEST`] long: no more is known of them.

use super::scaling::gamma;
use crate::Result;
use crate::derivative::head::CoordinateError;
use crate::influence::Examples;
use crate::influence::examples::Factors;
use crate::operator::Vectors;
use crate::solve::Refinement;
use candle_core::Tensor;

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
    coordinates: CoordinateError,
    /// ψ/(1 − ψ)
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
    /// Of the longest ‖W_c‖ and the coordinates; `blocks` are ranges of all `training` images.
    pub(super) fn new(
        (weights, coordinates): (f64, CoordinateError),
        refinement: &Refinement,
        training: &Examples,
        blocks: impl Iterator<Item = std::ops::Range<usize>>,
    ) -> Result<Self> {
        let mut inputs = Self {
            weights,
            coordinates,
            curvature: 0.0,
        };
        let (mut most, mut squares) = (0.0f64, 0.0);
        for block in blocks {
            let factors = training.factors(block)?;
            let errors = relative(weights, &factors)?;
            most = errors.into_iter().fold(most, f64::max);
            let (_, off) = inputs.input_lengths(refinement, factors.inputs)?;
            squares += off.iter().map(|off| off * off).sum::<f64>();
        }
        let rows = (0.5 * squares / training.count().max(1) as f64).sqrt();
        let relative = [most, 2.0 * rows + rows * rows, coordinates.axes];
        inputs.curvature = match relative.iter().all(|error| *error < UNKNOWN) {
            true => relative.iter().fold(1.0, |all, error| all / (1.0 - error)) - 1.0,
            false => f64::MAX.sqrt(),
        };
        // What rounding leaves of a product near 1.
        inputs.curvature += 8.0 * f64::EPSILON;
        Ok(inputs)
    }

    /// ‖a‖_{A⁻¹} of inputs `[k, d + 1]` with any unit vector of outputs, and ‖f‖_{A⁻¹} of what they may be off by.
    fn input_lengths(
        &self,
        refinement: &Refinement,
        inputs: Tensor,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let squares = inputs.sqr()?.sum(1)?.to_vec1::<f64>()?;
        let lengths = refinement.inverse_lengths(&Vectors::new(inputs)?)?;
        // 1.01: from the length of ã to that of a.
        let element = 1.01 * self.coordinates.element * refinement.inverse_length_of_ones();
        let off = lengths
            .iter()
            .zip(squares)
            .map(|(length, square)| f64::EPSILON / 2.0 * length + element * square.sqrt());
        let off = off.collect();
        Ok((lengths, off))
    }

    /// Of gradients r ⊗ a: their lengths in a band of feature axes are ‖r‖ ‖a_band‖.
    pub(super) fn reach(&self, refinement: &Refinement, factors: Factors) -> Result<Reach> {
        let rho = relative(self.weights, &factors)?;
        let residuals = factors.residuals.sqr()?.sum(1)?.to_vec1::<f64>()?;
        let (inputs, inputs_off) = self.input_lengths(refinement, factors.inputs)?;
        let mut reach = Reach::default();
        let rows = residuals.into_iter().zip(inputs).zip(inputs_off).zip(rho);
        for (((square, input), input_off), rho) in rows {
            let (residual, slack) = (square.sqrt() + SMALLEST, 1.0 + 1e-12);
            let off = match rho < UNKNOWN {
                true => rho / (1.0 - rho) * residual,
                false => LARGEST,
            };
            reach.lengths.push(residual * input * slack);
            let off = (off + SMALLEST) * (input + input_off) + residual * input_off;
            reach.errors.push(off * slack);
        }
        Ok(reach)
    }

    /// n times what it may do to a score.
    pub(super) fn of(&self, (one, at): (&Reach, usize), (other, place): (&Reach, usize)) -> f64 {
        let (u, v) = (one.lengths[at], other.lengths[place]);
        let (du, dv) = (one.errors[at], other.errors[place]);
        du * v + u * dv + du * dv + self.curvature * (u + du) * (v + dv)
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
