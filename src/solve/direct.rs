//! Cholesky: the matrix is written out and factorised once, then every block of right-hand sides is two triangular
//! solves.
//!
//! p³/3 operations for the factor and 2p² for each right-hand side, at the speed of matrix products (faer's blocked
//! kernels on rayon). The factor is made in f32 where that is what the operator computes in, and for large f64 operators
//! too (mixed precision: half the time and memory); iterative refinement x ← x + A⁻¹(b − A x) with the operator's own
//! products then wins back the digits of each row, as long as a round halves its residual (Higham 2002, section 12.2). Where f32
//! finds no factor, or A is not vouched for as positive definite, the factor is f64 and its pivots are looked at.
//!
//! Where the operator is a mean over many images beside its size, A x takes fewer operations with the matrix than through these, and
//! residuals of a large block are by the matrix, which keeps its place beside the factor. It is rounded, as its sums are, by an E of
//! which the operator's products show E x for some rows of each block: twice the largest that they say of a row, by ‖x‖ and by ‖b‖, is
//! added to its residual. An estimate, no bound; where it is not small the operator has all rows.
//!
//! Where the operator is RᵀR/n + σI with few rows in R ([`RootForm`]), as a Gauss–Newton matrix through blocks is, the matrix is that
//! between the rows instead ([`super::woodbury`]), and the number of parameters does not count.
//!
//! Above [`LARGEST`] parameters, on a device above what its free memory takes, the method refuses and `cg` is the way.

use super::cholesky::Factor;
use super::outcome::acceptable;
use super::woodbury::Woodbury;
use super::{
    Inverse, Outcome, Report, Solution, Solver, check_size, clear_rows, relative, rows_not_finite,
    true_residual,
};
use crate::artefact::GIB;
use crate::device::free_memory;
use crate::operator::{LinearOperator, MOST_ROWS, RootForm, Vectors};
use crate::{Error, Result};
use candle_core::DType;

/// The largest number of parameters that is written out: 4 GiB in f32.
pub const LARGEST: usize = 32_768;
/// The share of a device's free memory that a factor may take.
const FREE_SHARE: f64 = 0.6;
/// Rounds of refinement, each of which has to halve the residual.
const REFINEMENTS: usize = 12;
/// Rows from which on residuals may be by the matrix.
const MANY: usize = 4 * CHECKED;
/// Of a block whose residuals are by the matrix, the rows that have them by the operator too.
const CHECKED: usize = 8;
/// The share of a good residual that the matrix's rounding may come to.
const SMALL_SHARE: f64 = 0.25;

/// Solves by a Cholesky factorisation of the matrix written out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl Solver for Direct {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        let settings = DirectSettings {
            tolerance: None,
            many: false,
        };
        settings.prepare(operator)
    }
}

/// The same with settings.
pub(super) struct DirectSettings {
    /// Refined towards this residual and judged by it, where one is given.
    pub(super) tolerance: Option<f64>,
    /// Whether there are many right-hand sides, for whose residuals the matrix is worth keeping.
    pub(super) many: bool,
}

impl Solver for DirectSettings {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        let tolerance = self.tolerance;
        let size = operator.size();
        let few = |root: &RootForm| root.count() < size && root.shift() > 0.0;
        if let Some(root) = operator.root()?.filter(few) {
            return Ok(Box::new(Prepared {
                operator,
                factor: Exact::ByRows(Woodbury::of(root)?),
                tolerance,
            }));
        }
        let free = free_memory(&operator.device())?;
        if let Some(reason) = too_large(size, free.map(|free| free as f64)) {
            let reason = format!(
                "direct writes out {size} × {size} numbers: {reason}; choose cg, or through blocks the Gauss–Newton matrix of fewer images (images × (classes − 1) up to {MOST_ROWS}) with damping"
            );
            return Err(Error::config("solver", reason));
        }
        Ok(Box::new(Prepared {
            operator,
            factor: Exact::Written(Factor::of(operator, self.many)?),
            tolerance,
        }))
    }
}

/// The inverse but for rounding.
enum Exact<'a> {
    /// By the matrix written out.
    Written(Factor),
    /// By the matrix between the rows of its root.
    ByRows(Woodbury<'a>),
}

impl Exact<'_> {
    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        match self {
            Self::Written(factor) => factor.apply(vectors),
            Self::ByRows(rows) => rows.apply(vectors),
        }
    }

    /// b − A x by the matrix; none where it is not kept.
    fn residuals(&self, values: &Vectors, right_hand_sides: &Vectors) -> Result<Option<Vectors>> {
        match self {
            Self::Written(factor) => factor.residuals(values, right_hand_sides),
            Self::ByRows(_) => Ok(None),
        }
    }
}

