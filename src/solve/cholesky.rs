//! The Cholesky factor of a matrix written out, in f32 or f64, on the host or on a device: the work of `direct`, and part of the preconditioner of `cg`.

use super::blocked_cholesky::BlockedCholesky;
use crate::operator::{LinearOperator, Real, Structure, SymmetricMatrix, Vectors};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Mat, MatMut, Par};

/// f64 operators with more parameters than this are factorised in f32 and refined.
const MIXED_ABOVE: usize = 4096;

/// L with A ≈ L Lᵀ, in the lower triangle.
pub(super) enum Factor {
    F32(Mat<f32>),
    F64(Mat<f64>),
    OnDevice(BlockedCholesky, DType),
}

impl Factor {
    /// Of an operator; in f32 where that is enough.
    ///
    /// # Errors
    /// It is not positive definite, or a tensor operation failed.
    pub(super) fn of(operator: &dyn LinearOperator) -> Result<Self> {
        let definite = operator.structure() == Structure::PositiveDefinite;
        let single = operator.dtype() == DType::F32 || operator.size() > MIXED_ABOVE;
        if definite
            && single
            && let Some(factor) = Self::of_matrix(operator.dense(DType::F32)?)?
        {
            return Ok(factor);
        }
        if let Some(factor) = Self::of_matrix(operator.dense(DType::F64)?)?
            && factor.has_full_rank(operator.size())
        {
            return Ok(factor);
        }
        Err(Error::config(
            "damping",
            "the curvature is not positive definite, so that it has no Cholesky factor; raise it",
        ))
    }

    /// Of a matrix in its own precision; `None` where it is not positive definite there.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub(super) fn of_matrix(matrix: SymmetricMatrix) -> Result<Option<Self>> {
        Ok(match matrix {
            SymmetricMatrix::F32(mut matrix) => {
                factorise(matrix.as_mut()).then_some(Self::F32(matrix))
            }
            SymmetricMatrix::F64(mut matrix) => {
                factorise(matrix.as_mut()).then_some(Self::F64(matrix))
            }
            SymmetricMatrix::Columns(columns) => {
                let dtype = columns.dtype();
                BlockedCholesky::of(columns)?.map(|factor| Self::OnDevice(factor, dtype))
            }
        })
    }

    /// Pivots at rounding level stand for zeros.
    fn has_full_rank(&self, size: usize) -> bool {
        let (smallest, largest) = match self {
            Self::F32(factor) => pivots(factor),
            Self::F64(factor) => pivots(factor),
            Self::OnDevice(factor, _) => factor.pivots(),
        };
        (smallest / largest).powi(2) > size as f64 * f64::EPSILON
    }

    /// L⁻ᵀL⁻¹ on every row of `vectors` `[k, p]`, in their precision.
    pub(super) fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
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
            Self::OnDevice(factor, dtype) => factor.solve(&rows.to_dtype(*dtype)?)?,
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

/// The smallest and the largest.
fn pivots<T: Real>(factor: &Mat<T>) -> (f64, f64) {
    let pivots = (0..factor.nrows()).map(|i| factor[(i, i)].to_f64());
    pivots.fold((f64::INFINITY, 0.0f64), |(low, high), pivot| {
        (low.min(pivot), high.max(pivot))
    })
}

/// Solves L Lᵀ x = b in place for every row of `values` `[k, p]`, row-major: columns of a column-major matrix.
fn solve<T: faer::traits::RealField>(factor: &Mat<T>, values: &mut [T]) {
    let (size, parallel) = (factor.nrows(), Par::rayon(0));
    let count = values.len() / size;
    let mut columns = MatMut::from_column_major_slice_mut(values, size, count);
    solve_lower_triangular_in_place(factor.as_ref(), columns.as_mut(), parallel);
    solve_upper_triangular_in_place(factor.transpose(), columns.as_mut(), parallel);
}
