//! Solves with a proven error: mixed-precision refinement in f64, and a bound on ‖x − A⁻¹b‖ in the norm of A.
//!
//! x ← x + P(b − A x) with P any prepared solver, in f32 if that is faster, and the residual in f64. With A ⪰ μI,
//! ‖x − A⁻¹b‖_A = ‖r‖_{A⁻¹} ≤ ‖r‖/√μ for the exact residual r = b − A x, and ‖r‖ ≤ ‖r̂‖ + ρ‖x‖ + u‖b‖ for the computed r̂, ρ the
//! operator's own rounding bound ([`LinearOperator::rounding`]; Higham 2002, chapter 3). μ is what is known without any
//! computation: the L2 term plus the damping.
//!
//! What is proven is the linear algebra, for A and b as they stand in f64; not that influence predicts retraining.

use super::{Inverse, Outcome, Report};
use crate::operator::{LinearOperator, Vectors};
use crate::{Error, Result};
use candle_core::DType;

/// The unit roundoff of f64.
const UNIT: f64 = f64::EPSILON / 2.0;
/// Residuals below this share of ‖b‖ are converged whatever the inner solver says: f64 has little more to give.
const FLOOR: f64 = 1e-14;

/// Solves for an f64 operator whose eigenvalues are at least μ.
pub struct Refinement<'a> {
    operator: &'a dyn LinearOperator,
    inverse: &'a dyn Inverse,
    /// The precision the inverse works in.
    dtype: DType,
    /// μ
    smallest: f64,
    rounding: f64,
}

/// A block of solutions with their error bounds.
pub struct Bounded {
    /// x, f64 `[k, p]`.
    pub value: Vectors,
    /// r̂ as the next right-hand side, in the precision of the inverse, `[k, p]`.
    residual: Vectors,
    /// ‖r̂‖, which the rows of `residual` are divided by.
    scales: Vec<f64>,
    /// ‖b‖
    norms: Vec<f64>,
    /// ‖x‖
    pub lengths: Vec<f64>,
    /// An upper bound of ‖x − A⁻¹b‖_A, row by row.
    pub errors: Vec<f64>,
    /// How each solve stands.
    pub reports: Vec<Report>,
}

impl<'a> Refinement<'a> {
    /// For an `operator` in f64 with `smallest` ≤ its least eigenvalue, and an `inverse` of the same matrix in `dtype`.
    ///
    /// # Errors
    /// No positive lower bound is known, or the operator computes in f32.
    pub fn new(
        operator: &'a dyn LinearOperator,
        inverse: &'a dyn Inverse,
        dtype: DType,
        smallest: f64,
    ) -> Result<Self> {
        if smallest.is_nan() || smallest <= 0.0 {
            return Err(Error::config(
                "certify",
                "needs --damping or --l2 above 0: without them nothing bounds the inverse",
            ));
        }
        if operator.dtype() != DType::F64 {
            return Err(Error::mismatch(
                "certified operator",
                "f64",
                format!("{:?}", operator.dtype()),
                "this is a bug",
            ));
        }
        Ok(Self {
            operator,
            inverse,
            dtype,
            smallest,
            rounding: operator.rounding()?,
        })
    }

    /// One solve and its bound.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn solve(&self, right_hand_sides: &Vectors) -> Result<Bounded> {
        let norms = right_hand_sides.norms()?;
        let mut bounded = Bounded {
            value: right_hand_sides.zeros_like()?,
            residual: self.scaled(right_hand_sides, &norms)?,
            scales: norms.clone(),
            norms,
            lengths: Vec::new(),
            errors: Vec::new(),
            reports: Vec::new(),
        };
        self.improve(right_hand_sides, &mut bounded)?;
        Ok(bounded)
    }

    /// One round of refinement; whether any bound fell to half or less.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn improve(&self, right_hand_sides: &Vectors, bounded: &mut Bounded) -> Result<bool> {
        let solution = self.inverse.solve(&bounded.residual)?;
        let step = solution.value.to_dtype(DType::F64)?;
        let value = bounded.value.add_scaled(&bounded.scales, &step)?;
        let minus = vec![-1.0; bounded.scales.len()];
        let product = self.operator.apply(&value)?;
        let residual = right_hand_sides.add_scaled(&minus, &product)?;
        let (lengths, rest) = (value.norms()?, residual.norms()?);
        let errors: Vec<f64> = (rest.iter().zip(&lengths).zip(&bounded.norms))
            .map(|((rest, length), norm)| self.error(*rest, *length, *norm))
            .collect();
        let before = std::mem::take(&mut bounded.errors);
        let improved = before.is_empty()
            || (errors.iter().zip(&before)).any(|(after, before)| *after <= 0.5 * before);
        let earlier = std::mem::take(&mut bounded.reports);
        bounded.reports = (solution.reports.iter().enumerate())
            .map(|(row, report)| {
                let relative = if bounded.norms[row] > 0.0 {
                    rest[row] / bounded.norms[row]
                } else {
                    0.0
                };
                let iterations =
                    report.iterations + earlier.get(row).map_or(0, |report| report.iterations);
                outcome(report, relative, iterations)
            })
            .collect();
        bounded.residual = self.scaled(&residual, &rest)?;
        (bounded.value, bounded.scales) = (value, rest);
        (bounded.lengths, bounded.errors) = (lengths, errors);
        Ok(improved)
    }

    /// Rows of length 1 (or 0) in the precision of the inverse: f32 has few exponents.
    fn scaled(&self, vectors: &Vectors, norms: &[f64]) -> Result<Vectors> {
        let unit = |norm: &f64| if *norm > 0.0 { norm.recip() } else { 0.0 };
        vectors
            .scaled(&norms.iter().map(unit).collect::<Vec<_>>())?
            .to_dtype(self.dtype)
    }

    /// Whether rounding is most of every bound, so that another round can win nothing.
    pub fn is_at_floor(&self, bounded: &Bounded) -> bool {
        let rows = bounded.scales.iter().zip(&bounded.lengths);
        rows.zip(&bounded.norms)
            .all(|((residual, length), norm)| *residual <= self.rounding * length + UNIT * norm)
    }

    fn error(&self, residual: f64, length: f64, norm: f64) -> f64 {
        // The norms themselves are rounded: a part in 1e12 covers them.
        let exact = residual + self.rounding * length + UNIT * norm;
        exact * (1.0 + 1e-12) / self.smallest.sqrt()
    }
}

/// The inner solver's verdict was on its own right-hand side; what counts is the residual that is left.
fn outcome(inner: &Report, residual: f64, iterations: usize) -> Report {
    let outcome = match inner.outcome {
        Outcome::LimitReached if residual <= FLOOR => Outcome::Converged,
        other => other,
    };
    Report {
        outcome,
        residual,
        iterations,
    }
}