/// Why a factor of so many parameters is not for the host, or for a device with so many `free` bytes; `None` where it is.
pub fn too_large(size: usize, free: Option<f64>) -> Option<String> {
    // Half of the matrix and half a factor in f32, or one of them in f64, one column of blocks at a time.
    let needed = 4.0 * (size as f64).powi(2);
    match free {
        None if size > LARGEST => Some(format!("more than {LARGEST} × {LARGEST}")),
        Some(free) if needed > FREE_SHARE * free => Some(format!(
            "{:.1} GiB, too much for the {:.1} GiB that are free on the device",
            needed / GIB,
            free / GIB
        )),
        _ => None,
    }
}

struct Prepared<'a> {
    operator: &'a dyn LinearOperator,
    factor: Exact<'a>,
    /// ‖b − A x‖ / ‖b‖ that was asked for.
    tolerance: Option<f64>,
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        check_size(self.operator, right_hand_sides)?;
        let dtype = right_hand_sides.tensor().dtype();
        let good = good(dtype, self.operator.device().is_cpu());
        let good = self.tolerance.map_or(good, |wanted| wanted.min(good));
        let enough = self.tolerance.unwrap_or(acceptable(dtype));
        let norms = right_hand_sides.norms()?;
        let value = self.factor.apply(right_hand_sides)?;
        let unsolved = rows_not_finite(&value)?;
        let mut value = clear_rows(value, &unsolved)?;
        let Residuals {
            mut error,
            relative: mut residuals,
            mut products,
        } = self.residuals(&value, right_hand_sides, (&norms, good))?;
        // Rows that are worth another round: each is decided on by itself.
        let worth = |row: &usize| residuals[*row] > good && !unsolved[*row];
        let mut open: Vec<usize> = (0..norms.len()).filter(worth).collect();
        // Where these are among the rows of `error`.
        let mut places = open.clone();
        for _ in 0..REFINEMENTS {
            if open.is_empty() {
                break;
            }
            let correction = self.factor.apply(&rows_at(error, &places)?)?;
            let better = rows_at(value.clone(), &open)?;
            let better = better.add_scaled(&vec![1.0; open.len()], &correction)?;
            drop(correction);
            let wanted = rows_at(right_hand_sides.clone(), &open)?;
            let norms: Vec<f64> = open.iter().map(|&row| norms[row]).collect();
            let next = self.residuals(&better, &wanted, (&norms, good))?;
            products += next.products;
            let after = next.relative;
            let improved: Vec<(usize, usize)> = (open.iter().copied().zip(0..))
                .filter(|&(row, place)| after[place] < 0.5 * residuals[row])
                .collect();
            value = replaced(value, better, &improved)?;
            for &(row, place) in &improved {
                residuals[row] = after[place];
            }
            error = next.error;
            (open, places) = (improved.into_iter())
                .filter(|&(row, _)| residuals[row] > good)
                .unzip();
        }
        let faint = faint_below(dtype);
        let broken = |row: usize| {
            let (residual, norm) = (residuals[row], norms[row]);
            // Zero is a better solution than one that leaves more than there was.
            unsolved[row] || !residual.is_finite() || (residual >= 1.0 && norm >= faint)
        };
        let broken: Vec<bool> = (0..norms.len()).map(broken).collect();
        let report = |(&residual, &broken): (&f64, &bool)| match broken {
            true => Report::DIVERGED,
            false => Report {
                outcome: outcome(residual, enough),
                residual,
                iterations: 0,
            },
        };
        Ok(Solution {
            reports: residuals.iter().zip(&broken).map(report).collect(),
            value: clear_rows(value, &broken)?,
            products,
        })
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        match &self.factor {
            Exact::Written(_) => Vec::new(),
            Exact::ByRows(rows) => vec![("curvature_rows", rows.rows() as f64)],
        }
    }

    fn step(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        check_size(self.operator, right_hand_sides)?;
        let value = self.factor.apply(right_hand_sides)?;
        let broken = rows_not_finite(&value)?;
        let report = |&broken: &bool| match broken {
            true => Report::DIVERGED,
            false => Report {
                outcome: Outcome::Direct,
                residual: f64::NAN,
                iterations: 0,
            },
        };
        Ok(Solution {
            reports: broken.iter().map(report).collect(),
            value: clear_rows(value, &broken)?,
            products: 0,
        })
    }
}

/// b − A x of a block.
struct Residuals {
    error: Vectors,
    /// ‖b − A x‖ / ‖b‖, with what the matrix's rounding may add.
    relative: Vec<f64>,
    /// Products with the operator.
    products: usize,
}

