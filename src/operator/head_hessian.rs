//! The Hessian of the head's training objective, in closed form.
//!
//! H = (1/n) Σ_i (diag(π_i) − π_i π_iᵀ) ⊗ a_i a_iᵀ + l2·I (Utrera et al. 2020 use the sum over i and no l2; see also
//! Koh & Liang 2017, section 2). The loss is convex in the logits and the logits are linear in θ, so that the
//! Gauss–Newton matrix of the head *is* this Hessian.
//!
//! [`HeadHessian::new`] has it in all C classes and the features as they are (for Newton's method);
//! [`HeadHessian::in_coordinates`] in the C − 1 class axes and the feature axes of [`HeadCoordinates`], where influence
//! is computed. w below is C or C − 1.
//!
//! A product with k vectors V `[k·w, d + 1]` is two matrix products per chunk of images: the logit directions
//! Z = A Vᵀ `[m, k·w]`, then, after the softmax curvature has been applied to Z, the pull-back Zᵀ A.

mod on_device;
mod on_host;
mod rounding;

use super::softmax_curvature::SoftmaxCurvature;
use super::{
    LinearOperator, PrincipalBlock, Rounding, SquareMatrix, Structure, SymmetricMatrix, Vectors,
};
use crate::data::Rows;
use crate::derivative::head::{HeadCoordinates, HeadInputs, HeadOutputs, SoftmaxHead};
use crate::descending::descending;
use crate::{Result, number_range};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// Images that go through one matrix product. Fixed, so that sums run in the same order whatever the block of vectors.
const ROW_CHUNK: usize = 1024;
/// Images whose weighted inputs are held at once while the matrix is written out, fewer where their curvatures would be more numbers
/// than this: 128 MiB.
const DENSE_CHUNK: usize = 8192;
const DENSE_ELEMENTS: usize = 1 << 24;
/// Upper bound of the elements of Z, 64 MiB in f32: larger blocks of vectors are taken in parts.
const DIRECTION_ELEMENTS: usize = 1 << 24;
/// The most numbers of softmax curvatures that are kept on a device: 1 GiB in f32.
const CURVATURE_ELEMENTS: usize = 1 << 28;

/// The curvature of mean cross-entropy + l2/2·‖θ‖² over a training set, parameters as in [`crate::derivative::head`].
pub struct HeadHessian {
    inputs: Rows,
    curvature: SoftmaxCurvature,
    l2: f64,
    row_chunk: usize,
}

impl HeadHessian {
    /// The Hessian at `head` over `inputs`, p = C·(d + 1).
    ///
    /// # Errors
    /// An l2 that is negative or not finite, or inputs that do not fit the head.
    pub fn new(head: &SoftmaxHead, inputs: &HeadInputs, l2: f64) -> Result<Self> {
        let probabilities = head.outputs(inputs)?.probabilities;
        Self::assemble(
            inputs.rows().clone(),
            SoftmaxCurvature::new(probabilities, None),
            l2,
        )
    }

    /// The Hessian in `coordinates`, p = (C − 1)·(d + 1), from ã `[n, d + 1]` and the outputs of the same images.
    ///
    /// # Errors
    /// An l2 that is negative or not finite, or a tensor operation failed.
    pub fn in_coordinates(
        coordinates: &HeadCoordinates,
        inputs: &Rows,
        outputs: &HeadOutputs,
        l2: f64,
    ) -> Result<Self> {
        let axes = coordinates.classes().to_device(inputs.device())?;
        let curvature = SoftmaxCurvature::new(outputs.probabilities.clone(), Some(axes));
        Self::assemble(inputs.clone(), curvature, l2)
    }

    fn assemble(inputs: Rows, curvature: SoftmaxCurvature, l2: f64) -> Result<Self> {
        number_range::at_least_zero("l2", l2)?;
        let curvature = match inputs.device().is_cpu() {
            true => curvature,
            false => curvature.written(CURVATURE_ELEMENTS)?,
        };
        Ok(Self {
            inputs,
            curvature,
            l2,
            row_chunk: ROW_CHUNK,
        })
    }

    /// The same operator with another number of images per matrix product; products change by rounding only.
    pub fn with_row_chunk(self, row_chunk: usize) -> Self {
        Self {
            row_chunk: row_chunk.max(1),
            ..self
        }
    }

    /// The softmax curvatures W_i of the images in `range`, `[range.len(), w, w]` in row-major order.
    ///
    /// # Errors
    /// A range out of bounds.
    pub fn output_curvatures(&self, range: Range<usize>) -> Result<Vec<f64>> {
        self.curvature
            .narrow(range.start, range.len())?
            .written_out()
    }

    fn count(&self) -> usize {
        self.inputs.count()
    }

    fn columns(&self) -> usize {
        self.inputs.columns()
    }

    fn chunks(&self, size: usize) -> impl Iterator<Item = Range<usize>> {
        let count = self.count();
        (0..count)
            .step_by(size)
            .map(move |start| start..count.min(start + size))
    }

