//! Cholesky: the matrix is written out in f64 and inverted once, then every solve is one matrix product.
//!
//! A⁻¹ is formed from the factor (LAPACK potrf, potri) because a product with it runs at full speed for any number of
//! right-hand sides, on any device and thread count; the digits this could cost in comparison with two triangular
//! solves are won back by a step of iterative refinement, x ← x + A⁻¹(b − A x), wherever the true residual shows any.
//! The matrix is f64 whatever the precision of the operator and needs 8·p² bytes; above [`LARGEST`] parameters the
//! method refuses and `cg` is the way. (LAPACK's LU is no alternative: OpenBLAS 0.3.21 runs it on half a MiB of stack a
//! level and overflows the 2 MiB of a thread.)

use super::{
    Inverse, Outcome, Report, Solution, Solver, check_size, clear_rows, rows_not_finite,
    true_residual,
};
use crate::operator::{Dense, LinearOperator, Structure, Vectors};
use crate::{Error, Result};
use candle_core::DType;
use ndarray::Array2;
use ndarray_linalg::error::LinalgError;
use ndarray_linalg::{CholeskyFactorized, CholeskyInto, InverseCInto, UPLO};

/// The largest number of parameters that is written out: 8 GiB in f64.
const LARGEST: usize = 32_768;

/// Solves by a Cholesky factorisation of the matrix written out in f64.
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
        let inverse = Dense::new(invert(operator.dense()?)?, Structure::PositiveDefinite)?;
        Ok(Box::new(Prepared { operator, inverse }))
    }
}

/// The inverse of a symmetric positive definite matrix.
fn invert(matrix: Array2<f64>) -> Result<Array2<f64>> {
    let size = matrix.nrows();
    // A symmetric matrix is its own transpose: seen in Fortran order LAPACK needs no copy.
    let matrix = if matrix.is_standard_layout() {
        matrix.reversed_axes()
    } else {
        matrix
    };
    let factor = match matrix.cholesky_into(UPLO::Lower) {
        Err(LinalgError::Lapack(_)) => return Err(not_positive_definite()),
        other => other?,
    };
    let (smallest, largest) = factor
        .diag()
        .iter()
        .fold((f64::INFINITY, 0.0f64), |(low, high), &pivot| {
            (low.min(pivot), high.max(pivot))
        });
    // Pivots at rounding level stand for zeros.
    let ratio = (smallest / largest).powi(2);
    if ratio.is_nan() || ratio <= size as f64 * f64::EPSILON {
        return Err(not_positive_definite());
    }
    Ok(CholeskyFactorized {
        factor,
        uplo: UPLO::Lower,
    }
    .invc_into()?)
}

fn not_positive_definite() -> Error {
    Error::config(
        "damping",
        "the curvature is not positive definite, so that it has no Cholesky factor; raise it",
    )
}

struct Prepared<'a> {
    operator: &'a dyn LinearOperator,
    inverse: Dense,
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        check_size(self.operator, right_hand_sides)?;
        let dtype = right_hand_sides.tensor().dtype();
        let norms = right_hand_sides.norms()?;
        let apply_inverse = |block: &Vectors| -> Result<Vectors> {
            let wide = Vectors::new(block.tensor().to_dtype(DType::F64)?)?;
            Vectors::new(self.inverse.apply(&wide)?.tensor().to_dtype(dtype)?)
        };
        let value = apply_inverse(right_hand_sides)?;
        let broken = rows_not_finite(&value)?;
        let mut value = clear_rows(value, &broken)?;
        let (error, mut residuals) =
            true_residual(self.operator, &value, right_hand_sides, &norms)?;
        let mut products = right_hand_sides.count();
        if residuals
            .iter()
            .any(|&residual| residual > refinable(dtype))
        {
            let correction = clear_rows(apply_inverse(&error)?, &broken)?;
            value = value.add_scaled(&vec![1.0; norms.len()], &correction)?;
            residuals = true_residual(self.operator, &value, right_hand_sides, &norms)?.1;
            products *= 2;
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
}

/// Residuals above this are worth a step of refinement.
fn refinable(dtype: DType) -> f64 {
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
