//! Solves with a proven error: mixed-precision refinement in f64, and a bound on ‖x − A⁻¹b‖ in the norm of A.
//!
//! x ← x + P(b − A x) with P any prepared solver, in f32 if that is faster, and the residual in f64. For the exact residual
//! r = b − A x, ‖x − A⁻¹b‖_A = ‖r‖_{A⁻¹}. With A ⪰ μI (μ is the L2 term plus the damping) that is at most ‖r‖/√μ; but features
//! have a mean and other strong axes, along which A is much larger. With r cut into bands of axes,
//! ‖r‖_{A⁻¹} ≤ Σ κ_band ‖r_band‖, where κ² ≥ ‖EᵀA⁻¹E‖ for the unit vectors E of a strong band comes from proven solves for
//! these, and κ = 1/√μ for the weakest band. What rounding does to the computed residual is bounded by the same bands
//! ([`Rounding`]; Higham 2002, chapter 3).
//!
//! What is proven is the linear algebra, for A and b as they stand in f64; not that influence predicts retraining.

#[cfg(test)]
mod tests;

use super::outcome::acceptable;
use super::{Inverse, Method, Outcome, Report, Settings};
use crate::operator::{LinearOperator, Rounding, Vectors, bands};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use faer::{Mat, Side};
use std::ops::Range;

/// The unit roundoff of f64.
const UNIT: f64 = f64::EPSILON / 2.0;
/// Elements of unit vectors that are solved for at once: 32 MiB.
const UNIT_ELEMENTS: usize = 1 << 22;
/// Residuals below this share of ‖b‖ are converged whatever the tolerance: f64 has little more to give.
const FLOOR: f64 = 1e-14;

/// Solves for an f64 operator whose eigenvalues are at least μ.
pub struct Refinement<'a> {
    operator: &'a dyn LinearOperator,
    inverse: &'a dyn Inverse,
    /// The precision the inverse works in.
    dtype: DType,
    wanted: Wanted,
    /// μ
    smallest: f64,
    rounding: Rounding,
    /// κ of each band, at most 1/√μ.
    factors: Vec<f64>,
}

/// What the residual in f64 has to come to, relative to ‖b‖.
#[derive(Clone, Copy)]
struct Wanted {
    tolerance: f64,
    /// What is small enough besides, where no tolerance was asked for.
    acceptable: f64,
}

impl Wanted {
    /// As of a run that certifies nothing: the tolerance of a method that iterates, and what is rounding and no more, in the precision
    /// of the inverse, where none was asked for.
    fn of(settings: &Settings, dtype: DType) -> Self {
        let rounding = acceptable(dtype);
        let tolerance = match (settings.method, settings.tolerance) {
            (Method::Direct | Method::Auto, None) => rounding,
            _ => settings.effective_tolerance(dtype).max(FLOOR),
        };
        Self {
            tolerance,
            acceptable: match settings.tolerance {
                Some(_) => tolerance,
                None => tolerance.max(rounding),
            },
        }
    }

    /// The inner solver's verdict was on its own right-hand side; what counts is the residual that is left.
    fn report(self, inner: &Report, residual: f64, iterations: usize) -> Report {
        let outcome = match inner.outcome {
            _ if !residual.is_finite() => Outcome::Diverged,
            Outcome::Direct if residual <= self.tolerance => Outcome::Direct,
            _ if residual <= self.tolerance => Outcome::Converged,
            _ if residual <= self.acceptable => Outcome::AtRounding,
            inner if inner.is_success() => Outcome::Stalled,
            failure => failure,
        };
        Report {
            outcome,
            residual,
            iterations,
        }
    }
}

/// A block of solutions with their error bounds.
pub struct Bounded {
    /// x, f64 `[k, p]`.
    pub value: Vectors,
    /// r̂ as the next right-hand side, in the precision of the inverse, `[k, p]`; none once settled.
    residual: Option<Vectors>,
    /// ‖r̂‖, which the rows of `residual` are divided by.
    scales: Vec<f64>,
    /// ‖b‖
    norms: Vec<f64>,
    /// An upper bound of ‖x − A⁻¹b‖_A, row by row.
    pub errors: Vec<f64>,
    /// How each solve stands.
    pub reports: Vec<Report>,
    /// Whether rounding is most of every bound, so that another round can win nothing.
    pub at_floor: bool,
}

/// Solutions as they stand.
struct Measured {
    /// b − A x
    residual: Vectors,
    /// ‖b − A x‖
    rest: Vec<f64>,
    /// Bounds of ‖x − A⁻¹b‖_A.
    errors: Vec<f64>,
    /// Whether rounding is at least half of each.
    at_floor: bool,
}

impl Bounded {
    /// Whether rounding in the precision of the inverse is what keeps some row's residual too large: another round may help.
    pub fn is_stalled(&self) -> bool {
        let stalled = |report: &Report| report.outcome == Outcome::Stalled;
        self.reports.iter().any(stalled)
    }

    /// Gives up further rounds, and the memory they would need.
    pub fn settle(&mut self) {
        self.residual = None;
    }
}

