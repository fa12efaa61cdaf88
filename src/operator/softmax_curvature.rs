//! The curvature of the cross-entropy in the logits, applied in place to many logit directions at once.
//!
//! In all C classes it is diag(π) − ππᵀ. With the direction z shifted so that it is 0 at the most probable class (the
//! matrix does not see shifts), the product is π_c (z_c − Σ_k π_k z_k), and no difference of nearly equal numbers is left
//! where one π is close to 1.
//!
//! In the C − 1 axes U of [`HeadCoordinates`](crate::derivative::head::HeadCoordinates) it is Uᵀ(diag(π) − ππᵀ)U, written out for each image as
//! Σ_k π_k v_k v_kᵀ − (Σ π_k v_k)(Σ π_k v_k)ᵀ with v_k the difference of row k of U and the row of the most probable class,
//! again without cancellation.
//!
//! On the CPU this is one parallel pass. On other devices the matrices of all images are written out beforehand where they are
//! not too many numbers ([`SoftmaxCurvature::written`]) and the product is one batched matrix product; else it is composed from
//! tensor operations.

use crate::Result;
use crate::data::moved;
use crate::product::Real;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::ops::{AddAssign, Mul, Sub};

/// What one pass over the directions computes in.
pub(super) trait Scalar:
    Real + Default + Sub<Output = Self> + Mul<Output = Self> + AddAssign
{
}
impl Scalar for f32 {}
impl Scalar for f64 {}

/// The softmax curvature of a row of images.
#[derive(Debug, Clone)]
pub(super) struct SoftmaxCurvature {
    /// π, `[m, C]`.
    probabilities: Tensor,
    /// U `[C, C − 1]`, row-major; `None`: all C classes.
    axes: Option<Tensor>,
    /// The curvatures, `[m, width, width]`.
    matrices: Option<Tensor>,
}

impl SoftmaxCurvature {
    pub(super) fn new(probabilities: Tensor, axes: Option<Tensor>) -> Self {
        Self {
            probabilities,
            axes,
            matrices: None,
        }
    }

    /// The same with the matrices of all images written out on their device, in the precision of the probabilities, where
    /// these are at most `most` numbers.
    pub(super) fn written(self, most: usize) -> Result<Self> {
        if self.probabilities.dims()[0] * self.width().pow(2) > most {
            return Ok(self);
        }
        let matrices = self.matrices_in(self.probabilities.dtype())?;
        Ok(Self {
            matrices: Some(matrices),
            ..self
        })
    }

    /// The curvatures written out on their device, `[m, width, width]`.
    pub(super) fn matrices_in(&self, dtype: DType) -> Result<Tensor> {
        if let Some(matrices) = &self.matrices
            && matrices.dtype() == dtype
        {
            return Ok(matrices.clone());
        }
        let shape = (self.probabilities.dims()[0], self.width(), self.width());
        let matrices = Tensor::from_vec(self.written_out()?, shape, &Device::Cpu)?;
        moved(&matrices.to_dtype(dtype)?, self.probabilities.device())
    }

    /// The most numbers that one entry of a product goes through: a row of W, or the sums below with what they may cancel.
    pub(super) fn longest_chain(&self) -> f64 {
        let (classes, width) = (self.probabilities.dims()[1] as f64, self.width() as f64);
        if self.probabilities.device().is_cpu() || self.matrices.is_some() {
            return width;
        }
        // With q = 1 − π of the most probable class and |t| ≤ √2 ‖z‖ for its differences t, `composed` is off by at most
        // 4√2 γ q ‖z‖ of chains of 2w + C + 8 terms, and q ≤ trace(W) ≤ √w ‖W‖.
        4.0 * 2f64.sqrt() * width.sqrt() * (2.0 * width + classes + 8.0)
    }

    /// C, or C − 1 in axes.
    pub(super) fn width(&self) -> usize {
        self.axes
            .as_ref()
            .map_or(self.probabilities.dims()[1], |axes| axes.dims()[1])
    }

