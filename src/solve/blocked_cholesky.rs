//! A Cholesky factor made of matrix products, for matrices on a device.
//!
//! A = L Lᵀ by block columns (Golub & Van Loan 2013, section 4.2.9, looking left): A_j ← A_j − Σ_{k<j} L_k L_jkᵀ for the rows from
//! block j down, then the inverse X_j of the factor of the diagonal block, and L_j = A_j X_jᵀ below it. Solves multiply by these
//! inverses instead of substituting: y_j = X_j (b_j − …).
//!
//! X_j comes from halves, X = [[X₁₁, 0], [−X₂₂ L₂₁ X₁₁, X₂₂]] with L₂₁ = A₂₁ X₁₁ᵀ, down to blocks of [`LEAF`] that the processor
//! factorises in f64: some hundred kilobytes each go there and back, all else stays on the device.

use super::pivots::Pivots;
use crate::Result;
use crate::data::moved;
use crate::operator::BlockColumns;
use candle_core::{DType, Device, Tensor};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Mat, Par, Side};

/// Blocks of at most so many rows are factorised by the processor.
const LEAF: usize = 160;

/// L by the inverses of its diagonal blocks and what is below them.
pub(super) struct BlockedCholesky {
    columns: Vec<Column>,
    /// The diagonal of L.
    pivots: Vec<f64>,
    /// That of A.
    diagonal: Vec<f64>,
}

struct Column {
    /// X_j, `[width, width]`.
    inverse: Tensor,
    /// L_j below the diagonal block, `[rest, width]`; none in the last column.
    below: Option<Tensor>,
}

impl BlockedCholesky {
    /// Of a matrix, which makes room as it is used up; `None` where it is not positive definite in its precision.
    pub(super) fn of(matrix: BlockColumns) -> Result<Option<Self>> {
        let mut factor = Self {
            columns: Vec::new(),
            pivots: Vec::new(),
            diagonal: Vec::new(),
        };
        for column in matrix.into_columns() {
            factor.diagonal.extend(diagonal(&column)?);
            let column = factor.reduced(column)?;
            let (rows, width) = column.dims2()?;
            let Some(inverse) = factor.inverse(&column.narrow(0, 0, width)?)? else {
                return Ok(None);
            };
            let below = match rows - width {
                0 => None,
                rest => Some(column.narrow(0, width, rest)?.matmul(&inverse.t()?)?),
            };
            factor.columns.push(Column { inverse, below });
        }
        Ok(Some(factor))
    }

    /// The diagonals of L and A.
    pub(super) fn pivots(&self) -> Pivots {
        Pivots::new(self.pivots.clone(), self.diagonal.clone())
    }

    /// A_j − Σ_{k<j} L_k L_jkᵀ.
    fn reduced(&self, column: Tensor) -> Result<Tensor> {
        let (rows, width) = column.dims2()?;
        let mut column = column;
        for before in self.columns.iter().filter_map(|c| c.below.as_ref()) {
            let start = before.dims()[0] - rows;
            let own = before.narrow(0, start, rows)?;
            let product = own.matmul(&before.narrow(0, start, width)?.t()?)?;
            column = (column - product)?;
        }
        Ok(column)
    }

    /// The inverse of the factor of `block` `[m, m]`, of which the lower triangle counts.
    fn inverse(&mut self, block: &Tensor) -> Result<Option<Tensor>> {
        let size = block.dims()[0];
        if size <= LEAF {
            return self.leaf(block);
        }
        let (first, second) = (size / 2, size - size / 2);
        let part = |row: usize, column: usize, height: usize, width: usize| {
            let rows = block.narrow(0, row, height)?;
            rows.narrow(1, column, width)?.contiguous()
        };
        let Some(upper) = self.inverse(&part(0, 0, first, first)?)? else {
            return Ok(None);
        };
        let coupling = part(first, 0, second, first)?.matmul(&upper.t()?)?;
        let rest = (part(first, first, second, second)? - coupling.matmul(&coupling.t()?)?)?;
        let Some(lower) = self.inverse(&rest)? else {
            return Ok(None);
        };
        let corner = lower.matmul(&coupling)?.matmul(&upper)?.neg()?;
        let upper = upper.pad_with_zeros(1, 0, second)?;
        let lower = Tensor::cat(&[&corner, &lower], 1)?;
        Ok(Some(Tensor::cat(&[&upper, &lower], 0)?))
    }

