//! Orthogonal coordinates in which the head's curvature is small, definite and nearly diagonal.
//!
//! A gradient of the head is r ⊗ a with Σ_c r_c = 0: adding one number to all logits changes no probability. Hence every
//! gradient and every A⁻¹∇ℓ lies in U ⊗ ℝ^{d+1}, U the C − 1 dimensional complement of (1, …, 1) in class space, and
//! there the data Hessian has lost the null space it always has in all C classes.
//!
//! In U and in feature space the axes are the eigenvectors of the Kronecker factors (Martens & Grosse 2015, George et al.
//! 2018): the mean softmax curvature S = (1/n) Σ Uᵀ(diag π − ππᵀ)U and the second moment M = (1/n) Σ aaᵀ. In these axes
//! S ⊗ M is diagonal, so that EK-FAC is a division by the curvature's own diagonal, a Cholesky factor in f32 loses only
//! what the *scaled* condition number costs (Demmel 1989), and inner products, norms and scores are what they were.
//!
//! Layout: `classes` `[C, C − 1]` and `features` `[d + 1, d + 1]`, orthonormal columns; r̃ = r·`classes`,
//! ã = a·`features`, parameters `[C − 1, d + 1]` row by row.

use super::strong_axes::strong_axes;
use super::{HeadInputs, HeadOutputs};
use crate::data::{Rows, moved};
use crate::in_parallel::for_each_row;
use crate::product::{AccurateFactor, product, self_product, tensor_product};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use faer::{Accum, Mat, MatRef, Side};
use std::path::Path;

/// Images whose probabilities are held in f64 at once.
const HELD: usize = 8192;
/// Images whose inputs are.
const ROTATED: usize = 1024;

/// The axes, f64; those of classes on the host, those of features where the inputs that they were made of are used.
#[derive(Debug, Clone)]
pub struct HeadCoordinates {
    classes: Tensor,
    features: Tensor,
    /// Whether inputs in f64 are summed as if exactly.
    accurate: bool,
}

/// What is known of coordinates.
#[derive(Debug, Clone, Copy)]
pub struct CoordinateError {
    /// An element of ã is off by at most u |ã_j| + `element` ‖a‖, u the unit roundoff of f64.
    pub element: f64,
    /// QᵀQ lies between (1 ± `axes`) times the identity, Q both sets of axes together.
    pub axes: f64,
}

/// At least ‖QᵀQ − I‖ of columns Q, which are cut in `factor`.
fn departure(columns: &Tensor, factor: &AccurateFactor) -> Result<f64> {
    let (rows, count) = columns.dims2()?;
    let products = factor.product(&columns.t()?.contiguous()?)?;
    let identity = Tensor::eye(count, DType::F64, columns.device())?;
    let squares = (products - identity)?.sqr()?.sum_all()?;
    let rounding = 1.1 * (count as f64 * factor.error() + f64::EPSILON * (rows as f64).sqrt());
    Ok(squares.to_scalar::<f64>()?.sqrt() * (1.0 + 1e-9) + rounding)
}

impl HeadCoordinates {
    /// The Kronecker axes of the training images.
    ///
    /// # Errors
    /// An eigenvalue computation that fails, or a tensor operation.
    pub fn of(inputs: &HeadInputs, outputs: &HeadOutputs) -> Result<Self> {
        let features = eigenvectors(&second_moment(inputs.rows())?, "the features' moment")?;
        Self::along(&features, (inputs, outputs))
    }

    /// Axes of which the strongest are about the Kronecker ones, made without a whole eigenproblem: for what is as right in
    /// any axes, and quick on a device. Not for EK-FAC and what is like it.
    ///
    /// # Errors
    /// As for [`HeadCoordinates::of`].
    pub fn of_strong_axes(inputs: &HeadInputs, outputs: &HeadOutputs) -> Result<Self> {
        Self::along(&strong_axes(inputs.rows())?, (inputs, outputs))
    }

