//! Running statistics that follow the batches.

use super::many::{Blocks, TENSORS, placed};
use super::{CudaElement, constant, for_cuda_dtype, kernel, launch, unwritten, with_views};
use candle_core::cuda::cudarc::driver::DeviceRepr;
use candle_core::{Result, Tensor, bail};

/// Of one layer.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Moving<'a> {
    /// `[C]`
    pub mean: &'a Tensor,
    /// `[C]`
    pub variance: &'a Tensor,
    /// Of the newest batch, f64 `[2, C]`.
    pub moments: &'a Tensor,
    /// N/(N − 1) of that batch.
    pub unbiased: f64,
}

/// The kernel's argument.
#[repr(C)]
#[derive(Clone, Copy)]
struct Layers {
    moments: [u64; TENSORS],
    mean: [u64; TENSORS],
    variance: [u64; TENSORS],
    unbiased: [f64; TENSORS],
    to: [u32; TENSORS],
}
// SAFETY: plain numbers, in the order and of the sizes that many.cu has.
unsafe impl DeviceRepr for Layers {}

/// Mean and variance of every layer, moved towards the newest moments; they share a buffer.
pub(in super::super) fn moved_statistics(
    layers: &[Moving],
    momentum: f64,
) -> Result<Vec<(Tensor, Tensor)>> {
    let mut moved = Vec::with_capacity(layers.len());
    for some in layers.chunks(TENSORS) {
        moved.extend(for_cuda_dtype!(some[0].mean.dtype(), T => moved_some::<T>(some, momentum))?);
    }
    Ok(moved)
}

fn moved_some<T: CudaElement>(layers: &[Moving], momentum: f64) -> Result<Vec<(Tensor, Tensor)>> {
    let device = layers[0].mean.device().as_cuda_device()?;
    let channels = || layers.iter().map(|layer| layer.mean.elem_count());
    let (starts, size) = placed(channels().map(|count| 2 * count));
    let mut arguments = Layers {
        moments: [0; TENSORS],
        mean: [0; TENSORS],
        variance: [0; TENSORS],
        unbiased: [0.0; TENSORS],
        to: [0; TENSORS],
    };
    for (place, (layer, &start)) in layers.iter().zip(&starts).enumerate() {
        let count = layer.mean.elem_count();
        if layer.variance.elem_count() != count || layer.moments.dims() != [2, count] {
            bail!(
                "running statistics: {count} means, {} variances, moments {:?}",
                layer.variance.elem_count(),
                layer.moments.dims()
            );
        }
        let parts = [layer.mean, layer.variance, layer.moments];
        with_views(parts, |[mean, variance, moments]| {
            arguments.mean[place] = mean.address::<T>()?;
            arguments.variance[place] = variance.address::<T>()?;
            arguments.moments[place] = moments.address::<f64>()?;
            Ok(())
        })?;
        arguments.unbiased[place] = layer.unbiased;
        arguments.to[place] = start as u32;
    }
    let (blocks, grid) = Blocks::over(channels())?;
    let mut moved = unwritten::<T>(device, size)?;
    launch!(
        kernel::<T>(device, "move_statistics")?,
        grid,
        &blocks,
        &arguments,
        &mut moved,
        &momentum
    );
    let moved = constant(moved, device, size);
    let parts = |(count, start): (usize, usize)| {
        let part = |from: usize| moved.narrow(0, from, count);
        Ok((part(start)?, part(start + count)?))
    };
    channels().zip(starts).map(parts).collect()
}