    /// The same on the processor.
    fn leaf(&mut self, block: &Tensor) -> Result<Option<Tensor>> {
        let size = block.dims()[0];
        let values = moved(block, &Device::Cpu)?.to_dtype(DType::F64)?;
        let values = values.flatten_all()?.to_vec1::<f64>()?;
        let matrix = Mat::from_fn(size, size, |row, column| {
            values[row.max(column) * size + row.min(column)]
        });
        let Ok(factor) = matrix.llt(Side::Lower) else {
            return Ok(None);
        };
        for pivot in (0..size).map(|i| factor.L()[(i, i)]) {
            if !(pivot.is_finite() && pivot > 0.0) {
                return Ok(None);
            }
            self.pivots.push(pivot);
        }
        let mut inverse = Mat::<f64>::identity(size, size);
        solve_lower_triangular_in_place(factor.L(), inverse.as_mut(), Par::Seq);
        let values = (0..size).flat_map(|row| (0..size).map(move |column| (row, column)));
        let values: Vec<f64> = values.map(|at| inverse[at]).collect();
        let inverse = Tensor::from_vec(values, (size, size), &Device::Cpu)?;
        let inverse = inverse.to_dtype(block.dtype())?;
        Ok(Some(moved(&inverse, block.device())?))
    }

    /// L⁻ᵀL⁻¹ on every row of `rows` `[k, p]`, which are of the precision and on the device of the factor.
    pub(super) fn solve(&self, rows: &Tensor) -> Result<Tensor> {
        self.backward(self.forward(rows)?)
    }

    /// L⁻¹ on every row, in blocks.
    fn forward(&self, rows: &Tensor) -> Result<Vec<Tensor>> {
        let mut rest = rows.clone();
        let mut solved = Vec::with_capacity(self.columns.len());
        for Column { inverse, below } in &self.columns {
            let width = inverse.dims()[0];
            let own = rest.narrow(1, 0, width)?.contiguous()?;
            let own = own.matmul(&inverse.t()?)?;
            if let Some(below) = below {
                let count = below.dims()[0];
                rest = (rest.narrow(1, width, count)? - own.matmul(&below.t()?)?)?;
            }
            solved.push(own);
        }
        Ok(solved)
    }

    /// L⁻ᵀ on every row of the blocks, put together.
    fn backward(&self, blocks: Vec<Tensor>) -> Result<Tensor> {
        let mut solved: Option<Tensor> = None;
        for (Column { inverse, below }, block) in self.columns.iter().zip(blocks).rev() {
            let block = match (below, &solved) {
                (Some(below), Some(later)) => (block - later.matmul(below)?)?,
                _ => block,
            };
            let own = block.matmul(inverse)?;
            solved = Some(match solved {
                None => own,
                Some(later) => Tensor::cat(&[&own, &later], 1)?,
            });
        }
        solved.map_or_else(|| Ok(Tensor::zeros((0, 0), DType::F64, &Device::Cpu)?), Ok)
    }
}

/// The diagonal of the block at the top of a column.
fn diagonal(column: &Tensor) -> Result<Vec<f64>> {
    let width = column.dims()[1];
    let positions: Vec<u32> = (0..width).map(|i| (i * (width + 1)) as u32).collect();
    let positions = Tensor::from_vec(positions, width, column.device())?;
    let elements = column.narrow(0, 0, width)?.flatten_all()?;
    let elements = elements.index_select(&positions, 0)?.to_dtype(DType::F64)?;
    Ok(elements.to_vec1()?)
}

#[cfg(test)]
mod tests;