impl<'a> Refinement<'a> {
    /// For an `operator` in f64 with `smallest` ≤ its least eigenvalue, and an `inverse` of the same matrix in `dtype`, as `settings`
    /// prepare it.
    ///
    /// # Errors
    /// No positive lower bound is known, or the operator computes in f32.
    pub fn new(
        operator: &'a dyn LinearOperator,
        inverse: &'a dyn Inverse,
        (settings, dtype): (&Settings, DType),
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
        let rounding = operator.rounding()?;
        let bands = bands(rounding.weights.len());
        let mut refinement = Self {
            operator,
            inverse,
            dtype,
            wanted: Wanted::of(settings, dtype),
            smallest,
            factors: vec![1.0 / smallest.sqrt(); bands.len()],
            rounding,
        };
        let strong = &bands[..bands.len() - 1];
        let factors = refinement.strong_factors(strong)?;
        refinement.factors[..strong.len()].copy_from_slice(&factors);
        Ok(refinement)
    }

    /// κ of the `strong` bands. With x_e solved for the unit vector e and r_e what is left of it, a column of EᵀA⁻¹E is
    /// Eᵀx_e + EᵀA⁻¹r_e, the last at most κ ‖r_e‖_{A⁻¹} long; and no eigenvalue moves by more than the Frobenius norm of a change.
    /// Hence κ² ≤ f + κ c, f the largest eigenvalue found and c² = Σ ‖r_e‖²_{A⁻¹}.
    fn strong_factors(&self, strong: &[Range<usize>]) -> Result<Vec<f64>> {
        let axes = strong.last().map_or(0, |band| band.end);
        let columns = self.rounding.weights.len();
        let outputs = 0..self.rounding.width;
        let positions =
            outputs.flat_map(|output| (0..axes).map(move |axis| output * columns + axis));
        let positions: Vec<u32> = positions.map(|position| position as u32).collect();
        let (products, errors) = self.inverse_at(&positions)?;
        let factor = |band: &Range<usize>| {
            let of_band = |row: &usize| band.contains(&(row % axes));
            let rows: Vec<usize> = (0..positions.len()).filter(of_band).collect();
            let part = |&row: &usize| rows.iter().map(|&column| products[row][column]).collect();
            let found = largest_eigenvalue(&rows.iter().map(part).collect::<Vec<_>>());
            let errors: f64 = rows.iter().map(|&row| errors[row].powi(2)).sum();
            let root = (errors + 4.0 * found.max(0.0)).sqrt();
            let bound = 0.5 * (errors.sqrt() + root) * (1.0 + 1e-10);
            let plain = 1.0 / self.smallest.sqrt();
            // A solver that does not solve bounds nothing.
            match bound.is_finite() && bound > 0.0 {
                true => bound.min(plain),
                false => plain,
            }
        };
        Ok(strong.iter().map(factor).collect())
    }

