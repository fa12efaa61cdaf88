//! Row-wise sums and products of blocks of vectors: one parallel pass over the memory on the CPU.
//!
//! Candle would broadcast a column over strided indices on one thread, and go through the memory once more for each of
//! multiplication, conversion and sum. Every row is summed in a fixed order whatever the number of threads, in f64, with
//! eight running sums that become vector instructions.

use crate::derivative::network::dot as inner_product;
use crate::in_parallel::{for_each_row, mapped};
#[cfg(feature = "cuda")]
use crate::model::op::cuda::row_products;
use crate::{Error, Result};
use candle_core::{CpuStorage, DType, Device, Shape, Storage, Tensor, WithDType, bail};
use std::ops::{Add, Mul, Sub};

/// Elements that one thread takes at a time where rows are no matter.
const CHUNK: usize = 1 << 14;

/// `left_i + coefficient_i · right_i` for each row i of two contiguous `[k, p]` tensors, in the precision of `left`.
pub(super) fn add_scaled(left: &Tensor, coefficients: &[f64], right: &Tensor) -> Result<Tensor> {
    if !left.device().is_cpu() {
        let right = right.to_dtype(left.dtype())?;
        return Ok((left + scaled_elsewhere(&right, coefficients)?)?);
    }
    check(left, right, coefficients.len())?;
    Ok(match (left.dtype(), right.dtype()) {
        (DType::F32, DType::F32) => {
            with_rows::<f32, f32, _>(left, right, |a, b| sum(a, coefficients, b, left))
        }
        (DType::F64, DType::F32) => {
            with_rows::<f64, f32, _>(left, right, |a, b| sum(a, coefficients, b, left))
        }
        (DType::F32, _) => {
            with_rows::<f32, f64, _>(left, right, |a, b| sum(a, coefficients, b, left))
        }
        _ => with_rows::<f64, f64, _>(left, right, |a, b| sum(a, coefficients, b, left)),
    }?)
}

/// `left − (product + shift · values)` for contiguous `[k, p]` tensors of one precision.
pub(super) fn less(left: &Tensor, product: &Tensor, shift: f64, values: &Tensor) -> Result<Tensor> {
    if !left.device().is_cpu() {
        return Ok(match shift {
            0.0 => (left - product)?,
            shift => (left - (product + values.affine(shift, 0.0)?)?)?,
        });
    }
    check(left, product, left.dims()[0])?;
    check(left, values, left.dims()[0])?;
    Ok(match left.dtype() {
        DType::F32 => rest::<f32>(left, product, shift, values),
        _ => rest::<f64>(left, product, shift, values),
    }?)
}

/// `coefficient_i · rows_i` for each row i of a contiguous `[k, p]` tensor, rounded to `dtype`.
pub(super) fn scaled(rows: &Tensor, coefficients: &[f64], dtype: DType) -> Result<Tensor> {
    if !rows.device().is_cpu() {
        return Ok(scaled_elsewhere(rows, coefficients)?.to_dtype(dtype)?);
    }
    check(rows, rows, coefficients.len())?;
    let shape = rows.shape();
    Ok(match (rows.dtype(), dtype) {
        (DType::F32, DType::F32) => {
            with_elements::<f32, _>(rows, |a| multiples::<f32, f32>(a, coefficients, shape))
        }
        (DType::F64, DType::F32) => {
            with_elements::<f64, _>(rows, |a| multiples::<f64, f32>(a, coefficients, shape))
        }
        (DType::F32, _) => {
            with_elements::<f32, _>(rows, |a| multiples::<f32, f64>(a, coefficients, shape))
        }
        _ => with_elements::<f64, _>(rows, |a| multiples::<f64, f64>(a, coefficients, shape)),
    }?)
}

/// By tensor operations. One coefficient for all rows, the usual case, goes through the memory without a stride.
fn scaled_elsewhere(rows: &Tensor, coefficients: &[f64]) -> Result<Tensor> {
    if let Some((&first, rest)) = coefficients.split_first()
        && rest.iter().all(|&other| other == first)
    {
        return Ok(match first {
            1.0 => rows.clone(),
            first => rows.affine(first, 0.0)?,
        });
    }
    let column = Tensor::from_slice(coefficients, (coefficients.len(), 1), rows.device())?;
    Ok(rows.broadcast_mul(&column.to_dtype(rows.dtype())?)?)
}

/// The inner product of each row of `left` with the same row of `right`.
pub(super) fn dot(left: &Tensor, right: &Tensor) -> Result<Vec<f64>> {
    #[cfg(feature = "cuda")]
    if left.device().is_cuda() {
        return Ok(row_products(left, right)?.to_vec1()?);
    }
    check(left, right, left.dims()[0])?;
    if left.dtype() != right.dtype() {
        let found = format!("{:?} and {:?}", left.dtype(), right.dtype());
        return Err(Error::mismatch(
            "vectors of an inner product",
            "one precision",
            found,
            "convert one of them first",
        ));
    }
    let columns = left.dims()[1];
    Ok(match left.dtype() {
        DType::F32 => with_rows::<f32, f32, _>(left, right, |a, b| Ok(dots(a, b, columns))),
        _ => with_rows::<f64, f64, _>(left, right, |a, b| Ok(dots(a, b, columns))),
    }?)
}

