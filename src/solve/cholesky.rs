//! The Cholesky factor of a matrix written out, in f32 or f64: the work of `direct`, and part of the preconditioner of `cg`.

use crate::operator::{LinearOperator, Structure, SymmetricMatrix, Vectors};
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

    /// Of a matrix in its own precision; `None` where it is not positive definite there.
    pub(super) fn of_matrix(matrix: SymmetricMatrix) -> Option<Self> {
        match matrix {
            SymmetricMatrix::F32(mut matrix) => {
                factorise(matrix.as_mut()).then_some(Self::F32(matrix))
            }
            SymmetricMatrix::F64(mut matrix) => {
                factorise(matrix.as_mut()).then_some(Self::F64(matrix))
            }
        }
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
