//! How fast this machine is: a matrix product, timed.

use crate::Result;
use crate::product::{Real, product};
use candle_core::{DType, Device, Tensor};
use faer::{Accum, Mat};
use std::time::Instant;

/// Operations a second of a matrix product of 1,024 × 1,024 on the processor, 4,096 × 4,096 on a device, the fastest of three.
///
/// # Errors
/// A tensor operation failed.
pub fn product_rate(dtype: DType, device: &Device) -> Result<f64> {
    match (device.is_cpu(), dtype) {
        (true, DType::F32) => Ok(host_rate::<f32>()),
        (true, _) => Ok(host_rate::<f64>()),
        _ => device_rate(dtype, device),
    }
}

fn host_rate<T: Real>() -> f64 {
    let size = 1024;
    let factor = Mat::from_fn(size, size, |_, _| T::from_f64(1.0));
    let mut target = factor.clone();
    let seconds = (0..3).map(|_| {
        let started = Instant::now();
        let target = target.as_mut();
        product(
            target,
            Accum::Replace,
            factor.as_ref(),
            factor.as_ref(),
            T::from_f64(1.0),
        );
        started.elapsed().as_secs_f64()
    });
    2.0 * (size as f64).powi(3) / seconds.fold(f64::INFINITY, f64::min)
}

fn device_rate(dtype: DType, device: &Device) -> Result<f64> {
    let size: usize = 4096;
    let matrix = Tensor::ones((size, size), dtype, device)?;
    let mut fastest = f64::INFINITY;
    for _ in 0..3 {
        device.synchronize()?;
        let started = Instant::now();
        matrix.matmul(&matrix)?;
        device.synchronize()?;
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
    Ok(2.0 * (size as f64).powi(3) / fastest)
}