/// The largest absolute value in each row of a contiguous `[k, p]` tensor; 0 where there is none, and what is no number is passed
/// over.
pub(super) fn largest(rows: &Tensor) -> Result<Vec<f64>> {
    if !rows.device().is_cpu() {
        return Ok(rows.abs()?.max(1)?.to_dtype(DType::F64)?.to_vec1()?);
    }
    let columns = rows.dims()[1];
    Ok(match rows.dtype() {
        DType::F32 => with_elements::<f32, _>(rows, |a| Ok(maxima(a, columns))),
        _ => with_elements::<f64, _>(rows, |a| Ok(maxima(a, columns))),
    }?)
}

fn check(left: &Tensor, right: &Tensor, count: usize) -> candle_core::Result<()> {
    if left.dims() != right.dims() || left.dims()[0] != count {
        bail!(
            "rows do not fit: {:?} and {:?}, {count} coefficients",
            left.dims(),
            right.dims()
        );
    }
    Ok(())
}

/// Calls `body` with the elements of a contiguous tensor.
pub(super) fn with_elements<T: WithDType, R>(
    tensor: &Tensor,
    body: impl FnOnce(&[T]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some(span)) => body(&slice::<T>(storage)?[span.0..span.1]),
        _ => bail!("vectors are contiguous and on the host"),
    }
}

/// Calls `body` with the elements of both tensors.
pub(super) fn with_rows<T: WithDType, U: WithDType, R>(
    left: &Tensor,
    right: &Tensor,
    body: impl FnOnce(&[T], &[U]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let ((left, left_layout), (right, right_layout)) =
        (left.storage_and_layout(), right.storage_and_layout());
    let spans = (
        left_layout.contiguous_offsets(),
        right_layout.contiguous_offsets(),
    );
    match (&*left, &*right, spans) {
        (Storage::Cpu(left), Storage::Cpu(right), (Some(a), Some(b))) => {
            body(&slice::<T>(left)?[a.0..a.1], &slice::<U>(right)?[b.0..b.1])
        }
        _ => bail!("vectors are contiguous and on one device"),
    }
}

fn slice<T: WithDType>(storage: &CpuStorage) -> candle_core::Result<&[T]> {
    T::cpu_storage_as_slice(storage)
}

fn sum<T, U>(
    left: &[T],
    coefficients: &[f64],
    right: &[U],
    like: &Tensor,
) -> candle_core::Result<Tensor>
where
    T: WithDType + Add<Output = T> + Mul<Output = T>,
    U: WithDType,
{
    let columns = (left.len() / coefficients.len().max(1)).max(1);
    let mut out = vec![T::from_f64(0.0); left.len()];
    for_each_row(&mut out, columns, &|row, out| {
        let (coefficient, span) = (T::from_f64(coefficients[row]), row * columns..);
        let pairs = left[span.clone()].iter().zip(&right[span]);
        for (out, (&a, b)) in out.iter_mut().zip(pairs) {
            *out = a + coefficient * T::from_f64(b.to_f64());
        }
    });
    Tensor::from_vec(out, like.shape(), &Device::Cpu)
}

fn rest<T>(
    left: &Tensor,
    product: &Tensor,
    shift: f64,
    values: &Tensor,
) -> candle_core::Result<Tensor>
where
    T: WithDType + Add<Output = T> + Mul<Output = T> + Sub<Output = T>,
{
    let shift = T::from_f64(shift);
    with_rows::<T, T, _>(left, product, |b, y| {
        with_elements::<T, _>(values, |x| {
            let mut out = vec![T::from_f64(0.0); b.len()];
            for_each_row(&mut out, CHUNK, &|chunk, out| {
                let [b, y, x] = [b, y, x].map(|values| &values[chunk * CHUNK..]);
                for (((out, &b), &y), &x) in out.iter_mut().zip(b).zip(y).zip(x) {
                    *out = b - (y + shift * x);
                }
            });
            Tensor::from_vec(out, left.shape(), &Device::Cpu)
        })
    })
}

fn multiples<T, U>(rows: &[T], coefficients: &[f64], shape: &Shape) -> candle_core::Result<Tensor>
where
    T: WithDType + Mul<Output = T>,
    U: WithDType,
{
    let columns = (rows.len() / coefficients.len().max(1)).max(1);
    let mut out = vec![U::from_f64(0.0); rows.len()];
    for_each_row(&mut out, columns, &|row, out| {
        let coefficient = T::from_f64(coefficients[row]);
        for (out, &a) in out.iter_mut().zip(&rows[row * columns..]) {
            *out = U::from_f64((coefficient * a).to_f64());
        }
    });
    Tensor::from_vec(out, shape, &Device::Cpu)
}

fn maxima<T: WithDType>(rows: &[T], columns: usize) -> Vec<f64> {
    let columns = columns.max(1);
    mapped(rows.len() / columns, &|row| {
        let elements = rows[row * columns..][..columns].iter();
        elements.fold(0.0f64, |most, value| most.max(value.to_f64().abs()))
    })
}

fn dots<T: WithDType>(left: &[T], right: &[T], columns: usize) -> Vec<f64> {
    let columns = columns.max(1);
    mapped(left.len() / columns, &|row| {
        let span = row * columns..(row + 1) * columns;
        inner_product(&left[span.clone()], &right[span])
    })
}
