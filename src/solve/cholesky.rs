//! The Cholesky factor of a matrix written out, in f32 or f64, on the host or on a device: the work of `direct`, and part of the preconditioner of `cg`.

use super::beside_factor::BesideFactor;
use super::blocked_cholesky::BlockedCholesky;
use super::pivots::Pivots;
use crate::operator::{LinearOperator, SquareMatrix, Structure, SymmetricMatrix, Vectors};
use crate::product::{Real, Triangle, self_product, solve_triangle};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::reborrow::ReborrowMut;
use faer::{Accum, MatMut, MatRef, Par};

/// f64 operators with more parameters than this are factorised in f32 and refined.
pub(crate) const MIXED_ABOVE: usize = 4096;
/// Squares up to this size are left to faer.
pub(super) const SQUARE: usize = 128;
/// Below so many right-hand sides reading the factor is most of a solve, and copying it for large products would double that.
const FEW: usize = 32;

/// L with A ≈ L Lᵀ, in the lower triangle, and A beside it where it is kept.
pub(super) enum Factor {
    F32(SquareMatrix<f32>, Option<BesideFactor<f32>>),
    F64(SquareMatrix<f64>, Option<BesideFactor<f64>>),
    OnDevice(BlockedCholesky, DType),
}

impl Factor {
    /// Of an operator; in f32 where that is enough. On the host A is kept for `many` residuals, where these
    /// are by it.
    ///
    /// # Errors
    /// [`Error::NoFactor`] where it is not positive definite, or a tensor operation failed.
    pub(super) fn of(operator: &dyn LinearOperator, many: bool) -> Result<Self> {
        let definite = operator.structure() == Structure::PositiveDefinite;
        let single = operator.dtype() == DType::F32 || operator.size() > MIXED_ABOVE;
        let (images, size, precision) = (operator.image_count(), operator.size(), operator.dtype());
        let by_matrix = many && are_residuals_by_matrix(images, size, precision);
        let kept = |dtype: DType| by_matrix && dtype == precision;
        if definite
            && single
            && let Some(factor) = Self::factorised(operator.dense(DType::F32)?, kept(DType::F32))?
        {
            return Ok(factor);
        }
        if let Some(factor) = Self::factorised(operator.dense(DType::F64)?, kept(DType::F64))?
            && factor.pivots().are_distinct_from_zero(definite)
        {
            return Ok(factor);
        }
        Err(Error::NoFactor(
            "the curvature is not positive definite, so that it has no Cholesky factor; raise it",
        ))
    }

    /// Of a matrix in its own precision; `None` where it is not positive definite there.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub(super) fn of_matrix(matrix: SymmetricMatrix) -> Result<Option<Self>> {
        Self::factorised(matrix, false)
    }

    fn factorised(matrix: SymmetricMatrix, kept: bool) -> Result<Option<Self>> {
        Ok(match matrix {
            SymmetricMatrix::F32(mut matrix) => {
                let beside = kept.then(|| BesideFactor::of(&mut matrix));
                factorise(matrix.as_mut()).then_some(Self::F32(matrix, beside))
            }
            SymmetricMatrix::F64(mut matrix) => {
                let beside = kept.then(|| BesideFactor::of(&mut matrix));
                factorise(matrix.as_mut()).then_some(Self::F64(matrix, beside))
            }
            SymmetricMatrix::Columns(columns) => {
                let dtype = columns.dtype();
                BlockedCholesky::of(columns)?.map(|factor| Self::OnDevice(factor, dtype))
            }
        })
    }

    fn pivots(&self) -> Pivots {
        match self {
            Self::F32(factor, _) => pivots(factor),
            Self::F64(factor, _) => pivots(factor),
            Self::OnDevice(factor, _) => factor.pivots(),
        }
    }

    /// L⁻ᵀL⁻¹ on every row of `vectors` `[k, p]`, in their precision.
    pub(super) fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        let rows = vectors.tensor();
        let solved = match self {
            Self::F32(factor, _) => {
                let mut values = rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
                solve(factor, &mut values);
                Tensor::from_vec(values, rows.shape(), rows.device())?
            }
            Self::F64(factor, _) => {
                let mut values = rows.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                solve(factor, &mut values);
                Tensor::from_vec(values, rows.shape(), rows.device())?
            }
            Self::OnDevice(factor, dtype) => factor.solve(&rows.to_dtype(*dtype)?)?,
        };
        Vectors::new(solved.to_dtype(rows.dtype())?)
    }

    /// b − A x with A as it was written out, for every row x of `values` and b of `right_hand_sides`; none where A is not kept.
    pub(super) fn residuals(
        &self,
        values: &Vectors,
        right_hand_sides: &Vectors,
    ) -> Result<Option<Vectors>> {
        let (values, rest) = (values.tensor(), right_hand_sides.tensor());
        let left = match self {
            Self::F32(factor, Some(beside)) => left_by(factor, beside, values, rest)?,
            Self::F64(factor, Some(beside)) => left_by(factor, beside, values, rest)?,
            _ => return Ok(None),
        };
        Vectors::new(left).map(Some)
    }
}

