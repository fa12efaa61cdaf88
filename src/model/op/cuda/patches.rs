//! Patches: images unfolded, `[images, K, N]`, in one launch.

use super::{
    CudaElement, View, constant, for_cuda_dtype, kernel, launch, over, unwritten, with_view,
};
use crate::model::op::convolution::Geometry;
use candle_core::cuda::CudaDevice;
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaView};
use candle_core::{Result, Tensor};

/// Those of all images of a batch.
pub(in super::super) fn patches(geometry: &Geometry, x: &Tensor) -> Result<Tensor> {
    let shape = (geometry.batch, geometry.taps(), geometry.positions());
    for_cuda_dtype!(x.dtype(), T => with_view(x, |view| {
        let unfolded = unfold::<T>(geometry, view)?;
        Ok(constant(unfolded, view.device(), shape))
    }))
}

/// Those of the images of a contiguous view.
pub(super) fn unfold<T: CudaElement>(geometry: &Geometry, images: View) -> Result<CudaSlice<T>> {
    let count = images.dims()[0] * geometry.taps() * geometry.positions();
    let mut unfolded = unwritten::<T>(images.device(), count)?;
    let of = (images.device(), "unfold");
    rearranged(of, geometry, (&images.elements::<T>()?, &mut unfolded))?;
    Ok(unfolded)
}

/// Writes every element of `to` by a kernel that gathers from `from`.
pub(super) fn rearranged<T: CudaElement>(
    (device, name): (&CudaDevice, &'static str),
    g: &Geometry,
    (from, to): (&CudaView<T>, &mut CudaSlice<T>),
) -> Result<()> {
    let (grid, count) = over(to.len(), 1)?;
    let image = [g.c_in, g.height, g.width];
    let kernel_and_output = [g.kernel_h, g.kernel_w, g.out_h(), g.out_w()];
    let [channels, height, width] = image.map(|size| size as i32);
    let [kernel_h, kernel_w, out_h, out_w] = kernel_and_output.map(|size| size as i32);
    let [stride, padding] = [g.stride, g.padding].map(|size| size as i32);
    launch!(
        kernel::<T>(device, name)?,
        grid,
        from,
        to,
        &count,
        &channels,
        &height,
        &width,
        &kernel_h,
        &kernel_w,
        &out_h,
        &out_w,
        &stride,
        &padding
    );
    Ok(())
}