    fn along(features: &Mat<f64>, (inputs, outputs): (&HeadInputs, &HeadOutputs)) -> Result<Self> {
        let contrasts = contrasts(outputs.class_count());
        let curvature = mean_curvature(&contrasts, &outputs.probabilities)?;
        let classes = &contrasts * eigenvectors(&curvature, "the mean softmax curvature")?;
        Ok(Self {
            classes: tensor(classes.as_ref())?,
            // Once for all sides.
            features: tensor(features.as_ref())?.to_device(inputs.rows().device())?,
            accurate: false,
        })
    }

    /// The same axes, along which inputs in f64 are rounded once ([`HeadCoordinates::error`]), for ten products in place of one: what a
    /// certificate is of are the inputs themselves.
    #[must_use]
    pub fn accurately(self) -> Self {
        Self {
            accurate: true,
            ..self
        }
    }

    /// `[C, C − 1]`, f64.
    pub fn classes(&self) -> &Tensor {
        &self.classes
    }

    /// `[d + 1, d + 1]`, f64.
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// ã `[n, d + 1]` in the precision of the inputs, summed in f64: what f32 leaves of an axis along which images have nothing is divided
    /// by the L2 term and the damping alone.
    ///
    /// # Errors
    /// Another number of features, or a tensor operation failed.
    pub fn inputs(&self, inputs: &HeadInputs) -> Result<Rows> {
        self.inputs_within(inputs, None)
    }

    /// The same; where the inputs are mapped, in a file in the folder `scratch` instead of in memory.
    ///
    /// # Errors
    /// As for [`HeadCoordinates::inputs`]; the file cannot be written.
    pub fn inputs_within(&self, inputs: &HeadInputs, scratch: Option<&Path>) -> Result<Rows> {
        let rows = inputs.rows();
        let axes = self.features.to_device(rows.device())?;
        let mut writer = rows.writer(axes.dims()[1], scratch)?;
        let accurate = match rows.dtype() {
            DType::F64 if self.accurate => Some(AccurateFactor::of(&axes)?),
            _ => None,
        };
        for step in rows.steps() {
            let chunk = rows.chunk(step)?;
            for start in (0..chunk.dim(0)?).step_by(ROTATED) {
                let part = chunk.narrow(0, start, ROTATED.min(chunk.dim(0)? - start))?;
                writer.push(&match &accurate {
                    Some(axes) => axes.product(&part)?,
                    None => {
                        let rotated = tensor_product(&part.to_dtype(DType::F64)?, &axes)?;
                        rotated.to_dtype(rows.dtype())?
                    }
                })?;
            }
        }
        writer.finish()
    }

    /// How far the coordinates of f64 inputs may be off from those along the axes as they stand, and these from orthonormal ones.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn error(&self, device: &Device) -> Result<CoordinateError> {
        let features = self.features.to_device(device)?;
        let factor = AccurateFactor::of(&features)?;
        let features_off = departure(&features, &factor)?;
        let classes_off = departure(&self.classes, &AccurateFactor::of(&self.classes)?)?;
        // What a column of classes has of (1, …, 1) is lost to gradients, which have nothing there.
        let sums = self.classes.sum(0)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        Ok(CoordinateError {
            element: match self.accurate {
                true => factor.error(),
                // A sum of so many products, in any order (Higham 2002, equation 3.5), with axes of length 1.
                false => {
                    0.6 * f64::EPSILON * (features.dims()[0] + 1) as f64 * (1.0 + features_off)
                }
            },
            axes: (1.0 + features_off) * (1.0 + classes_off + 2.0 * sums) - 1.0,
        })
    }

    /// r̃ `[n, C − 1]` in the precision of the outputs.
    ///
    /// # Errors
    /// Another number of classes, or a tensor operation failed.
    pub fn residuals(&self, outputs: &HeadOutputs) -> Result<Tensor> {
        let residuals = &outputs.residuals;
        let axes = self.classes.to_device(residuals.device())?;
        Ok(residuals.matmul(&axes.to_dtype(residuals.dtype())?)?)
    }
}

/// Orthonormal columns that span the complement of (1, …, 1): column k compares class k + 1 with the mean of those
/// before it (Helmert).
fn contrasts(classes: usize) -> Mat<f64> {
    Mat::from_fn(classes, classes - 1, |class, column| {
        let before = (column + 1) as f64;
        let length = (before * (before + 1.0)).sqrt();
        match class.cmp(&(column + 1)) {
            std::cmp::Ordering::Less => 1.0 / length,
            std::cmp::Ordering::Equal => -before / length,
            std::cmp::Ordering::Greater => 0.0,
        }
    })
}

