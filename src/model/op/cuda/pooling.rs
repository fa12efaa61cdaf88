//! Max pooling and its gradient.

use super::{View, constant, for_cuda_dtype, kernel, launch, over, unwritten, with_view};
use crate::model::op::Window;
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result, Shape, Tensor};

/// The largest value of each window, `[B, C, out_h, out_w]`.
pub(in super::super) fn max_pool(
    x: View,
    window: Window,
    (out_h, out_w): (usize, usize),
) -> Result<(CudaStorage, Shape)> {
    let (batch, channels, height, width) = x.layout.shape().dims4()?;
    for_cuda_dtype!(x.storage.dtype(), T => {
        let (grid, count) = over(batch * channels * out_h * out_w, 1)?;
        let mut y = unwritten::<T>(x.device(), count as usize)?;
        let [height, width, rows, columns, size, stride, padding] = numbers((height, width), (out_h, out_w), window);
        launch!(
            kernel::<T>(x.device(), "max_pool")?, grid,
            &x.elements::<T>()?, &mut y, &count, &height, &width, &rows, &columns, &size, &stride, &padding
        );
        let y = CudaStorage::wrap_cuda_slice(y, x.device().clone());
        Ok((y, (batch, channels, out_h, out_w).into()))
    })
}

/// The gradient of `x` from that of the pooled `[B, C, out_h, out_w]`.
pub(in super::super) fn max_pool_gradient(
    x: &Tensor,
    gradient: &Tensor,
    window: Window,
) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let (_, _, out_h, out_w) = gradient.dims4()?;
    for_cuda_dtype!(x.dtype(), T => with_view(x, |values| with_view(gradient, |gradient| {
        let device = values.device();
        let (grid, count) = over(values.count(), 1)?;
        let mut out = unwritten::<T>(device, values.count())?;
        let [height, width, rows, columns, size, stride, padding] = numbers((height, width), (out_h, out_w), window);
        launch!(
            kernel::<T>(device, "max_pool_input")?, grid,
            &values.elements::<T>()?, &gradient.elements::<T>()?, &mut out, &count,
            &height, &width, &rows, &columns, &size, &stride, &padding
        );
        Ok(constant(out, device, x.shape()))
    })))
}

fn numbers(image: (usize, usize), out: (usize, usize), window: Window) -> [i32; 7] {
    let Window {
        size,
        stride,
        padding,
    } = window;
    [image.0, image.1, out.0, out.1, size, stride, padding].map(|number| number as i32)
}