/// Whether residuals are by the matrix written out, of so many columns, of a mean over so many images in a precision: where a product
/// takes clearly fewer operations than a pass through the images, 2p² against 4np, and the matrix is written in that precision.
pub(crate) fn are_residuals_by_matrix(images: usize, size: usize, dtype: DType) -> bool {
    4 * images > 3 * size && (dtype == DType::F32 || size <= MIXED_ABOVE)
}

fn left_by<T: Real>(
    factor: &SquareMatrix<T>,
    beside: &BesideFactor<T>,
    values: &Tensor,
    rest: &Tensor,
) -> Result<Tensor> {
    let (count, size) = values.dims2()?;
    let [values, mut left] = [
        values.flatten_all()?.to_vec1::<T>()?,
        rest.flatten_all()?.to_vec1::<T>()?,
    ];
    // Rows are the columns of a column-major matrix.
    beside.subtract_product(
        factor,
        MatRef::from_column_major_slice(&values, size, count),
        MatMut::from_column_major_slice_mut(&mut left, size, count),
    );
    Ok(Tensor::from_vec(left, rest.shape(), rest.device())?)
}

/// Replaces the lower triangle by its Cholesky factor; whether there is one. By halves, down to squares: nearly all operations
/// are products of large matrices.
fn factorise<T: Real>(matrix: MatMut<T>) -> bool {
    let size = matrix.nrows();
    if size <= SQUARE {
        return factorise_square(matrix);
    }
    let half = half(size);
    let (mut first, _, mut below, mut second) = matrix.split_at_mut(half, half);
    if !factorise(first.rb_mut()) {
        return false;
    }
    // B ← B L⁻ᵀ, whose rows are solutions, and what is left of the second half.
    let factor = first.as_ref();
    solve_triangle(factor, Triangle::Lower, below.rb_mut().transpose_mut());
    let below = below.as_ref();
    let minus = T::from_f64(-1.0);
    self_product(second.rb_mut(), Accum::Add, below, minus);
    factorise(second)
}

