//! The rectifier and its gradient.

use super::{View, for_cuda_dtype, kernel, launch, over, packed, unwritten, with_view};
use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Result, Shape, Storage, Tensor};

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
    pairwise(["add_rectify_1", "add_rectify_4"], a, b)
}

/// The gradient where the result is positive.
pub(in super::super) fn gate(result: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    with_view(result, |result| {
        with_view(gradient, |gradient| {
            let (storage, shape) = pairwise(["gate_1", "gate_4"], result, gradient)?;
            Ok(Tensor::from_storage(
                Storage::Cuda(storage),
                shape,
                BackpropOp::none(),
                false,
            ))
        })
    })
}

fn pairwise(names: [&str; 2], a: View, b: View) -> Result<(CudaStorage, Shape)> {
    for_cuda_dtype!(a.storage.dtype(), T => {
        let width = packed(a.count() as u32, &[a, b]);
        let (grid, count) = over(a.count(), width)?;
        let name = names[usize::from(width == 4)];
        let mut y = unwritten::<T>(a.device(), a.count())?;
        launch!(kernel::<T>(a.device(), name)?, grid, &a.elements::<T>()?, &b.elements::<T>()?, &mut y, &count);
        Ok((CudaStorage::wrap_cuda_slice(y, a.device().clone()), a.layout.shape().clone()))
    })
}
