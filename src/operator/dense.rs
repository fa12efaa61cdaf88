//! A matrix written out: small problems, oracles in tests, inverses that are matrices.

use super::{LinearOperator, SquareMatrix, Structure, SymmetricMatrix, Vectors};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use ndarray::Array2;

/// A `[p, p]` matrix in f64; products are computed in the precision of the vectors.
pub struct Dense {
    matrix: Tensor,
    structure: Structure,
}

impl Dense {
    /// Takes a symmetric matrix whose structure the caller vouches for.
    ///
    /// # Errors
    /// Not square.
    pub fn new(matrix: Array2<f64>, structure: Structure) -> Result<Self> {
        let (rows, columns) = matrix.dim();
        if rows != columns {
            return Err(Error::mismatch(
                "matrix",
                "as many columns as rows",
                format!("{rows} × {columns}"),
                "transpose?",
            ));
        }
        // A symmetric matrix in Fortran order is itself in C order: no copy is needed.
        let matrix = match matrix.is_standard_layout() {
            true => matrix,
            false => matrix.reversed_axes(),
        };
        let (values, _) = matrix
            .as_standard_layout()
            .into_owned()
            .into_raw_vec_and_offset();
        Ok(Self {
            matrix: Tensor::from_vec(values, (rows, rows), &Device::Cpu)?,
            structure,
        })
    }
}

impl Dense {
    fn values(&self) -> Result<Vec<f64>> {
        Ok(self.matrix.flatten_all()?.to_vec1::<f64>()?)
    }
}

impl LinearOperator for Dense {
    fn size(&self) -> usize {
        self.matrix.dims()[0]
    }

    fn structure(&self) -> Structure {
        self.structure
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        vectors.check_size(self.size())?;
        let rows = vectors.tensor();
        let matrix = self
            .matrix
            .to_dtype(rows.dtype())?
            .to_device(rows.device())?;
        Vectors::new(rows.matmul(&matrix.t()?)?)
    }

    fn dtype(&self) -> DType {
        DType::F64
    }

    fn dense(&self, dtype: DType) -> Result<SymmetricMatrix> {
        let (values, size) = (self.values()?, self.size());
        Ok(match dtype {
            DType::F32 => SymmetricMatrix::F32(SquareMatrix::from_lower(size, |row, column| {
                values[row * size + column] as f32
            })),
            _ => SymmetricMatrix::F64(SquareMatrix::from_lower(size, |row, column| {
                values[row * size + column]
            })),
        })
    }

    fn diagonal(&self) -> Result<Vec<f64>> {
        let values = self.values()?;
        Ok(values.into_iter().step_by(self.size() + 1).collect())
    }
}
