//! The lower triangle of a symmetric matrix as block columns on a device: what is factorised there.
//!
//! Column block j has the rows from its own diagonal block down, `[p − start_j, width_j]`; what lies above the diagonal within
//! the diagonal block means nothing. No block is ever written into, so that all is made of whole tensor operations.

use crate::Result;
use crate::data::moved;
use candle_core::{DType, Device, Tensor};

/// Block columns from the left.
#[derive(Debug, Clone)]
pub struct BlockColumns {
    columns: Vec<Tensor>,
}

impl BlockColumns {
    /// From tensors `[p − start, width]` of one precision on one device, the starts adding up from the left.
    pub fn new(columns: Vec<Tensor>) -> Self {
        Self { columns }
    }

    /// p.
    pub fn size(&self) -> usize {
        self.columns.first().map_or(0, |first| first.dims()[0])
    }

    /// Their precision.
    pub fn dtype(&self) -> DType {
        (self.columns.first()).map_or(DType::F64, |first| first.dtype())
    }

    /// The blocks.
    pub fn into_columns(self) -> Vec<Tensor> {
        self.columns
    }

    /// Adds `value` to every element of the diagonal.
    pub(super) fn add_to_diagonal(&mut self, value: f64) -> Result<()> {
        for column in &mut self.columns {
            let (rows, width) = column.dims2()?;
            let diagonal =
                Tensor::eye(width, column.dtype(), column.device())?.affine(value, 0.0)?;
            let diagonal = diagonal.pad_with_zeros(0, 0, rows - width)?;
            *column = (&*column + diagonal)?;
        }
        Ok(())
    }

    /// Element (i, j) of the lower triangle at position i·p + j, f64 on the host.
    pub(super) fn lower_triangle(&self) -> Result<Vec<f64>> {
        let size = self.size();
        let mut values = vec![0.0; size * size];
        let mut start = 0;
        for column in &self.columns {
            let (_, width) = column.dims2()?;
            let block = moved(column, &Device::Cpu)?.to_dtype(DType::F64)?;
            let block = block.flatten_all()?.to_vec1::<f64>()?;
            for (row, line) in block.chunks_exact(width).enumerate() {
                values[(start + row) * size + start..][..width].copy_from_slice(line);
            }
            start += width;
        }
        Ok(values)
    }
}
