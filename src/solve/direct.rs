//! Cholesky: the matrix is written out and factorised once, then every block of right-hand sides is two triangular
//! solves.
//!
//! p³/3 operations for the factor and 2p² for each right-hand side, at the speed of matrix products (faer's blocked
//! kernels on rayon). The factor is made in f32 where that is what the operator computes in, and for large f64 operators
//! too (mixed precision: half the time and memory); iterative refinement x ← x + A⁻¹(b − A x) with the operator's own
//! products then wins back the digits of each row, as long as a round halves its residual (Higham 2002, section 12.2). Where f32
//! finds no factor, or A is not vouched for as positive definite, the factor is f64 and its pivots are looked at.
//!
//! Where the operator is RᵀR/n + σI with few rows in R ([`RootForm`]), as a Gauss–Newton matrix through blocks is, the matrix is that
//! between the rows instead ([`super::woodbury`]), and the number of parameters does not count.
//!
//! Above [`LARGEST`] parameters, on a device above what its free memory takes, the method refuses and `cg` is the way.

use super::cholesky::Factor;
use super::outcome::acceptable;
use super::woodbury::Woodbury;
use super::{
    Inverse, Outcome, Report, Solution, Solver, check_size, clear_rows, rows_not_finite,
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

/// Solves by a Cholesky factorisation of the matrix written out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl Solver for Direct {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        ToTolerance(None).prepare(operator)
    }
}

/// The same, refined towards a residual and judged by it, where one is given.
pub(super) struct ToTolerance(pub(super) Option<f64>);

impl Solver for ToTolerance {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        let tolerance = self.0;
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
            factor: Exact::Written(Factor::of(operator)?),
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
        let (mut error, mut residuals) =
            true_residual(self.operator, &value, right_hand_sides, &norms)?;
        let mut products = norms.len();
        // Rows that are worth another round: each is decided on by itself, in whatever block it comes.
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
            let (next, after) = true_residual(self.operator, &better, &wanted, &norms)?;
            products += open.len();
            let improved: Vec<(usize, usize)> = (open.iter().copied().zip(0..))
                .filter(|&(row, place)| after[place] < 0.5 * residuals[row])
                .collect();
            value = replaced(value, better, &improved)?;
            for &(row, place) in &improved {
                residuals[row] = after[place];
            }
            error = next;
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
mod tests {
    use super::super::tests::{diagonal, values, vectors};
    use super::*;
    use crate::operator::Structure;

    /// With the factor of another matrix, whose inverse is nine tenths off along one axis and a hundredth along another.
    #[test]
    fn a_row_is_refined_whatever_becomes_of_the_others() {
        let operator = diagonal(&[1.0, 1.0, 1.0], Structure::PositiveDefinite);
        let other = diagonal(&[10.0, 1.01, 1.0], Structure::PositiveDefinite);
        let prepared = Prepared {
            operator: &operator,
            factor: Exact::Written(Factor::of(&other).unwrap()),
            tolerance: None,
        };
        let rows: [&[f64]; 3] = [&[2.0, 0.0, 0.0], &[0.0, 3.0, 0.0], &[0.0, 0.0, 4.0]];
        let together = prepared.solve(&vectors(&rows, DType::F64)).unwrap();
        let outcomes = together.reports.iter().map(|report| report.outcome);
        let expected = [Outcome::Stalled, Outcome::Direct, Outcome::Direct];
        assert_eq!(outcomes.collect::<Vec<_>>(), expected);
        // Both that are off once, and the one that a round helps, to a hundredth, four times more.
        assert_eq!(together.products, 3 + 2 + 4);
        // Left as the factor gave it.
        assert!((together.reports[0].residual - 0.9).abs() < 1e-12);
        for (row, found) in rows.into_iter().zip(values(&together.value)) {
            let alone = prepared.solve(&vectors(&[row], DType::F64)).unwrap();
            let alone = values(&alone.value).concat();
            let near = |(found, alone): (&f64, &f64)| (found - alone).abs() < 1e-10;
            assert!(found.iter().zip(&alone).all(near), "{found:?} {alone:?}");
        }
    }

    /// With the inverse of another matrix, after which the residual is 1.5 times what there was.
    #[test]
    fn a_solution_that_is_worse_than_none_diverged() {
        let operator = diagonal(&[1.0, 1.0], Structure::PositiveDefinite);
        let other = diagonal(&[0.4, 1.0], Structure::PositiveDefinite);
        let prepared = Prepared {
            operator: &operator,
            factor: Exact::Written(Factor::of(&other).unwrap()),
            tolerance: None,
        };
        // Of the last one the right-hand side is rounded already.
        let block = vectors(&[&[2.0, 0.0], &[0.0, 3.0], &[1e-36, 0.0]], DType::F32);
        let solution = prepared.solve(&block).unwrap();
        let outcomes = solution.reports.iter().map(|report| report.outcome);
        let expected = [Outcome::Diverged, Outcome::Direct, Outcome::Stalled];
        assert_eq!(outcomes.collect::<Vec<_>>(), expected);
        assert_eq!(values(&solution.value)[0], [0.0, 0.0]);
    }

    /// With the inverse of another matrix: every round leaves a hundredth of the first row's residual, and no round helps the second.
    #[test]
    fn a_tolerance_is_refined_to_and_judged_by() {
        let operator = diagonal(&[1.0, 1.0], Structure::PositiveDefinite);
        let other = diagonal(&[1.01, 10.0], Structure::PositiveDefinite);
        let block = vectors(&[&[2.0, 0.0], &[0.0, 2.0]], DType::F32);
        let solved = |tolerance: Option<f64>| {
            let prepared = Prepared {
                operator: &operator,
                factor: Exact::Written(Factor::of(&other).unwrap()),
                tolerance,
            };
            let reports = prepared.solve(&block).unwrap().reports;
            assert_eq!(reports[0].outcome, Outcome::Direct);
            (reports[0].residual, reports[1].outcome)
        };
        let (usual, second) = solved(None);
        assert!(usual > 5e-5 && second == Outcome::Stalled, "{usual:e}");
        let (finer, second) = solved(Some(1e-5));
        assert!(finer < 1e-5 && second == Outcome::Stalled, "{finer:e}");
        assert_eq!(solved(Some(0.95)), (usual, Outcome::Direct));
    }
}
