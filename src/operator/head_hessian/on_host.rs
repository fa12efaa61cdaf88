//! Products with the head's Hessian and the matrix written out, on the processor.

use super::{DENSE_CHUNK, DENSE_ELEMENTS, HeadHessian};
use crate::Result;
use crate::data::moved;
use crate::operator::softmax_curvature::Scalar;
use crate::operator::symmetric_matrix::{WeightedMoments, mirror_blocks};
use crate::operator::{SquareMatrix, row_pass};
use crate::product::{Real, product};
use candle_core::{DType, Device, Tensor};
use faer::{Accum, MatMut, MatRef};
use std::ops::Range;

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
        let width = self.curvature.width();
        let columns = axes.map_or(self.columns(), <[u32]>::len);
        let axes = (axes.map(|axes| Tensor::new(axes, self.inputs.device()))).transpose()?;
        let mut matrix = SquareMatrix::<T>::zeros(width * columns);
        match columns * columns < width {
            true => self.add_by_pairs(&mut matrix, axes.as_ref())?,
            false => self.add_by_images(&mut matrix, axes.as_ref())?,
        }
        mirror_blocks(&mut matrix, columns);
        Ok(matrix)
    }

    /// Every image's curvature written out, n·C·w² operations, and then n·w²/2 weighted outer products of inputs.
    fn add_by_images<T: Real>(
        &self,
        matrix: &mut SquareMatrix<T>,
        axes: Option<&Tensor>,
    ) -> Result<()> {
        let width = self.curvature.width();
        let size = DENSE_CHUNK.min((DENSE_ELEMENTS / (width * width)).max(1));
        for chunk in self.chunks(size) {
            let inputs = moved(&self.inputs_along(chunk.clone(), axes)?, &Device::Cpu)?;
            let curvature = self.curvature.narrow(chunk.start, chunk.len())?;
            let moments = WeightedMoments {
                columns: inputs.dims()[1],
                inputs: &inputs.to_dtype(T::DTYPE)?.flatten_all()?.to_vec1::<T>()?,
                weights: &curvature.written_out()?,
                width,
            };
            moments.add_to(matrix, 1.0 / self.count() as f64);
        }
        Ok(())
    }

    /// For few feature axes and many classes: of each pair of axes (a, b) the sum of the curvatures, image i's times a_ia a_ib / n, is
    /// one matrix product between the logits, n·C² operations.
    fn add_by_pairs<T: Real>(
        &self,
        matrix: &mut SquareMatrix<T>,
        axes: Option<&Tensor>,
    ) -> Result<()> {
        let mut inputs = Vec::new();
        for chunk in self.chunks(DENSE_CHUNK) {
            let chunk = moved(&self.inputs_along(chunk, axes)?, &Device::Cpu)?;
            inputs.extend(chunk.to_dtype(DType::F64)?.to_vec2::<f64>()?);
        }
        let (width, columns) = (
            self.curvature.width(),
            matrix.size() / self.curvature.width(),
        );
        let scale = 1.0 / self.count() as f64;
        for a in 0..columns {
            for b in 0..=a {
                let factors = inputs.iter().map(|row| scale * row[a] * row[b]);
                let factors: Vec<f64> = factors.collect();
                let sum = self.curvature.weighted_sum(&factors)?;
                for (c, e) in (0..width).flat_map(|c| (0..=c).map(move |e| (c, e))) {
                    matrix[(c * columns + a, e * columns + b)] = T::from_f64(sum[(c, e)]);
                }
            }
        }
        Ok(())
    }

    fn inputs_along(&self, images: Range<usize>, axes: Option<&Tensor>) -> Result<Tensor> {
        let inputs = self.inputs.chunk(images)?;
        Ok(match axes {
            Some(axes) => inputs.index_select(axes, 1)?,
            None => inputs,
        })
    }
}
