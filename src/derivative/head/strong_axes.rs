//! Feature axes without a whole eigenproblem: the strongest few, and any orthogonal complement of them.
//!
//! Subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4) on M = (1/n) Σ aaᵀ from random vectors, Rayleigh–Ritz at
//! the end; then a QR factorisation gives all other axes. Enough for a factor in f32, whose errors the few strong axes (the
//! features' mean, first of all) would dominate, at 8·k·n·e operations on the device of the inputs where all eigenvectors take
//! 10·e³ on the processor.

use super::coordinates::{eigenvectors, on_host, tensor};
use crate::Result;
use crate::data::Rows;
use crate::data::random::{Purpose, generator};
use candle_core::{DType, Tensor};
use faer::Mat;
use rand_distr::{Distribution, StandardNormal};

/// Axes that are looked for.
const STRONG: usize = 64;
/// Products with M.
const PRODUCTS: usize = 4;

/// Orthonormal columns `[e, e]`, about the eigenvectors of the largest eigenvalues first.
pub(super) fn strong_axes(rows: &Rows) -> Result<Mat<f64>> {
    let size = rows.columns();
    let count = STRONG.min(size);
    let mut random = generator(Purpose::Projection, 0, 0, 0);
    let start = Mat::from_fn(size, count, |_, _| StandardNormal.sample(&mut random));
    let mut basis = orthonormal(&start);
    for _ in 1..PRODUCTS {
        basis = orthonormal(&product(rows, &basis)?);
    }
    let small = basis.transpose() * product(rows, &basis)?;
    let small = Mat::from_fn(count, count, |i, j| 0.5 * (small[(i, j)] + small[(j, i)]));
    let basis = &basis * eigenvectors(&small, "the features' moment")?;
    // The first columns are the basis but for their signs.
    Ok(basis.qr().compute_Q())
}

fn orthonormal(columns: &Mat<f64>) -> Mat<f64> {
    columns.qr().compute_thin_Q()
}

/// M times the columns of `basis` `[e, k]`.
fn product(rows: &Rows, basis: &Mat<f64>) -> Result<Mat<f64>> {
    let basis = tensor(basis.as_ref())?.to_device(rows.device())?;
    let mut sum = basis.zeros_like()?;
    for step in rows.steps() {
        let chunk = rows.chunk(step)?.to_dtype(DType::F64)?;
        let along = chunk.matmul(&basis)?;
        sum = (sum + chunk.t()?.matmul(&along)?)?;
    }
    matrix(&(sum / rows.count() as f64)?)
}

fn matrix(values: &Tensor) -> Result<Mat<f64>> {
    let (rows, columns) = values.dims2()?;
    let values = on_host(values)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(Mat::from_fn(rows, columns, |row, column| {
        values[row * columns + column]
    }))
}
