//! A matrix from its products alone: with the unit vectors, some at a time. For operators without a closed form, and few parameters.

use super::{LinearOperator, SquareMatrix, SymmetricMatrix, Vectors};
use crate::Result;
use candle_core::{DType, Device, Tensor};

/// Unit vectors that are multiplied at once.
const BLOCK: usize = 64;

/// The lower triangle of a symmetric `operator`, on the host.
pub(super) fn written_out(operator: &dyn LinearOperator, dtype: DType) -> Result<SymmetricMatrix> {
    let size = operator.size();
    let mut matrix = SquareMatrix::<f64>::zeros(size);
    for start in (0..size).step_by(BLOCK) {
        let count = BLOCK.min(size - start);
        let mut units = vec![0.0; count * size];
        (0..count).for_each(|row| units[row * size + start + row] = 1.0);
        let units = Tensor::from_vec(units, (count, size), &Device::Cpu)?;
        let product = operator.apply(&Vectors::new(units.to_dtype(operator.dtype())?)?)?;
        let rows = product.to_dtype(DType::F64)?.tensor().to_vec2::<f64>()?;
        for (column, row) in rows.iter().enumerate() {
            let column = start + column;
            (column..size).for_each(|index| matrix[(index, column)] = row[index]);
        }
    }
    Ok(match dtype {
        DType::F32 => SymmetricMatrix::F32(SquareMatrix::from_lower(size, |row, column| {
            matrix[(row, column)] as f32
        })),
        _ => SymmetricMatrix::F64(matrix),
    })
}
