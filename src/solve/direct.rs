//! Cholesky: the matrix is written out and factorised once, then every block of right-hand sides is two triangular
//! solves.
//!
//! p³/3 operations for the factor and 2p² for each right-hand side, at the speed of matrix products (faer's blocked
//! kernels on rayon). The factor is made in f32 where that is what the operator computes in, and for large f64 operators
//! too (mixed precision: half the time and memory); iterative refinement x ← x + A⁻¹(b − A x) with the operator's own
//! products then wins back the digits, as long as each round halves the residual (Higham 2002, section 12.2). Where f32
//! finds no factor, or A is not vouched for as positive definite, the factor is f64 and its pivots are looked at.
//!
//! Above [`LARGEST`] parameters the method refuses and `cg` is the way.

use super::{
    Inverse, Outcome, Report, Solution, Solver, check_size, clear_rows, rows_not_finite,
    true_residual,
};
use crate::operator::{LinearOperator, Structure, SymmetricMatrix, Vectors};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Mat, MatMut, Par};

/// The largest number of parameters that is written out: 4 GiB in f32.
pub const LARGEST: usize = 32_768;
/// f64 operators with more parameters than this are factorised in f32 and refined.
const MIXED_ABOVE: usize = 4096;
/// Rounds of refinement, each of which has to halve the residual.
const REFINEMENTS: usize = 12;

/// Solves by a Cholesky factorisation of the matrix written out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl Solver for Direct {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        let size = operator.size();
        if operator.structure() == Structure::General {
            return Err(Error::config(
                "solver",
                "direct needs a symmetric curvature; choose another solver",
            ));
        }
        if size > LARGEST {
            let reason = format!(
                "direct writes out {size} × {size} numbers, more than {LARGEST} × {LARGEST}; choose cg"
            );
            return Err(Error::config("solver", reason));
        }
        let factor = Factor::of(operator)?;
        Ok(Box::new(Prepared { operator, factor }))
    }
}

/// L with A ≈ L Lᵀ, in the lower triangle.
enum Factor {
    F32(Mat<f32>),
    F64(Mat<f64>),
}

impl Factor {
    fn of(operator: &dyn LinearOperator) -> Result<Self> {
        let definite = operator.structure() == Structure::PositiveDefinite;
        let single = operator.dtype() == DType::F32 || operator.size() > MIXED_ABOVE;
        if definite
            && single
            && let SymmetricMatrix::F32(mut matrix) = operator.dense(DType::F32)?
            && factorise(matrix.as_mut())
        {
            return Ok(Self::F32(matrix));
        }
        if let SymmetricMatrix::F64(mut matrix) = operator.dense(DType::F64)?
            && factorise(matrix.as_mut())
            && has_full_rank(&matrix)
        {
            return Ok(Self::F64(matrix));
        }
        Err(Error::config(
            "damping",
            "the curvature is not positive definite, so that it has no Cholesky factor; raise it",
        ))
    }

    /// L⁻ᵀL⁻¹ on every row of `vectors` `[k, p]`, in their precision.
    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        let rows = vectors.tensor();
        let solved = match self {
            Self::F32(factor) => {
                let mut values = rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                solve(factor, &mut values);
                Tensor::from_vec(values, rows.shape(), rows.device())?
            }
            Self::F64(factor) => {
                let mut values = rows.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                solve(factor, &mut values);
                Tensor::from_vec(values, rows.shape(), rows.device())?
            }
        };
        Vectors::new(solved.to_dtype(rows.dtype())?)
    }
}

/// Replaces the lower triangle by its Cholesky factor; whether there is one.
fn factorise<T: faer::traits::RealField>(matrix: MatMut<T>) -> bool {
    let (size, parallel) = (matrix.nrows(), Par::rayon(0));
    let scratch = factor::cholesky_in_place_scratch::<T>(size, parallel, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    factor::cholesky_in_place(
        matrix,
        Default::default(),
        parallel,
        stack,
        Default::default(),
    )
    .is_ok()
}

/// Pivots at rounding level stand for zeros.
fn has_full_rank(factor: &Mat<f64>) -> bool {
    let pivots = (0..factor.nrows()).map(|i| factor[(i, i)]);
    let (smallest, largest) = pivots.fold((f64::INFINITY, 0.0f64), |(low, high), pivot| {
        (low.min(pivot), high.max(pivot))
    });
    (smallest / largest).powi(2) > factor.nrows() as f64 * f64::EPSILON
}

/// Solves L Lᵀ x = b in place for every row of `values` `[k, p]`, row-major: columns of a column-major matrix.
fn solve<T: faer::traits::RealField>(factor: &Mat<T>, values: &mut [T]) {
    let (size, parallel) = (factor.nrows(), Par::rayon(0));
    let count = values.len() / size;
    let mut columns = MatMut::from_column_major_slice_mut(values, size, count);
    solve_lower_triangular_in_place(factor.as_ref(), columns.as_mut(), parallel);
    solve_upper_triangular_in_place(factor.transpose(), columns.as_mut(), parallel);
}

struct Prepared<'a> {
    operator: &'a dyn LinearOperator,
    factor: Factor,
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        check_size(self.operator, right_hand_sides)?;
        let dtype = right_hand_sides.tensor().dtype();
        let norms = right_hand_sides.norms()?;
        let value = self.factor.apply(right_hand_sides)?;
        let broken = rows_not_finite(&value)?;
        let mut value = clear_rows(value, &broken)?;
        let (mut error, mut residuals) =
            true_residual(self.operator, &value, right_hand_sides, &norms)?;
        let mut products = norms.len();
        for _ in 0..REFINEMENTS {
            if residuals.iter().all(|residual| *residual <= good(dtype)) {
                break;
            }
            let correction = clear_rows(self.factor.apply(&error)?, &broken)?;
            let better = value.add_scaled(&vec![1.0; norms.len()], &correction)?;
            let (next, after) = true_residual(self.operator, &better, right_hand_sides, &norms)?;
            products += norms.len();
            let worst = |residuals: &[f64]| residuals.iter().fold(0.0f64, |a, &b| a.max(b));
            if worst(&after).is_nan() || worst(&after) > 0.5 * worst(&residuals) {
                break;
            }
            (value, error, residuals) = (better, next, after);
        }
        let report = |(&residual, &broken): (&f64, &bool)| match broken {
            true => Report::DIVERGED,
            false => Report {
                outcome: outcome(residual, dtype),
                residual,
                iterations: 0,
            },
        };
        let reports = residuals.iter().zip(&broken).map(report).collect();
        Ok(Solution {
            value,
            reports,
            products,
        })
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

/// Residuals above this are worth a round of refinement.
fn good(dtype: DType) -> f64 {
    if dtype == DType::F32 { 1e-4 } else { 1e-12 }
}

/// A residual far above rounding level shows a matrix too close to singular for its precision.
fn outcome(residual: f64, dtype: DType) -> Outcome {
    let acceptable = if dtype == DType::F32 { 1e-2 } else { 1e-8 };
    if residual <= acceptable {
        Outcome::Direct
    } else {
        Outcome::LimitReached
    }
}