    /// (1/n) Σ_i over all chunks for `vectors` `[k·w, d + 1]`.
    fn data_product(&self, vectors: &Tensor) -> Result<Tensor> {
        match (vectors.device().is_cpu(), vectors.dtype()) {
            (true, DType::F32) => self.data_product_on_host::<f32>(vectors),
            (true, _) => self.data_product_on_host::<f64>(vectors),
            _ => self.data_product_on_device(vectors),
        }
    }

    /// All blocks (c, e ≤ c) of the curvature, l2 on the diagonal; for some feature axes alone where they are given.
    fn matrix(&self, axes: Option<&[u32]>, dtype: DType) -> Result<SymmetricMatrix> {
        let mut matrix = match (self.device().is_cpu(), dtype) {
            (false, dtype) => SymmetricMatrix::Columns(self.block_columns(axes, dtype)?),
            (_, DType::F32) => SymmetricMatrix::F32(self.written_out(axes)?),
            _ => SymmetricMatrix::F64(self.written_out(axes)?),
        };
        matrix.add_to_diagonal(self.l2)?;
        Ok(matrix)
    }

    /// The `count` columns with the largest second moment, in their order.
    fn strongest(&self, count: usize) -> Result<Vec<u32>> {
        let mut moments = vec![0.0; self.columns()];
        for chunk in self.chunks(DENSE_CHUNK) {
            let inputs = self.inputs.chunk(chunk)?;
            let squares = inputs.sqr()?.sum(0)?;
            let squares = squares.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            (moments.iter_mut().zip(squares)).for_each(|(moment, square)| *moment += square);
        }
        let strongest = descending(&moments).into_iter().take(count);
        let mut order: Vec<u32> = strongest.map(|column| column as u32).collect();
        order.sort_unstable();
        Ok(order)
    }
}

impl LinearOperator for HeadHessian {
    fn size(&self) -> usize {
        self.curvature.width() * self.columns()
    }

    fn dtype(&self) -> DType {
        self.inputs.dtype()
    }

    fn device(&self) -> Device {
        self.inputs.device().clone()
    }

    fn structure(&self) -> Structure {
        if self.l2 > 0.0 {
            Structure::PositiveDefinite
        } else {
            Structure::PositiveSemidefinite
        }
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        vectors.check_size(self.size())?;
        let width = self.curvature.width();
        let part = (DIRECTION_ELEMENTS / (self.row_chunk.min(self.count()) * width)).max(1);
        let product = vectors.in_parts(part, &|rows| {
            let shape = (rows.count() * width, self.columns());
            let product = self.data_product(&rows.tensor().reshape(shape)?)?;
            Vectors::new(product.reshape((rows.count(), self.size()))?)
        })?;
        match self.l2 {
            0.0 => Ok(product),
            l2 => product.add_scaled(&vec![l2; vectors.count()], vectors),
        }
    }

    fn dense(&self, dtype: DType) -> Result<SymmetricMatrix> {
        self.matrix(None, dtype)
    }

    /// The feature axes with the largest second moment, in all output directions.
    fn principal_block(&self, size: usize) -> Result<Option<PrincipalBlock>> {
        let width = self.curvature.width();
        let axes = self.strongest(size / width)?;
        if axes.is_empty() {
            return Ok(Some(PrincipalBlock {
                positions: Vec::new(),
                matrix: SymmetricMatrix::F64(SquareMatrix::zeros(0)),
            }));
        }
        let columns = self.columns();
        let position = |direction: usize| {
            axes.iter()
                .map(move |&axis| direction * columns + axis as usize)
        };
        Ok(Some(PrincipalBlock {
            positions: (0..width).flat_map(position).collect(),
            matrix: self.matrix(Some(&axes), self.dtype())?,
        }))
    }

    /// (1/n) Σ_i w_i[c, c] a_i², a matrix product of the weights and the squared inputs.
    fn diagonal(&self) -> Result<Vec<f64>> {
        let (width, columns) = (self.curvature.width(), self.columns());
        let device = self.device();
        let mut sum = Tensor::zeros((width, columns), DType::F64, &device)?;
        for chunk in self.chunks(self.row_chunk) {
            let curvature = self.curvature.narrow(chunk.start, chunk.len())?;
            let weights = curvature.diagonals()?;
            let weights = Tensor::from_vec(weights, (chunk.len(), width), &device)?;
            let inputs = self.inputs.chunk(chunk)?.to_dtype(DType::F64)?;
            sum = (sum + weights.t()?.matmul(&inputs.sqr()?)?)?;
        }
        let sums = sum.flatten_all()?.to_vec1::<f64>()?;
        let mean = |sum: f64| sum / self.count() as f64 + self.l2;
        Ok(sums.into_iter().map(mean).collect())
    }

    fn rounding(&self) -> Result<Rounding> {
        self.rounding_bounds()
    }

    fn on_images(&self, positions: &[u32]) -> Result<Box<dyn LinearOperator + '_>> {
        let index = Tensor::new(positions, self.inputs.device())?;
        Ok(Box::new(Self {
            inputs: self.inputs.select(positions)?.into(),
            curvature: self.curvature.select(&index)?,
            ..*self
        }))
    }

    fn image_count(&self) -> usize {
        self.count()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