impl Prepared<'_> {
    /// By the matrix where it is kept and near enough the operator: within a share of what is `good`.
    fn residuals(
        &self,
        values: &Vectors,
        right_hand_sides: &Vectors,
        (norms, good): (&[f64], f64),
    ) -> Result<Residuals> {
        let sample = match norms.len() {
            MANY.. => checked_rows(norms, faint_below(values.tensor().dtype())),
            _ => Vec::new(),
        };
        let doubts = self.doubts((values, right_hand_sides), (norms, &sample))?;
        if let Some(doubts) = &doubts
            && doubts.iter().all(|&doubt| doubt <= SMALL_SHARE * good)
            && let Some(error) = self.factor.residuals(values, right_hand_sides)?
        {
            let of_rows = error.norms()?.into_iter().zip(norms).zip(doubts);
            return Ok(Residuals {
                relative: of_rows.map(|(of, doubt)| relative(of) + doubt).collect(),
                error,
                products: sample.len(),
            });
        }
        let (error, relative) = true_residual(self.operator, values, right_hand_sides, norms)?;
        let checked = doubts.map_or(0, |_| sample.len());
        Ok(Residuals {
            error,
            relative,
            products: checked + norms.len(),
        })
    }

    /// What the matrix's rounding may add to each residual, from what it does to those of the rows `sample`; none without matrix or
    /// rows.
    fn doubts(
        &self,
        (values, right_hand_sides): (&Vectors, &Vectors),
        (norms, sample): (&[f64], &[usize]),
    ) -> Result<Option<Vec<f64>>> {
        if sample.is_empty() {
            return Ok(None);
        }
        let (x, b) = (values.select(sample)?, right_hand_sides.select(sample)?);
        let Some(by_matrix) = self.factor.residuals(&x, &b)? else {
            return Ok(None);
        };
        let by_operator = self.operator.residuals(&x, &b)?;
        let apart = by_operator.add_scaled(&vec![-1.0; sample.len()], &by_matrix)?;
        let (apart, lengths) = (apart.norms()?, values.norms()?);
        let twice_largest = |of: &[f64]| {
            let of_rows = apart.iter().zip(sample);
            let of_rows = of_rows.map(|(&off, &row)| relative((off, &of[row])));
            // What is not a number is no small distance.
            let of_rows = of_rows.map(|off| if off.is_nan() { f64::INFINITY } else { off });
            2.0 * of_rows.fold(0.0, f64::max)
        };
        let (by_value, by_norm) = (twice_largest(&lengths), twice_largest(norms));
        let doubt = |of| by_norm.max(by_value * relative(of));
        Ok(Some(lengths.into_iter().zip(norms).map(doubt).collect()))
    }
}

/// Rows spread over a block, but at no even distance: rows may come in turns of a few kinds. None of length below `faint`.
fn checked_rows(norms: &[f64], faint: f64) -> Vec<usize> {
    let rows = (0..CHECKED).map(|place| place * norms.len() / CHECKED + place);
    let rows = rows.map(|row| row.min(norms.len() - 1));
    rows.filter(|&row| norms[row] >= faint).collect()
}

/// The rows at `places`, which ascend.
fn rows_at(vectors: Vectors, places: &[usize]) -> Result<Vectors> {
    match places.len() == vectors.count() {
        true => Ok(vectors),
        false => vectors.select(places),
    }
}

/// `old`, but for each row and place of `taken` the row of `new` at that place.
fn replaced(old: Vectors, new: Vectors, taken: &[(usize, usize)]) -> Result<Vectors> {
    let count = old.count();
    if taken.is_empty() {
        return Ok(old);
    }
    if taken.len() == count {
        return Ok(new);
    }
    let mut from: Vec<usize> = (0..count).collect();
    (taken.iter()).for_each(|&(row, place)| from[row] = count + place);
    Vectors::concatenate(&[old, new])?.select(&from)
}

/// Residuals above this are worth a round of refinement, of which a device does more in the same time.
fn good(dtype: DType, on_host: bool) -> f64 {
    match dtype {
        DType::F32 if on_host => 1e-4,
        DType::F32 => 1e-5,
        _ => 1e-12,
    }
}

/// Vectors shorter than this are rounded themselves, as the smallest numbers of a precision are.
fn faint_below(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(f32::MIN_POSITIVE / f32::EPSILON),
        _ => f64::MIN_POSITIVE / f64::EPSILON,
    }
}

fn outcome(residual: f64, enough: f64) -> Outcome {
    match residual <= enough {
        true => Outcome::Direct,
        false => Outcome::Stalled,
    }
}

#[cfg(test)]
mod tests;
