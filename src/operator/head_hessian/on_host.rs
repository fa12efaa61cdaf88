//! Products with the head's Hessian and the matrix written out, on the processor.

use super::{DENSE_CHUNK, HeadHessian};
use crate::Result;
use crate::data::moved;
use crate::operator::softmax_curvature::Scalar;
use crate::operator::symmetric_matrix::{WeightedMoments, mirror_blocks};
use crate::operator::{SquareMatrix, row_pass};
use crate::product::{Real, product};
use candle_core::{Device, Tensor};
use faer::{Accum, MatMut, MatRef};

impl HeadHessian {
    /// The chunks are added up inside the matrix product: one pass over the sums for each of them.
    pub(super) fn data_product_on_host<T: Scalar>(&self, vectors: &Tensor) -> Result<Tensor> {
        let (rows, columns) = vectors.dims2()?;
        let vectors = vectors.contiguous()?;
        let mut sum = vec![T::from_f64(0.0); rows * columns];
        let mean = T::from_f64(1.0 / self.count() as f64);
        let mut directions = Vec::new();
        // What is not read is not cleared first.
        let mut accumulate = Accum::Replace;
        for chunk in self.chunks(self.row_chunk) {
            let inputs = self.inputs.chunk(chunk.clone())?;
            let curvature = self.curvature.narrow(chunk.start, chunk.len())?;
            directions.resize(chunk.len() * rows, T::from_f64(0.0));
            // Row-major [m, k·w] is column-major [k·w, m], and so on.
            row_pass::with_rows(&inputs, &vectors, |inputs: &[T], vectors: &[T]| {
                product(
                    MatMut::from_column_major_slice_mut(&mut directions, rows, chunk.len()),
                    Accum::Replace,
                    MatRef::from_row_major_slice(vectors, rows, columns),
                    MatRef::from_column_major_slice(inputs, columns, chunk.len()),
                    T::from_f64(1.0),
                );
                Ok(())
            })?;
            curvature.apply_on_host(&mut directions, rows)?;
            row_pass::with_elements(&inputs, |inputs: &[T]| {
                product(
                    MatMut::from_column_major_slice_mut(&mut sum, columns, rows),
                    accumulate,
                    MatRef::from_column_major_slice(inputs, columns, chunk.len()),
                    MatRef::from_row_major_slice(&directions, chunk.len(), rows),
                    mean,
                );
                Ok(())
            })?;
            accumulate = Accum::Add;
        }
        Ok(Tensor::from_vec(sum, (rows, columns), &Device::Cpu)?)
    }

    /// (1/n) Σ_i W_i ⊗ a_i a_iᵀ, for some feature axes alone where they are given.
    pub(super) fn written_out<T: Real>(&self, axes: Option<&[u32]>) -> Result<SquareMatrix<T>> {
        let columns = axes.map_or(self.columns(), <[u32]>::len);
        let axes = (axes.map(|axes| Tensor::new(axes, self.inputs.device()))).transpose()?;
        let size = self.curvature.width() * columns;
        let mut matrix = SquareMatrix::<T>::zeros(size);
        for chunk in self.chunks(DENSE_CHUNK) {
            let inputs = self.inputs.chunk(chunk.clone())?;
            let inputs = match &axes {
                Some(axes) => inputs.index_select(axes, 1)?,
                None => inputs,
            };
            let inputs = moved(&inputs, &Device::Cpu)?.to_dtype(T::DTYPE)?;
            let moments = WeightedMoments {
                inputs: &inputs.flatten_all()?.to_vec1::<T>()?,
                columns,
                weights: &self
                    .curvature
                    .narrow(chunk.start, chunk.len())?
                    .written_out()?,
                width: self.curvature.width(),
            };
            moments.add_to(&mut matrix, 1.0 / self.count() as f64);
        }
        mirror_blocks(&mut matrix, columns);
        Ok(matrix)
    }
}