/// The same for at most one square, on one thread.
fn factorise_square<T: Real>(matrix: MatMut<T>) -> bool {
    let scratch =
        factor::cholesky_in_place_scratch::<T>(matrix.nrows(), Par::Seq, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    let (regularisation, settings) = (Default::default(), Default::default());
    factor::cholesky_in_place(matrix, regularisation, Par::Seq, stack, settings).is_ok()
}

/// Of more than one square the first half, in whole squares.
fn half(size: usize) -> usize {
    (size / 2).next_multiple_of(SQUARE)
}

/// The factor has taken the place of the matrix, of which A_ii = Σ_j L_ij².
fn pivots<T: Real>(factor: &SquareMatrix<T>) -> Pivots {
    let size = factor.size();
    let mut diagonal = vec![0.0; size];
    for column in 0..size {
        for (row, sum) in diagonal.iter_mut().enumerate().skip(column) {
            *sum += factor[(row, column)].to_f64().powi(2);
        }
    }
    let pivots = (0..size).map(|i| factor[(i, i)].to_f64()).collect();
    Pivots::new(pivots, diagonal)
}

/// Solves L Lᵀ x = b in place for every row of `values` `[k, p]`, row-major: columns of a column-major matrix.
fn solve<T: Real>(factor: &SquareMatrix<T>, values: &mut [T]) {
    let factor = factor.as_ref();
    let size = factor.nrows();
    let count = values.len() / size;
    let mut columns = MatMut::from_column_major_slice_mut(values, size, count);
    if count < FEW {
        let parallel = faer::get_global_parallelism();
        solve_lower_triangular_in_place(factor, columns.rb_mut(), parallel);
        solve_upper_triangular_in_place(factor.transpose(), columns, parallel);
    } else {
        solve_triangle(factor, Triangle::Lower, columns.rb_mut());
        solve_triangle(factor.transpose(), Triangle::Upper, columns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use faer::Mat;

    /// Positive definite.
    fn matrix<T: Real>(size: usize) -> Mat<T> {
        let rows = Mat::from_fn(size, size, |i, j| (0.37 * (i * size + j) as f64).sin());
        let product = rows.as_ref() * rows.transpose();
        Mat::from_fn(size, size, |i, j| {
            let diagonal = if i == j { size as f64 } else { 0.0 };
            T::from_f64((product[(i, j)] + diagonal) / size as f64)
        })
    }

    fn largest_error<T: Real>(size: usize, count: usize) -> f64 {
        let matrix = matrix::<T>(size);
        let mut factor = SquareMatrix::from_lower(size, |i, j| matrix[(i, j)]);
        // What is above the diagonal is not to be read.
        (0..size).for_each(|j| (0..j).for_each(|i| factor[(i, j)] = T::from_f64(f64::NAN)));
        assert!(factorise(factor.as_mut()));
        let solutions = Mat::from_fn(size, count, |i, j| T::from_f64(((i + 7 * j) as f64).sin()));
        let right_hand_sides = matrix * &solutions;
        let columns = (0..count).flat_map(|j| (0..size).map(move |i| (i, j)));
        let mut values: Vec<T> = columns.clone().map(|at| right_hand_sides[at]).collect();
        solve(&factor, &mut values);
        let errors = columns
            .zip(values)
            .map(|(at, found)| found.to_f64() - solutions[at].to_f64());
        errors.fold(0.0, |most, error| most.max(error.abs()))
    }

    #[test]
    fn solutions_are_found_by_halves() {
        for (size, count) in [(1, 1), (65, 3), (700, 5), (513, 200), (300, 700)] {
            let (single, double) = (
                largest_error::<f32>(size, count),
                largest_error::<f64>(size, count),
            );
            assert!(
                single < 1e-4 && double < 1e-13,
                "{size} {count}: {single:e} {double:e}"
            );
        }
    }

    /// After a factorisation, in several tiles.
    #[test]
    fn residuals_are_those_of_the_matrix_that_was_factorised() {
        let size = 1300;
        let matrix = matrix::<f64>(size);
        let values = Mat::from_fn(3, size, |row, column| ((3 * column + row) as f64).sin());
        let product = values.as_ref() * matrix.as_ref();
        let tensor = |matrix: &Mat<f64>, dtype: DType| {
            let elements =
                (0..3).flat_map(|row| (0..size).map(move |column| matrix[(row, column)]));
            let rows = Tensor::from_vec(elements.collect::<Vec<_>>(), (3, size), &Device::Cpu);
            Vectors::new(rows.unwrap().to_dtype(dtype).unwrap()).unwrap()
        };
        let single = SquareMatrix::from_lower(size, |i, j| matrix[(i, j)] as f32);
        let double = SquareMatrix::from_lower(size, |i, j| matrix[(i, j)]);
        for (written, dtype, tolerance) in [
            (SymmetricMatrix::F32(single), DType::F32, 1e-4),
            (SymmetricMatrix::F64(double), DType::F64, 1e-12),
        ] {
            let factor = Factor::factorised(written.clone(), true).unwrap().unwrap();
            let (x, b) = (tensor(&values, dtype), tensor(&product, dtype));
            let left = factor.residuals(&x, &b).unwrap().unwrap();
            let left = left.largest_elements().unwrap();
            assert!(left.iter().all(|&left| left < tolerance), "{left:?}");
            let forgotten = Factor::of_matrix(written).unwrap().unwrap();
            assert!(forgotten.residuals(&x, &b).unwrap().is_none());
        }
    }

    #[test]
    fn a_negative_pivot_anywhere_leaves_no_factor() {
        for at in [0, 63, 64, 400, 699] {
            let mut matrix = matrix::<f64>(700);
            matrix[(at, at)] = -1.0;
            assert!(!factorise(matrix.as_mut()), "{at}");
        }
    }
}
