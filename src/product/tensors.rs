//! Products of tensors: on the processor by this module's kernels, elsewhere by candle's.
//!
//! Candle's own product on the processor is slower on large matrices: `cargo bench --bench head` has both rates.

use super::{Real, product, product_here};
use crate::Result;
use candle_core::{DType, Device, Layout, Storage, Tensor};
use faer::{Accum, Mat, MatMut, MatRef};
use rayon::prelude::*;

/// `left` `[k, m]` times `right` `[m, n]`, both f32 or both f64 on one device.
///
/// # Errors
/// Shapes, precisions or devices differ, or a tensor operation failed.
pub(crate) fn tensor_product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let agree = left.dtype() == right.dtype() && left.dim(1)? == right.dim(0)?;
    match (left.device(), right.device(), left.dtype()) {
        // What does not agree is for candle to name.
        (Device::Cpu, Device::Cpu, DType::F32) if agree => on_host::<f32>(left, right),
        (Device::Cpu, Device::Cpu, DType::F64) if agree => on_host::<f64>(left, right),
        _ => Ok(left.matmul(right)?),
    }
}

/// Inner products of few long rows: `left` `[k, p]` with `right` `[m, p]`, `[k, m]` in f64, both f32 or both f64 on one device. Sums
/// are of the rows' precision within some columns, of f64 over them.
///
/// # Errors
/// As [`tensor_product`].
pub(crate) fn row_products(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let agree = left.dtype() == right.dtype() && left.dim(1)? == right.dim(1)?;
    match (left.device(), right.device(), left.dtype()) {
        (Device::Cpu, Device::Cpu, DType::F32) if agree => rows_on_host::<f32>(left, right),
        (Device::Cpu, Device::Cpu, DType::F64) if agree => rows_on_host::<f64>(left, right),
        _ if agree => rows_on_device(left, right),
        // For candle to name.
        _ => Ok(left.matmul(&right.t()?)?),
    }
}

/// Columns of one product there.
const DEVICE_COLUMNS: usize = 1 << 16;

fn rows_on_device(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let size = left.dim(1)?;
    let shape = (left.dim(0)?, right.dim(0)?);
    let mut sum = Tensor::zeros(shape, DType::F64, left.device())?;
    for start in (0..size).step_by(DEVICE_COLUMNS) {
        let columns = DEVICE_COLUMNS.min(size - start);
        let part = |rows: &Tensor| rows.narrow(1, start, columns)?.contiguous();
        let product = part(left)?.matmul(&part(right)?.t()?)?;
        sum = (sum + product.to_dtype(DType::F64)?)?;
    }
    Ok(sum)
}

/// Columns of one product, whose factors stay in the cache.
const COLUMNS: usize = 4096;
/// Those of a task.
const TASK: usize = 16 * COLUMNS;

fn rows_on_host<T: Real>(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let (shape, size) = ((left.dim(0)?, right.dim(0)?), left.dim(1)?);
    let (left, right) = (left.contiguous()?, right.contiguous()?);
    let ((left, left_layout), (right, right_layout)) =
        (left.storage_and_layout(), right.storage_and_layout());
    let left = matrix::<T>(&left, left_layout)?;
    let right = matrix::<T>(&right, right_layout)?;
    let task = |task: usize| {
        let mut sum = vec![0.0; shape.0 * shape.1];
        let mut part = Mat::<T>::zeros(shape.1, shape.0);
        for start in (task * TASK..size.min((task + 1) * TASK)).step_by(COLUMNS) {
            let columns = COLUMNS.min(size - start);
            product_here(
                part.as_mut(),
                Accum::Replace,
                right.subcols(start, columns),
                left.subcols(start, columns).transpose(),
                T::from_f64(1.0),
            );
            for (sum, part) in sum.chunks_exact_mut(shape.1.max(1)).zip(part.col_iter()) {
                (sum.iter_mut().zip(part.iter())).for_each(|(sum, part)| *sum += part.to_f64());
            }
        }
        sum
    };
    let tasks: Vec<Vec<f64>> = (0..size.div_ceil(TASK)).into_par_iter().map(task).collect();
    let mut sum = vec![0.0; shape.0 * shape.1];
    for part in tasks {
        (sum.iter_mut().zip(part)).for_each(|(sum, part)| *sum += part);
    }
    Ok(Tensor::from_vec(sum, shape, &Device::Cpu)?)
}