    /// The images in a range, or those at the given positions.
    pub(super) fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        Ok(Self {
            probabilities: self.probabilities.narrow(0, start, count)?,
            axes: self.axes.clone(),
            matrices: (self.matrices.as_ref())
                .map(|matrices| matrices.narrow(0, start, count))
                .transpose()?,
        })
    }

    /// The images at the given positions, in that order.
    pub(super) fn select(&self, positions: &Tensor) -> Result<Self> {
        Ok(Self {
            probabilities: self.probabilities.index_select(positions, 0)?,
            axes: self.axes.clone(),
            matrices: (self.matrices.as_ref())
                .map(|matrices| matrices.index_select(positions, 0))
                .transpose()?,
        })
    }

    /// Replaces every logit direction in `directions` `[m, columns]`, columns = k·width, k to a row, by its product with that
    /// row's curvature.
    pub(super) fn apply_on_host<T: Scalar>(
        &self,
        directions: &mut [T],
        columns: usize,
    ) -> Result<()> {
        let probabilities = self.probabilities.to_dtype(T::DTYPE)?.flatten_all()?;
        let probabilities = probabilities.to_vec1::<T>()?;
        let axes = self.axes.as_ref().map(values).transpose()?;
        let (classes, width) = (self.probabilities.dims()[1], self.width());
        directions
            .par_chunks_exact_mut(columns)
            .zip(probabilities.par_chunks_exact(classes))
            .for_each(|(row, weights)| match &axes {
                None => in_all_classes(row, weights),
                Some(axes) => in_axes(row, weights, axes, width),
            });
        Ok(())
    }

    /// The same from tensor operations, on any device.
    pub(super) fn apply(&self, directions: &Tensor) -> Result<Tensor> {
        let (rows, columns) = directions.dims2()?;
        let width = self.width();
        match &self.matrices {
            None => self.composed(directions, columns / width),
            Some(matrices) => {
                let directions = directions.reshape((rows, columns / width, width))?;
                Ok(directions.matmul(matrices)?.reshape((rows, columns))?)
            }
        }
    }

    /// Logits, their differences to those of the most probable class, their product by the module's formula, and back: `count`
    /// directions to a row.
    fn composed(&self, directions: &Tensor, count: usize) -> Result<Tensor> {
        let (rows, columns) = directions.dims2()?;
        let width = self.width();
        let weights = self.probabilities.unsqueeze(1)?;
        let logits = match &self.axes {
            None => directions.reshape((rows, count, width))?,
            Some(axes) => directions
                .reshape((rows * count, width))?
                .matmul(&axes.to_dtype(directions.dtype())?.t()?)?
                .reshape((rows, count, ()))?,
        };
        let top = self.probabilities.argmax(1)?.reshape((rows, 1, 1))?;
        let top = top.broadcast_as((rows, count, 1))?.contiguous()?;
        let logits = logits.broadcast_sub(&logits.contiguous()?.gather(&top, 2)?)?;
        let mean = logits.broadcast_mul(&weights)?.sum_keepdim(2)?;
        let product = logits.broadcast_sub(&mean)?.broadcast_mul(&weights)?;
        let product = match &self.axes {
            None => product,
            Some(axes) => product
                .reshape((rows * count, ()))?
                .matmul(&axes.to_dtype(directions.dtype())?)?,
        };
        Ok(product.reshape((rows, columns))?)
    }

    /// The curvature of every image written out, `[m, width, width]` in row-major order, f64.
    pub(super) fn written_out(&self) -> Result<Vec<f64>> {
        let probabilities = values(&self.probabilities)?;
        let classes = self.probabilities.dims()[1];
        let width = self.width();
        let axes = match &self.axes {
            Some(axes) => values(axes)?,
            None => (0..classes * classes)
                .map(|i| f64::from(u8::from(i / classes == i % classes)))
                .collect(),
        };
        let mut weights = vec![0.0; self.probabilities.dims()[0] * width * width];
        weights
            .par_chunks_exact_mut(width * width)
            .zip(probabilities.par_chunks_exact(classes))
            .for_each(|(weights, row)| write_out(row, &axes, weights));
        Ok(weights)
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = moved(tensor, &Device::Cpu)?.to_dtype(DType::F64)?;
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// Uᵀ(diag(π) − ππᵀ)U of one image by the formula of the module's head, into `[width, width]`.
fn write_out(row: &[f64], axes: &[f64], curvature: &mut [f64]) {
    let width = axes.len() / row.len();
    let top = most_probable(row);
    let reference = &axes[top * width..][..width];
    let (mut mean, mut difference) = (vec![0.0; width], vec![0.0; width]);
    curvature.fill(0.0);
    for (class, &weight) in row.iter().enumerate() {
        if class == top {
            continue;
        }
        for (i, value) in difference.iter_mut().enumerate() {
            *value = axes[class * width + i] - reference[i];
            mean[i] += weight * *value;
        }
        for (i, line) in curvature.chunks_exact_mut(width).enumerate() {
            let factor = weight * difference[i];
            line.iter_mut()
                .zip(&difference)
                .for_each(|(value, &other)| *value += factor * other);
        }
    }
    for (i, line) in curvature.chunks_exact_mut(width).enumerate() {
        line.iter_mut()
            .zip(&mean)
            .for_each(|(value, &other)| *value -= mean[i] * other);
    }
}

fn most_probable<T: PartialOrd>(row: &[T]) -> usize {
    (1..row.len()).fold(
        0,
        |best, class| if row[class] > row[best] { class } else { best },
    )
}

fn in_all_classes<T: Scalar>(row: &mut [T], weights: &[T]) {
    let top = most_probable(weights);
    for logits in row.chunks_exact_mut(weights.len()) {
        let (shift, mut mean) = (logits[top], T::default());
        for (logit, &weight) in logits.iter_mut().zip(weights) {
            *logit -= shift;
            mean += weight * *logit;
        }
        logits
            .iter_mut()
            .zip(weights)
            .for_each(|(logit, &weight)| *logit = weight * (*logit - mean));
    }
}

/// The image's matrix is written out once, C·width² operations, and multiplies all its directions.
fn in_axes<T: Scalar>(row: &mut [T], weights: &[T], axes: &[f64], width: usize) {
    let weights: Vec<f64> = weights.iter().map(|weight| weight.to_f64()).collect();
    let mut matrix = vec![0.0; width * width];
    write_out(&weights, axes, &mut matrix);
    let matrix: Vec<T> = matrix.into_iter().map(T::from_f64).collect();
    let mut product = vec![T::default(); width];
    for direction in row.chunks_exact_mut(width) {
        product.fill(T::default());
        for (&value, line) in direction.iter().zip(matrix.chunks_exact(width)) {
            product
                .iter_mut()
                .zip(line)
                .for_each(|(sum, &entry)| *sum += value * entry);
        }
        direction.copy_from_slice(&product);
    }
}
