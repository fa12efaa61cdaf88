//! Leave-one-out by one exact Newton step instead of its first-order approximation.
//!
//! Leaving out image i takes away its own curvature too: θ₋ᵢ − θ ≈ (1/n)(A − (1/n) W_i ⊗ a_i a_iᵀ)⁻¹ ∇ℓ_i. With the leverage block
//! K_i = (I ⊗ a_i)ᵀA⁻¹(I ⊗ a_i), w × w, Woodbury's identity makes that A⁻¹(y_i ⊗ a_i)/n with y_i = (I − W_i K_i/n)⁻¹ r_i: the
//! scores are as before, with y in the place of r for the image that is left out. For one output it is the classical
//! division by 1 − h. Influence without it under-predicts by about that factor (Pregibon 1981; rescaled influence
//! functions, arXiv 2506.06656).
//!
//! W_i ⊗ a_i a_iᵀ/n is a part of A, so that the eigenvalues of W_i K_i/n are below 1 for A⁻¹, and for what leaves some of A⁻¹ out
//! (`pinv`, `arnoldi`). Those of another matrix may be above, and the image's scores then have the wrong sign: `ekfac` and `identity`
//! are refused, and so is an image of which a solve is that far off.

use super::Examples;
use super::scores::{check_solved, ranges};
use crate::operator::{HeadHessian, Vectors};
use crate::solve::{Inverse, Report};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use std::ops::Range;

/// The training images with y in the place of r, and how the w solves of each image ended, image by image; `block` right-hand
/// sides go in a step.
///
/// # Errors
/// A solve that diverged, an image whose leverage is not below 1 (by id), or a tensor operation failed.
pub fn corrected(
    training: &Examples,
    hessian: &HeadHessian,
    inverse: &dyn Inverse,
    block: usize,
) -> Result<(Examples, Vec<Report>)> {
    let width = training.residuals().dims()[1];
    let residuals = training
        .residuals()
        .to_dtype(DType::F64)?
        .to_vec2::<f64>()?;
    let mut values = Vec::with_capacity(training.count() * width);
    let mut reports = Vec::with_capacity(training.count() * width);
    for images in ranges(training.count(), (block / width).max(1)) {
        let (leverages, ended) = leverages(training, inverse, images.clone())?;
        reports.extend(ended);
        let curvatures = hessian.output_curvatures(images.clone())?;
        for (place, image) in images.enumerate() {
            let size = width * width;
            let curvature = &curvatures[place * size..][..size];
            let leverage = &leverages[place * size..][..size];
            let count = training.count();
            let largest = largest_eigenvalue(curvature, leverage, width) / count as f64;
            check_below_one(largest, training.ids()[image])?;
            values.extend(adjusted(&residuals[image], curvature, leverage, count));
        }
    }
    let left = training.residuals();
    let y = Tensor::from_vec(values, left.shape(), &Device::Cpu)?;
    let y = y.to_device(left.device())?.to_dtype(left.dtype())?;
    Ok((training.with_residuals(y), reports))
}

/// K of each image, `[images, w, w]`, and how the solves for it ended.
fn leverages(
    training: &Examples,
    inverse: &dyn Inverse,
    images: Range<usize>,
) -> Result<(Vec<f64>, Vec<Report>)> {
    let width = training.residuals().dims()[1];
    let solution = inverse.solve(&Vectors::new(training.output_gradients(images.clone())?)?)?;
    check_solved(&solution.reports, |row| {
        let image = training.ids()[images.start + row / width];
        format!("the leverage of training image {image}")
    })?;
    let inputs = training.axes_inputs().chunk(images)?;
    let (count, columns) = inputs.dims2()?;
    // [count, w·w, columns] · [count, columns, 1]
    let solutions = solution
        .value
        .tensor()
        .reshape((count, width * width, columns))?;
    let products = solutions.matmul(&inputs.unsqueeze(2)?.contiguous()?)?;
    let products = products.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
    Ok((products, solution.reports))
}

/// The largest eigenvalue of W K, which is that of the symmetric RᵀK R with W = R Rᵀ; not a number where none was found.
fn largest_eigenvalue(curvature: &[f64], leverage: &[f64], width: usize) -> f64 {
    let curvature = Mat::from_fn(width, width, |i, j| curvature[i * width + j]);
    let Ok(eigen) = curvature.self_adjoint_eigen(Side::Lower) else {
        return f64::NAN;
    };
    let (values, vectors) = (eigen.S().column_vector(), eigen.U());
    let root = Mat::from_fn(width, width, |i, j| {
        vectors[(i, j)] * values[j].max(0.0).sqrt()
    });
    // Symmetric but for what the solves are off by.
    let leverage = Mat::from_fn(width, width, |i, j| {
        0.5 * (leverage[i * width + j] + leverage[j * width + i])
    });
    let half = leverage.as_ref() * root.as_ref();
    let product = root.transpose() * half.as_ref();
    let values = product.self_adjoint_eigenvalues(Side::Lower);
    let largest = values.ok().and_then(|values| values.last().copied());
    largest.unwrap_or(f64::NAN)
}

/// Refuses an image of whose curvature more would leave than there is.
fn check_below_one(leverage: f64, id: usize) -> Result<()> {
    match leverage < 1.0 {
        true => Ok(()),
        false => Err(Error::mismatch(
            format!("leverage of training image {id}"),
            "less than 1, as of an exact inverse",
            format!("{leverage:.6}"),
            "use --precision f64, a lower --tolerance or --solver direct, raise --damping, or leave --correction out",
        )),
    }
}

/// (I − W K/n)⁻¹ r.
fn adjusted(residual: &[f64], curvature: &[f64], leverage: &[f64], count: usize) -> Vec<f64> {
    let width = residual.len();
    let system = Mat::from_fn(width, width, |row, column| {
        let product: f64 = (0..width)
            .map(|k| curvature[row * width + k] * leverage[k * width + column])
            .sum();
        f64::from(u8::from(row == column)) - product / count as f64
    });
    let right = Mat::from_fn(width, 1, |row, _| residual[row]);
    let y = system.partial_piv_lu().solve(&right);
    (0..width).map(|row| y[(row, 0)]).collect()
}
