//! Copies of tensors in bf16.

use super::many::{Blocks, TENSORS, placed};
use super::{CudaElement, constant, for_cuda_dtype, kernel, launch, unwritten, with_view};
use candle_core::cuda::cudarc::driver::DeviceRepr;
use candle_core::{Result, Tensor};
use half::bf16;

/// The kernel's argument.
#[repr(C)]
#[derive(Clone, Copy)]
struct Places {
    from: [u64; TENSORS],
    to: [u32; TENSORS],
}
// SAFETY: plain numbers, in the order and of the sizes that many.cu has.
unsafe impl DeviceRepr for Places {}

/// Constant copies in bf16 of contiguous tensors of one dtype, in their order; they share a buffer.
pub(crate) fn in_bf16(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let mut copies = Vec::with_capacity(tensors.len());
    for some in tensors.chunks(TENSORS) {
        copies.extend(for_cuda_dtype!(some[0].dtype(), T => copied::<T>(some))?);
    }
    Ok(copies)
}

fn copied<T: CudaElement>(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let device = tensors[0].device().as_cuda_device()?;
    let counts = || tensors.iter().map(|tensor| tensor.elem_count());
    let (starts, size) = placed(counts());
    let mut places = Places {
        from: [0; TENSORS],
        to: [0; TENSORS],
    };
    for (place, (tensor, &start)) in tensors.iter().zip(&starts).enumerate() {
        places.from[place] = with_view(tensor, |tensor| tensor.address::<T>())?;
        places.to[place] = u32::try_from(start).map_err(candle_core::Error::wrap)?;
    }
    let (blocks, grid) = Blocks::over(counts())?;
    let mut lowered = unwritten::<bf16>(device, size)?;
    launch!(
        kernel::<T>(device, "lower")?,
        grid,
        &blocks,
        &places,
        &mut lowered
    );
    let lowered = constant(lowered, device, size);
    let part = |(tensor, start): (&&Tensor, usize)| {
        let part = lowered.narrow(0, start, tensor.elem_count())?;
        part.reshape(tensor.shape())
    };
    tensors.iter().zip(starts).map(part).collect()
}