    /// The rows and columns of A⁻¹ at `positions`, and the bound of each row's solve.
    fn inverse_at(&self, positions: &[u32]) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
        let device = self.device();
        let index = Tensor::new(positions, &device)?;
        let (mut rows, mut errors) = (Vec::new(), Vec::new());
        for part in positions.chunks((UNIT_ELEMENTS / self.rounding.size()).max(1)) {
            let units = self.rounding.unit_vectors(part, &device)?;
            let bounded = self.solve(&units)?;
            let values = bounded.value.tensor().index_select(&index, 1)?;
            rows.extend(values.to_vec2::<f64>()?);
            errors.extend(bounded.errors);
        }
        Ok((rows, errors))
    }

    /// An upper bound of ‖v‖_{A⁻¹} for each row of f64 `vectors`; or, for rows of one output alone (`[k, d + 1]`), of
    /// ‖u ⊗ v‖_{A⁻¹} with any unit vector u of outputs.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn inverse_lengths(&self, vectors: &Vectors) -> Result<Vec<f64>> {
        let rows = self.rounding.lengths(vectors)?;
        Ok(rows
            .iter()
            .map(|row| self.sum(row) * (1.0 + 1e-12))
            .collect())
    }

    /// The same for any v in one output whose elements are at most 1.
    #[must_use]
    pub fn inverse_length_of_ones(&self) -> f64 {
        let bands = bands(self.rounding.weights.len());
        let lengths: Vec<f64> = bands
            .iter()
            .map(|band| (band.len() as f64).sqrt())
            .collect();
        self.sum(&lengths) * (1.0 + 1e-12)
    }

    /// Σ κ_band of a number for each band.
    fn sum(&self, bands: &[f64]) -> f64 {
        bands
            .iter()
            .zip(&self.factors)
            .map(|(length, factor)| length * factor)
            .sum()
    }

    /// The root mean square of the inputs along each feature axis, `[d + 1]`.
    pub fn axis_lengths(&self) -> &[f64] {
        &self.rounding.weights
    }

    /// Where solutions lie.
    pub fn device(&self) -> Device {
        self.operator.device()
    }

    /// The precision the inverse works in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// One solve and its bound.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn solve(&self, right_hand_sides: &Vectors) -> Result<Bounded> {
        let norms = right_hand_sides.norms()?;
        let mut bounded = Bounded {
            value: right_hand_sides.zeros_like()?,
            residual: Some(self.scaled(right_hand_sides, &norms)?),
            scales: norms.clone(),
            norms,
            errors: Vec::new(),
            reports: Vec::new(),
            at_floor: false,
        };
        self.improve(right_hand_sides, &mut bounded)?;
        Ok(bounded)
    }

    /// One round of refinement; whether any bound fell to half or less. A row whose bound the round would raise stays as it was.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn improve(&self, right_hand_sides: &Vectors, bounded: &mut Bounded) -> Result<bool> {
        let Some(residual) = bounded.residual.take() else {
            return Ok(false);
        };
        let solution = self.inverse.step(&residual)?;
        drop(residual);
        let (correction, inner) = (solution.value, solution.reports);
        let mut value = bounded.value.add_scaled(&bounded.scales, &correction)?;
        let mut found = self.measured(&value, right_hand_sides, &bounded.norms)?;
        // None before the first round.
        let before = std::mem::take(&mut bounded.errors);
        let pairs = found.errors.iter().zip(&before);
        let worse: Vec<bool> = pairs.map(|(after, before)| after > before).collect();
        if worse.contains(&true) {
            let kept = |(scale, &worse): (&f64, &bool)| if worse { 0.0 } else { *scale };
            let scales: Vec<f64> = bounded.scales.iter().zip(&worse).map(kept).collect();
            value = bounded.value.add_scaled(&scales, &correction)?;
            found = self.measured(&value, right_hand_sides, &bounded.norms)?;
        }
        drop(correction);
        let pairs = || found.errors.iter().zip(&before);
        let improved = before.is_empty() || pairs().any(|(after, before)| *after <= 0.5 * before);
        let earlier = std::mem::take(&mut bounded.reports);
        bounded.reports = (inner.iter().enumerate())
            .map(|(row, report)| {
                let relative = if bounded.norms[row] > 0.0 {
                    found.rest[row] / bounded.norms[row]
                } else {
                    0.0
                };
                let iterations =
                    report.iterations + earlier.get(row).map_or(0, |report| report.iterations);
                self.wanted.report(report, relative, iterations)
            })
            .collect();
        bounded.value = value;
        bounded.residual = Some(self.scaled(&found.residual, &found.rest)?);
        bounded.at_floor = found.at_floor;
        bounded.scales = found.rest;
        bounded.errors = found.errors;
        Ok(improved)
    }

    /// What there is to know of solutions `value`.
    fn measured(
        &self,
        value: &Vectors,
        right_hand_sides: &Vectors,
        norms: &[f64],
    ) -> Result<Measured> {
        let residual = self.operator.residuals(value, right_hand_sides)?;
        let known = self.inverse_lengths(&residual)?;
        let unknown = self.rounding_errors(value, norms)?;
        let mut pairs = known.iter().zip(&unknown);
        Ok(Measured {
            rest: residual.norms()?,
            residual,
            at_floor: pairs.all(|(known, unknown)| known <= unknown),
            errors: known.iter().zip(&unknown).map(|(a, b)| a + b).collect(),
        })
    }

    /// Rows of length 1 (or 0) in the precision of the inverse: f32 has few exponents.
    fn scaled(&self, vectors: &Vectors, norms: &[f64]) -> Result<Vectors> {
        let unit = |norm: &f64| if *norm > 0.0 { norm.recip() } else { 0.0 };
        let factors: Vec<f64> = norms.iter().map(unit).collect();
        vectors.scaled_to(&factors, self.dtype)
    }

    /// What rounding may hide of ‖b − A x‖_{A⁻¹}, row by row.
    fn rounding_errors(&self, value: &Vectors, norms: &[f64]) -> Result<Vec<f64>> {
        let lengths = value.norms()?;
        let weighted = self.rounding.weighted_lengths(value)?;
        let factor = self.sum(&self.rounding.errors);
        let all: f64 = self.factors.iter().sum();
        let rows = weighted.iter().zip(&lengths).zip(norms);
        Ok(rows
            .map(|((weighted, length), norm)| {
                let plain = self.rounding.scalar * length + 2.0 * UNIT * norm;
                (factor * weighted + all * plain) * (1.0 + 1e-12)
            })
            .collect())
    }
}

/// Of a small matrix that is symmetric but for rounding: of its symmetric part, and the rest by its norm.
fn largest_eigenvalue(rows: &[Vec<f64>]) -> f64 {
    let size = rows.len();
    let symmetric = Mat::from_fn(size, size, |i, j| 0.5 * (rows[i][j] + rows[j][i]));
    let skew: f64 = (0..size)
        .flat_map(|i| (0..size).map(move |j| 0.5 * (rows[i][j] - rows[j][i])))
        .map(|value| value * value)
        .sum();
    let values = symmetric
        .self_adjoint_eigenvalues(Side::Lower)
        .unwrap_or_default();
    values
        .last()
        .map_or(f64::NAN, |largest| largest + skew.sqrt())
}
