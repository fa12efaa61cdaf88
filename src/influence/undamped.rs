//! Whether a curvature without L2 term and damping has an inverse.
//!
//! The null space of a head's curvature holds every axis of the features along which no training image has anything. What an
//! iteration makes there of a query is rounding divided by rounding: a residual in the same rounded numbers is small, and so it ends
//! as converged. Through blocks it is the space that the gradients of all rows of a Gauss–Newton matrix's root leave out.

use super::Examples;
use crate::solve::Method;
use crate::{Error, Result};
use candle_core::DType;

/// Below this share of the largest one an axis' root mean square is nothing, in units of what numbers are rounded by.
const NOTHING: f64 = 100.0;

/// `shift`: L2 term and damping. `training` is in its Kronecker axes.
///
/// # Errors
/// Without either, training images that do not determine the parameters, for a method that divides by all of the curvature.
pub(super) fn check_determined(method: Method, shift: f64, training: &Examples) -> Result<()> {
    if shift > 0.0 || !divides_by_all(method) {
        return Ok(());
    }
    let (images, columns) = (training.count(), training.axes_inputs().columns());
    let empty = if images < columns {
        columns - images
    } else {
        empty_axes(training)?
    };
    if empty == 0 {
        return Ok(());
    }
    let finer = match training.axes_inputs().dtype() {
        DType::F64 => "",
        _ => ", or use --precision f64 where features differ much in size",
    };
    let reason = format!(
        "0 without an L2 term leaves a singular curvature: {images} training images say nothing along {empty} of the {columns} axes of features and bias, but for rounding; raise it{finer}"
    );
    Err(Error::config("damping", reason))
}

/// The same of a Gauss–Newton matrix with so many `rows` in its root, for so many `parameters`.
///
/// # Errors
/// Fewer rows than parameters, for such a method; but for `ekfac`, whose diagonal in the layers' axes may have no zero.
pub(super) fn check_spanned(
    method: Method,
    shift: f64,
    rows: usize,
    parameters: usize,
) -> Result<()> {
    let divides = divides_by_all(method) && method != Method::Ekfac;
    if shift > 0.0 || !divides || rows >= parameters {
        return Ok(());
    }
    let reason = format!(
        "0 without an L2 term leaves a singular curvature: its {rows} gradients (training images × (classes − 1)) do not span {parameters} parameters; raise it"
    );
    Err(Error::config("damping", reason))
}

fn divides_by_all(method: Method) -> bool {
    matches!(
        method,
        Method::Cg | Method::Ekfac | Method::Lissa | Method::Astra
    )
}

/// How many axes no image has anything along.
fn empty_axes(training: &Examples) -> Result<usize> {
    let inputs = training.axes_inputs();
    let mut squares = vec![0.0; inputs.columns()];
    for step in inputs.steps() {
        let sums = inputs.chunk(step)?.to_dtype(DType::F64)?.sqr()?.sum(0)?;
        let sums = sums.to_vec1::<f64>()?;
        squares
            .iter_mut()
            .zip(sums)
            .for_each(|(all, sum)| *all += sum);
    }
    // Axes are the eigenvectors of a second moment in f64, which knows nothing of axes smaller than the root of its rounding.
    let rounding = match inputs.dtype() {
        DType::F64 => f64::EPSILON.sqrt(),
        _ => NOTHING * f64::from(f32::EPSILON),
    };
    let largest = squares.iter().copied().fold(0.0, f64::max);
    let nothing = rounding * rounding * largest;
    Ok(squares.iter().filter(|&&square| square <= nothing).count())
}
