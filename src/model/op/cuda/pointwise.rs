//! The rectifier and its gradient.

use super::{View, constant, for_cuda_dtype, kernel, launch, over, packed, unwritten, with_views};
use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Result, Shape, Tensor};

/// `max(x, 0)`.
pub(in super::super) fn rectify(x: View) -> Result<(CudaStorage, Shape)> {
    for_cuda_dtype!(x.storage.dtype(), T => {
        let width = packed(x.count() as u32, &[x]);
        let (grid, count) = over(x.count(), width)?;
        let mut y = unwritten::<T>(x.device(), x.count())?;
        let name = ["rectify_1", "rectify_4"][usize::from(width == 4)];
        launch!(kernel::<T>(x.device(), name)?, grid, &x.elements::<T>()?, &mut y, &count);
        Ok((CudaStorage::wrap_cuda_slice(y, x.device().clone()), x.layout.shape().clone()))
    })
}

/// `max(a + b, 0)`.
pub(in super::super) fn add_rectify(a: View, b: View) -> Result<(CudaStorage, Shape)> {
    for_cuda_dtype!(a.storage.dtype(), T => {
        let width = packed(a.count() as u32, &[a, b]);
        let (grid, count) = over(a.count(), width)?;
        let name = ["add_rectify_1", "add_rectify_4"][usize::from(width == 4)];
        let mut y = unwritten::<T>(a.device(), a.count())?;
        launch!(kernel::<T>(a.device(), name)?, grid, &a.elements::<T>()?, &b.elements::<T>()?, &mut y, &count);
        Ok((CudaStorage::wrap_cuda_slice(y, a.device().clone()), a.layout.shape().clone()))
    })
}

/// The gradient where the result is positive.
pub(in super::super) fn gate(result: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    with_views([result, gradient], |[result, gradient]| {
        gated(result, gradient, None)
    })
}

/// The sum of two gradients where the result is positive.
pub(in super::super) fn gate_sum(result: &Tensor, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
    with_views([result, a, b], |[result, a, b]| gated(result, a, Some(b)))
}

fn gated(result: View, gradient: View, other: Option<View>) -> Result<Tensor> {
    for_cuda_dtype!(result.storage.dtype(), T => {
        let device = result.device();
        let views = [Some(result), Some(gradient), other];
        let width = packed(result.count() as u32, &views.into_iter().flatten().collect::<Vec<_>>());
        let (grid, count) = over(result.count(), width)?;
        let name = ["gate_1", "gate_4"][usize::from(width == 4)];
        // 0 where there is none.
        let other = other.map_or(Ok(0), |other| other.address::<T>())?;
        let mut y = unwritten::<T>(device, result.count())?;
        launch!(
            kernel::<T>(device, name)?, grid, &result.elements::<T>()?, &gradient.elements::<T>()?, &other, &mut y, &count
        );
        Ok(constant(y, device, result.layout.shape().clone()))
    })
}
