//! The inverse of Q (diag d + RᵀR) Qᵀ, Q orthogonal and R with few rows ([`KroneckerForm`]): EK-FAC through blocks, and
//! the low rank that conjugate gradients divide by there.
//!
//! With W = R D^{-1/2} it is Q D^{-1/2} (I − Wᵀ (I + W Wᵀ)⁻¹ W) D^{-1/2} Qᵀ (Woodbury), symmetric and positive definite if d > 0.
//! I + W Wᵀ has no eigenvalue below 1; it is summed and factorised in f64, its terms over some columns in the precision of R. On a
//! device its inverse is written out, so that no application waits for the host.

use super::cholesky::Factor;
use super::diagonal::first_zero;
use crate::operator::{
    KroneckerAxes, KroneckerForm, LinearOperator, SquareMatrix, SymmetricMatrix, Vectors,
};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// Columns of W whose part of W Wᵀ is summed in the precision of R.
const COLUMNS: usize = 4096;

/// Q (diag d + RᵀR)⁻¹ Qᵀ.
pub(super) struct KroneckerInverse {
    axes: KroneckerAxes,
    /// D^{-1/2}, `[1, p]`.
    roots: Tensor,
    strong: Option<Strong>,
    notes: Vec<(&'static str, f64)>,
}

/// W `[r, p]` and the inverse of I + W Wᵀ.
struct Strong {
    rows: Tensor,
    between: BetweenRows,
}

/// (I + W Wᵀ)⁻¹
enum BetweenRows {
    /// By a factor on the host.
    Factor(Factor),
    /// Written out, `[r, r]` in f64, where the rows are.
    Inverse(Tensor),
}

impl KroneckerInverse {
    /// Of a form of `operator`, in its precision.
    ///
    /// # Errors
    /// An element of d that is 0, but for rounding, or not finite.
    pub(super) fn of(form: KroneckerForm, operator: &dyn LinearOperator) -> Result<Self> {
        let notes = form.notes().to_vec();
        let (axes, diagonal, rows) = form.into_rows();
        let d = rows.as_ref().map_or(&diagonal, |rows| &rows.rest);
        if let Some(place) = first_zero(d, operator) {
            let reason = format!(
                "an eigenvalue of the curvature's Kronecker form is {:e}, so that it cannot be divided by; raise it",
                d[place]
            );
            return Err(Error::config("damping", reason));
        }
        let roots: Vec<f64> = d.iter().map(|d| d.sqrt().recip()).collect();
        let roots = Tensor::from_vec(roots, (1, d.len()), axes.device())?;
        let roots = roots.to_dtype(operator.dtype())?;
        let strong = match rows {
            None => None,
            Some(rows) => Strong::of(rows.rows.broadcast_mul(&roots)?)?,
        };
        Ok(Self {
            axes,
            roots,
            strong,
            notes,
        })
    }

    pub(super) fn apply(&self, block: &Vectors) -> Result<Vectors> {
        // Some methods keep their vectors on the host.
        let there = block.tensor().to_device(self.axes.device())?;
        let mut scaled = (self.axes.coordinates(&there)?).broadcast_mul(&self.roots)?;
        if let Some(strong) = &self.strong {
            let along = scaled.matmul(&strong.rows.t()?)?;
            let back = strong.between.apply(along)?;
            scaled = (scaled - back.matmul(&strong.rows)?)?;
        }
        let solved = self.axes.vectors(&scaled.broadcast_mul(&self.roots)?)?;
        Vectors::new(solved.to_device(block.tensor().device())?)
    }

    pub(super) fn notes(&self) -> &[(&'static str, f64)] {
        &self.notes
    }
}

impl Strong {
    /// None where rounding leaves no factor.
    fn of(rows: Tensor) -> Result<Option<Self>> {
        let (count, size) = rows.dims2()?;
        let mut gram = Tensor::eye(count, DType::F64, rows.device())?;
        for start in (0..size).step_by(COLUMNS) {
            let part = rows
                .narrow(1, start, COLUMNS.min(size - start))?
                .contiguous()?;
            gram = (gram + part.matmul(&part.t()?)?.to_dtype(DType::F64)?)?;
        }
        let gram = gram.to_vec2::<f64>()?;
        let gram = SquareMatrix::from_lower(count, |row, column| gram[column][row]);
        let Some(factor) = Factor::of_matrix(SymmetricMatrix::F64(gram))? else {
            return Ok(None);
        };
        let between = match rows.device().is_cpu() {
            true => BetweenRows::Factor(factor),
            false => BetweenRows::written_out(&factor, count, rows.device())?,
        };
        Ok(Some(Self { rows, between }))
    }
}

impl BetweenRows {
    fn written_out(factor: &Factor, count: usize, device: &Device) -> Result<Self> {
        let units = Vectors::new(Tensor::eye(count, DType::F64, &Device::Cpu)?)?;
        let inverse = factor.apply(&units)?;
        Ok(Self::Inverse(inverse.tensor().to_device(device)?))
    }

    /// Of every row of `vectors` `[k, r]`, in their precision.
    fn apply(&self, vectors: Tensor) -> Result<Tensor> {
        match self {
            Self::Factor(factor) => Ok(factor.apply(&Vectors::new(vectors)?)?.tensor().clone()),
            Self::Inverse(inverse) => {
                let solved = vectors.to_dtype(DType::F64)?.matmul(inverse)?;
                Ok(solved.to_dtype(vectors.dtype())?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(rows: usize, columns: usize) -> Tensor {
        let values: Vec<f64> = (0..rows * columns)
            .map(|at| 10.0 * (0.7 * at as f64).sin())
            .collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn the_inverse_that_a_device_has_is_that_of_the_factor() {
        let strong = Strong::of(wave(3, 5)).unwrap().unwrap();
        let BetweenRows::Factor(factor) = &strong.between else {
            panic!("written out on the host");
        };
        let written = BetweenRows::written_out(factor, 3, &Device::Cpu).unwrap();
        let solved = |between: &BetweenRows| {
            let solved = between.apply(wave(2, 3)).unwrap();
            solved.flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        for (found, expected) in solved(&written).iter().zip(solved(&strong.between)) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }
}
