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
//! On the CPU an image's matrix is written out, C·w² operations, and multiplies all its directions, w² each; of many classes two
//! matrix products take the directions of all images to the logits and back, 2·C·w each, and none is written out. On other devices
//! the matrices of all images are written out beforehand where they are not too many numbers ([`SoftmaxCurvature::written`]) and
//! the product is one batched matrix product; else it is composed from tensor operations.

mod image;

use crate::Result;
use crate::data::moved;
use crate::in_parallel::{for_each_row, mapped};
use crate::product::{Real, product, product_here};
use candle_core::{DType, Device, Tensor};
use faer::{Accum, Mat, MatMut, MatRef};
use image::{
    complements, in_all_classes, in_axes, most_probable, write_diagonal, write_laplacian,
    write_out, write_out_many,
};
use rayon::prelude::*;
use std::ops::{AddAssign, Mul, Sub};

/// From so many axes on products go by the logits, and what is written out is made by matrix products.
const MANY: usize = 32;

/// Whether products on the host along so many class axes go by the logits of all classes.
pub(crate) fn goes_by_logits(axes: usize) -> bool {
    axes >= MANY
}

/// Probabilities that are held in f64 at once: 64 MiB.
const HELD: usize = 1 << 23;

/// Logits of directions that are at work at once: 256 KiB in f32.
const CACHED: usize = 1 << 16;

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
        let on_host = self.probabilities.device().is_cpu();
        if on_host && !self.goes_by_logits() || self.matrices.is_some() {
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
        let weights = |image: usize| &probabilities[image * classes..][..classes];
        match axes {
            None => for_each_row(directions, columns, &|image, row| {
                in_all_classes(row, weights(image));
            }),
            Some(axes) if self.goes_by_logits() => {
                let axes: Vec<T> = axes.into_iter().map(T::from_f64).collect();
                by_logits(directions, columns, &probabilities, (&axes, width));
            }
            Some(axes) => for_each_row(directions, columns, &|image, row| {
                in_axes(row, weights(image), &axes, width);
            }),
        }
        Ok(())
    }

    fn goes_by_logits(&self) -> bool {
        self.axes.is_some() && goes_by_logits(self.width())
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
        let axes = self.axes.as_ref().map(values).transpose()?;
        let mut curvatures = vec![0.0; self.probabilities.dims()[0] * width * width];
        for_each_row(&mut curvatures, width * width, &|image, curvature| {
            let row = &probabilities[image * classes..][..classes];
            match &axes {
                None => write_laplacian(row, curvature),
                Some(axes) if width >= MANY => write_out_many(row, axes, curvature),
                Some(axes) => write_out(row, axes, curvature),
            }
        });
        Ok(curvatures)
    }

    /// The diagonals of the curvatures, `[m, width]` in row-major order: Σ_k π_k v_kc² − (Σ_k π_k v_kc)².
    pub(super) fn diagonals(&self) -> Result<Vec<f64>> {
        let probabilities = values(&self.probabilities)?;
        let (classes, width) = (self.probabilities.dims()[1], self.width());
        let axes = self.axes.as_ref().map(values).transpose()?;
        let mut diagonals = vec![0.0; self.probabilities.dims()[0] * width];
        for_each_row(&mut diagonals, width, &|image, diagonal| {
            let row = &probabilities[image * classes..][..classes];
            match &axes {
                None => {
                    let others = complements(row);
                    let products = row.iter().zip(others).map(|(own, others)| own * others);
                    (diagonal.iter_mut().zip(products)).for_each(|(entry, value)| *entry = value);
                }
                Some(axes) => write_diagonal(row, axes, diagonal),
            }
        });
        Ok(diagonals)
    }

    /// ‖W_i‖ of every image, or a little more; the axes being orthonormal, that of diag(π) − ππᵀ: with t the most probable class and S
    /// the sum of the squares of the others, its square is at most Σ_c (π_c (1 − π_c))² + 2 π_t² S + S².
    pub(super) fn norms(&self) -> Result<Vec<f64>> {
        let probabilities = values(&self.probabilities)?;
        let classes = self.probabilities.dims()[1];
        let norm = |image: usize| {
            let row = &probabilities[image * classes..][..classes];
            let top = most_probable(row);
            let diagonal = row.iter().zip(complements(row));
            let diagonal: f64 = diagonal.map(|(own, others)| (own * others).powi(2)).sum();
            let others = row.iter().enumerate().filter(|(class, _)| *class != top);
            let squares: f64 = others.map(|(_, own)| own * own).sum();
            let beside = 2.0 * row[top].powi(2) * squares + squares * squares;
            (1.0 + 1e-9) * (diagonal + beside).sqrt()
        };
        Ok(mapped(probabilities.len() / classes, &norm))
    }

    /// Σ_i f_i W_i, `[width, width]`, with a factor for each image. Between the logits it is a Laplacian, whose diagonal is summed
    /// without cancellation, and the axes see no shift.
    pub(super) fn weighted_sum(&self, factors: &[f64]) -> Result<Mat<f64>> {
        let classes = self.probabilities.dims()[1];
        let mut sum = Mat::<f64>::zeros(classes, classes);
        let mut diagonal = vec![0.0; classes];
        let size = (HELD / classes).max(1);
        for (place, factors) in factors.chunks(size).enumerate() {
            let rows = self.probabilities.narrow(0, place * size, factors.len())?;
            let rows = values(&rows)?;
            let mut weighted = rows.clone();
            for ((row, weighted), factor) in (rows.chunks_exact(classes))
                .zip(weighted.chunks_exact_mut(classes))
                .zip(factors)
            {
                weighted.iter_mut().for_each(|value| *value *= factor);
                let terms = weighted.iter().zip(complements(row));
                (diagonal.iter_mut().zip(terms)).for_each(|(sum, (own, rest))| *sum += own * rest);
            }
            let [rows, weighted] = [&rows, &weighted]
                .map(|rows| MatRef::from_column_major_slice(rows, classes, factors.len()));
            product(sum.as_mut(), Accum::Add, weighted, rows.transpose(), -1.0);
        }
        (diagonal.iter().enumerate()).for_each(|(class, &value)| sum[(class, class)] = value);
        let Some(axes) = &self.axes else {
            return Ok(sum);
        };
        let (axes, width) = (values(axes)?, self.width());
        let axes = MatRef::from_row_major_slice(&axes, classes, width);
        let mut half = Mat::<f64>::zeros(classes, width);
        product(half.as_mut(), Accum::Replace, sum.as_ref(), axes, 1.0);
        let mut whole = Mat::<f64>::zeros(width, width);
        product(
            whole.as_mut(),
            Accum::Replace,
            axes.transpose(),
            half.as_ref(),
            1.0,
        );
        Ok(whole)
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = moved(tensor, &Device::Cpu)?.to_dtype(DType::F64)?;
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// To the logits of all classes, their product, and back: directions `[m, columns]`, columns = k·width, and axes `[C, width]`. So
/// many images at a time as leave their logits in a core's cache.
fn by_logits<T: Scalar>(
    directions: &mut [T],
    columns: usize,
    probabilities: &[T],
    (axes, width): (&[T], usize),
) {
    let classes = axes.len() / width;
    let an_image = columns / width * classes;
    let images = (CACHED / an_image).max(1);
    (directions.par_chunks_mut(images * columns))
        .zip(probabilities.par_chunks(images * classes))
        .for_each_init(Vec::new, |logits, (directions, probabilities)| {
            let count = directions.len() / width;
            logits.resize(count * classes, T::default());
            // Row-major [m·k, C] is column-major [C, m·k], and so on.
            product_here(
                MatMut::from_column_major_slice_mut(logits, classes, count),
                Accum::Replace,
                MatRef::from_row_major_slice(axes, classes, width),
                MatRef::from_column_major_slice(directions, width, count),
                T::from_f64(1.0),
            );
            (logits.chunks_exact_mut(an_image))
                .zip(probabilities.chunks_exact(classes))
                .for_each(|(row, weights)| in_all_classes(row, weights));
            product_here(
                MatMut::from_column_major_slice_mut(directions, width, count),
                Accum::Replace,
                MatRef::from_column_major_slice(axes, width, classes),
                MatRef::from_column_major_slice(logits, classes, count),
                T::from_f64(1.0),
            );
        });
}
