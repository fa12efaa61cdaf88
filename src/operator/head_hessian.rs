//! The Hessian of the head's training objective, in closed form.
//!
//! H = (1/n) Σ_i (diag(π_i) − π_i π_iᵀ) ⊗ a_i a_iᵀ + l2·I (Utrera et al. 2020 use the sum over i and no l2; see also
//! Koh & Liang 2017, section 2). The loss is convex in the logits and the logits are linear in θ, so that the
//! Gauss–Newton matrix of the head *is* this Hessian.
//!
//! A product with k vectors V `[k·C, d + 1]` is two matrix products per chunk of images: the logit directions
//! Z = A Vᵀ `[m, k·C]`, then, after the softmax curvature has been applied to Z, the pull-back Zᵀ A.

use super::{LinearOperator, Structure, Vectors, softmax_curvature};
use crate::Result;
use crate::derivative::head::{HeadInputs, SoftmaxHead, outer_product};
use crate::error::Error;
use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, ArrayView2, s};
use std::ops::Range;

/// Images that go through one matrix product. Fixed, so that sums run in the same order whatever the block of vectors.
const ROW_CHUNK: usize = 1024;
/// Upper bound of the elements of Z, 64 MiB in f32: larger blocks of vectors are taken in parts.
const DIRECTION_ELEMENTS: usize = 1 << 24;

/// The curvature of mean cross-entropy + l2/2·‖θ‖² over a training set, parameters as in [`crate::derivative::head`].
pub struct HeadHessian {
    inputs: Tensor,
    probabilities: Tensor,
    l2: f64,
    row_chunk: usize,
}

impl HeadHessian {
    /// The Hessian at `head` over `inputs`.
    ///
    /// # Errors
    /// An l2 that is negative or not finite, or inputs that do not fit the head.
    pub fn new(head: &SoftmaxHead, inputs: &HeadInputs, l2: f64) -> Result<Self> {
        if !(l2.is_finite() && l2 >= 0.0) {
            return Err(Error::config(
                "l2",
                format!("{l2} is not a number of 0 or more"),
            ));
        }
        let probabilities = head.outputs(inputs)?.probabilities;
        Ok(Self {
            inputs: inputs.rows().clone(),
            probabilities,
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

    fn count(&self) -> usize {
        self.inputs.dims()[0]
    }

    fn columns(&self) -> usize {
        self.inputs.dims()[1]
    }

    fn class_count(&self) -> usize {
        self.probabilities.dims()[1]
    }

    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        let (count, size) = (self.count(), self.row_chunk);
        (0..count)
            .step_by(size)
            .map(move |start| start..count.min(start + size))
    }

    /// Σ_i over all chunks for `vectors` `[k·C, d + 1]`, before the division by n.
    fn data_product(&self, vectors: &Tensor) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for chunk in self.chunks() {
            let inputs = self.inputs.narrow(0, chunk.start, chunk.len())?;
            let probabilities = self.probabilities.narrow(0, chunk.start, chunk.len())?;
            let directions =
                softmax_curvature::apply(inputs.matmul(&vectors.t()?)?, &probabilities)?;
            let part = directions.t()?.matmul(&inputs)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => (sum + part)?,
            });
        }
        sum.map_or_else(|| Ok(vectors.zeros_like()?), Ok)
    }

    /// Adds one chunk's share of the blocks (c, k ≥ c) to the upper block triangle of `matrix`.
    fn add_dense_chunk(&self, chunk: Range<usize>, matrix: &mut Array2<f64>) -> Result<()> {
        let columns = self.columns();
        let on_host = |tensor: &Tensor| {
            tensor
                .narrow(0, chunk.start, chunk.len())?
                .to_device(&Device::Cpu)?
                .to_dtype(DType::F64)?
                .contiguous()
        };
        let inputs = on_host(&self.inputs)?;
        let probabilities = on_host(&self.probabilities)?.to_vec2::<f64>()?;
        for class in 0..self.class_count() {
            let weights = class_weights(&probabilities, class)?;
            let product = inputs.t()?.matmul(&outer_product(&weights, &inputs)?)?;
            let values = product.flatten_all()?.to_vec1::<f64>()?;
            let width = values.len() / columns;
            let product = ArrayView2::from_shape((columns, width), &values)
                .map_err(ndarray_linalg::error::LinalgError::from)?;
            let start = class * columns;
            let mut target = matrix.slice_mut(s![start..start + columns, start..start + width]);
            target += &product;
        }
        Ok(())
    }
}

/// The entries (class, k) of diag(π) − ππᵀ for k = class…C−1, `[m, C − class]`; the diagonal as π_c Σ_{k≠c} π_k.
fn class_weights(probabilities: &[Vec<f64>], class: usize) -> Result<Tensor> {
    let mut weights = Vec::new();
    for row in probabilities {
        let others: f64 = row
            .iter()
            .enumerate()
            .filter(|&(k, _)| k != class)
            .map(|(_, p)| p)
            .sum();
        weights.push(row[class] * others);
        weights.extend(row[class + 1..].iter().map(|p| -row[class] * p));
    }
    let width = weights.len() / probabilities.len();
    Ok(Tensor::from_vec(
        weights,
        (probabilities.len(), width),
        &Device::Cpu,
    )?)
}

impl LinearOperator for HeadHessian {
    fn size(&self) -> usize {
        self.class_count() * self.columns()
    }

    fn structure(&self) -> Structure {
        // The shift of all logits is in the null space of the data term, always.
        if self.l2 > 0.0 {
            Structure::PositiveDefinite
        } else {
            Structure::PositiveSemidefinite
        }
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        vectors.check_size(self.size())?;
        let classes = self.class_count();
        let part = (DIRECTION_ELEMENTS / (self.row_chunk.min(self.count()) * classes)).max(1);
        let mut products = Vec::new();
        for start in (0..vectors.count()).step_by(part) {
            let rows = vectors.narrow(start..vectors.count().min(start + part))?;
            let matrix = rows
                .tensor()
                .reshape((rows.count() * classes, self.columns()))?;
            let product = (self.data_product(&matrix)? / self.count() as f64)?;
            products.push(Vectors::new(product.reshape((rows.count(), self.size()))?)?);
        }
        let product = Vectors::concatenate(&products)?;
        if self.l2 == 0.0 {
            Ok(product)
        } else {
            product.add_scaled(&vec![self.l2; vectors.count()], vectors)
        }
    }

    fn dense(&self) -> Result<Array2<f64>> {
        let size = self.size();
        let mut matrix = Array2::<f64>::zeros((size, size));
        for chunk in self.chunks() {
            self.add_dense_chunk(chunk, &mut matrix)?;
        }
        let scale = 1.0 / self.count() as f64;
        for row in 0..size {
            matrix[[row, row]] = matrix[[row, row]] * scale + self.l2;
            for column in row + 1..size {
                let value = matrix[[row, column]] * scale;
                matrix[[row, column]] = value;
                matrix[[column, row]] = value;
            }
        }
        Ok(matrix)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