fn on_host<T: Real>(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let (rows, columns) = (left.dim(0)?, right.dim(1)?);
    let mut values = vec![T::from_f64(0.0); rows * columns];
    let (left, right) = (in_some_order(left)?, in_some_order(right)?);
    let ((left, left_layout), (right, right_layout)) =
        (left.storage_and_layout(), right.storage_and_layout());
    // Row-major [k, n] is column-major [n, k].
    let target = MatMut::from_column_major_slice_mut(&mut values, columns, rows);
    product(
        target,
        Accum::Replace,
        matrix::<T>(&right, right_layout)?.transpose(),
        matrix::<T>(&left, left_layout)?.transpose(),
        T::from_f64(1.0),
    );
    Ok(Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
}

/// A matrix row by row or column by column in memory.
fn in_some_order(matrix: &Tensor) -> Result<Tensor> {
    let columns_are = matrix.layout().is_fortran_contiguous();
    Ok(match columns_are {
        true => matrix.clone(),
        false => matrix.contiguous()?,
    })
}

fn matrix<'a, T: Real>(
    storage: &'a Storage,
    layout: &Layout,
) -> candle_core::Result<MatRef<'a, T>> {
    let Storage::Cpu(storage) = storage else {
        candle_core::bail!("a product of what is not on the host");
    };
    let (rows, columns) = layout.shape().dims2()?;
    let start = layout.start_offset();
    // An empty view may begin past the end.
    let values = T::cpu_storage_as_slice(storage)?.get(start..start + rows * columns);
    let values = values.unwrap_or_default();
    Ok(match layout.is_contiguous() {
        true => MatRef::from_row_major_slice(values, rows, columns),
        false => MatRef::from_column_major_slice(values, rows, columns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(rows: usize, columns: usize, dtype: DType) -> Tensor {
        let values: Vec<f64> = (0..rows * columns)
            .map(|at| (0.37 * at as f64).sin())
            .collect();
        let tensor = Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
        tensor.to_dtype(dtype).unwrap()
    }

    #[test]
    fn products_are_candles_in_every_layout() {
        for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-12)] {
            for (k, m, n) in [(1, 1, 1), (3, 40, 500), (500, 40, 3), (7, 0, 5)] {
                let whole = wave(k + 2, m, dtype);
                let left = [
                    whole.narrow(0, 1, k).unwrap(),
                    wave(m, k, dtype).t().unwrap(),
                    wave(k, m + 3, dtype).narrow(1, 2, m).unwrap(),
                ];
                let right = [
                    wave(m, n, dtype),
                    wave(n + 1, m, dtype).narrow(0, 1, n).unwrap().t().unwrap(),
                    wave(m, n + 3, dtype).narrow(1, 2, n).unwrap(),
                ];
                for (left, right) in left.iter().flat_map(|l| right.iter().map(move |r| (l, r))) {
                    let found = tensor_product(left, right).unwrap();
                    assert_eq!(found.dims(), [k, n]);
                    let (left, right) = (left.contiguous().unwrap(), right.contiguous().unwrap());
                    let expected = match m {
                        0 => Tensor::zeros((k, n), dtype, &Device::Cpu).unwrap(),
                        _ => left.matmul(&right).unwrap(),
                    };
                    let difference = (found - expected).unwrap().abs().unwrap();
                    let difference = difference.to_dtype(DType::F64).unwrap();
                    let largest = difference.max_all().unwrap().to_scalar::<f64>().unwrap();
                    assert!(largest < tolerance, "{k} {m} {n} {dtype:?}: {largest:e}");
                }
            }
        }
    }

    #[test]
    fn products_of_rows_are_those_of_the_transpose() {
        // Sums of 70,000 terms are some 35,000.
        for (dtype, tolerance) in [(DType::F32, 1e-2), (DType::F64, 1e-9)] {
            for (k, m, p) in [
                (1, 1, 1),
                (3, 7, COLUMNS + 5),
                (5, 2, TASK + COLUMNS + 1),
                (0, 4, 9),
            ] {
                let (left, right) = (wave(k + 1, p, dtype), wave(m, p, dtype));
                let left = left.narrow(0, 1, k).unwrap();
                let found = row_products(&left, &right).unwrap();
                assert_eq!((found.dims(), found.dtype()), (&[k, m][..], DType::F64));
                if k == 0 {
                    continue;
                }
                let there = rows_on_device(&left, &right).unwrap();
                let [left, right] = [left, right].map(|rows| rows.to_dtype(DType::F64).unwrap());
                let expected = left.matmul(&right.t().unwrap()).unwrap();
                for found in [found, there] {
                    let difference = (found - &expected).unwrap().abs().unwrap();
                    let largest = difference.max_all().unwrap().to_scalar::<f64>().unwrap();
                    assert!(largest < tolerance, "{k} {m} {p} {dtype:?}: {largest:e}");
                }
            }
        }
        assert!(row_products(&wave(2, 3, DType::F32), &wave(2, 4, DType::F32)).is_err());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let single = wave(2, 3, DType::F32);
        assert!(tensor_product(&single, &wave(4, 2, DType::F32)).is_err());
        assert!(tensor_product(&single, &wave(3, 2, DType::F64)).is_err());
        assert!(tensor_product(&single, &single.flatten_all().unwrap()).is_err());
    }
}