/// S between the given columns, which are orthogonal to (1, …, 1): between the logits it is a Laplacian, whose diagonal is summed
/// without cancellation.
fn mean_curvature(columns: &Mat<f64>, probabilities: &Tensor) -> Result<Mat<f64>> {
    let probabilities = on_host(probabilities)?;
    let (count, classes) = probabilities.dims2()?;
    let scale = 1.0 / count as f64;
    let (mut mean, mut diagonal) = (Mat::<f64>::zeros(classes, classes), vec![0.0; classes]);
    for start in (0..count).step_by(HELD) {
        let height = HELD.min(count - start);
        let rows = probabilities.narrow(0, start, height)?.flatten_all()?;
        let rows = rows.to_vec1::<f64>()?;
        for row in rows.chunks_exact(classes) {
            let sum: f64 = row.iter().sum();
            let terms = row.iter().map(|own| scale * own * (sum - own));
            (diagonal.iter_mut().zip(terms)).for_each(|(sum, term)| *sum += term);
        }
        let rows = MatRef::from_column_major_slice(&rows, classes, height);
        product(mean.as_mut(), Accum::Add, rows, rows.transpose(), -scale);
    }
    (diagonal.iter().enumerate()).for_each(|(class, &value)| mean[(class, class)] = value);
    Ok(columns.transpose() * &mean * columns)
}

/// M, lower triangle.
fn second_moment(rows: &Rows) -> Result<Mat<f64>> {
    let (count, columns) = (rows.count(), rows.columns());
    if !rows.device().is_cpu() {
        return second_moment_on_device(rows);
    }
    let mut moment = Mat::<f64>::zeros(columns, columns);
    for step in rows.steps() {
        let height = step.len();
        let chunk = on_host(&rows.chunk(step)?)?;
        let values = chunk.flatten_all()?.to_vec1::<f64>()?;
        // Row-major [height, columns] is column-major [columns, height].
        let chunk = MatRef::from_column_major_slice(&values, columns, height);
        let scale = 1.0 / count as f64;
        self_product(moment.as_mut(), Accum::Add, chunk, scale);
    }
    Ok(moment)
}

/// M, made on the device of the rows and moved once.
fn second_moment_on_device(rows: &Rows) -> Result<Mat<f64>> {
    let (count, columns) = (rows.count(), rows.columns());
    let mut moment = Tensor::zeros((columns, columns), DType::F64, rows.device())?;
    for step in rows.steps() {
        let chunk = rows.chunk(step)?.to_dtype(DType::F64)?;
        moment = (moment + chunk.t()?.matmul(&chunk)?)?;
    }
    let values = on_host(&(moment / count as f64)?)?.flatten_all()?;
    // Row-major is column-major: it is symmetric.
    let values = values.to_vec1::<f64>()?;
    Ok(MatRef::from_column_major_slice(&values, columns, columns).to_owned())
}

/// Eigenvectors of a symmetric matrix given by its lower triangle, those of the largest eigenvalues first.
pub(super) fn eigenvectors(matrix: &Mat<f64>, what: &str) -> Result<Mat<f64>> {
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|reason| {
        let place = format!("its eigenvalues ({reason:?})");
        Error::non_finite(what, place, "look for extreme features")
    })?;
    Ok(eigen.U().reverse_cols().to_owned())
}

pub(super) fn on_host(tensor: &Tensor) -> Result<Tensor> {
    Ok(moved(tensor, &Device::Cpu)?.to_dtype(DType::F64)?)
}

pub(super) fn tensor(matrix: MatRef<f64>) -> Result<Tensor> {
    let (rows, columns) = matrix.shape();
    let mut values = vec![0.0; rows * columns];
    for_each_row(&mut values, columns, &|row, values| {
        (values.iter_mut().enumerate()).for_each(|(column, value)| *value = matrix[(row, column)]);
    });
    Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
}
