//! A step of stochastic gradient descent, in place.

use super::many::{Blocks, TENSORS};
use super::{CudaElement, for_cuda_dtype, kernel, launch, with_views};
use candle_core::cuda::cudarc::driver::DeviceRepr;
use candle_core::{DType, Result, Tensor, bail};
use half::bf16;

/// The numbers of a step, as in [`crate::train::Sgd`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descent {
    /// The L2 term.
    pub l2: f64,
    /// Momentum.
    pub momentum: f64,
    /// The learning rate.
    pub rate: f64,
}

/// A parameter and its velocity, which change in place, and the gradient, which may be in bf16 where they are not.
#[derive(Debug)]
pub(crate) struct Descending {
    pub parameter: Tensor,
    pub velocity: Tensor,
    pub gradient: Tensor,
}

/// The kernel's argument.
#[repr(C)]
#[derive(Clone, Copy)]
struct Addresses {
    parameter: [u64; TENSORS],
    velocity: [u64; TENSORS],
    gradient: [u64; TENSORS],
    in_bf16: u64,
}
// SAFETY: plain numbers, in the order and of the sizes that many.cu has.
unsafe impl DeviceRepr for Addresses {}

/// Takes a step with all of them, which are contiguous and of one dtype but for gradients.
pub(crate) fn descend(all: &[Descending], descent: Descent) -> Result<()> {
    for some in all.chunks(TENSORS) {
        for_cuda_dtype!(some[0].parameter.dtype(), T => step::<T>(some, descent))?;
    }
    Ok(())
}

fn step<T: CudaElement>(all: &[Descending], descent: Descent) -> Result<()> {
    let Descent { l2, momentum, rate } = descent;
    let mut addresses = Addresses {
        parameter: [0; TENSORS],
        velocity: [0; TENSORS],
        gradient: [0; TENSORS],
        in_bf16: 0,
    };
    for (place, one) in all.iter().enumerate() {
        let parts = [&one.parameter, &one.velocity, &one.gradient];
        if parts.iter().any(|part| part.dims() != parts[0].dims()) {
            bail!("descent: shapes differ: {:?}", parts.map(Tensor::dims));
        }
        let in_bf16 = T::DTYPE != DType::BF16 && one.gradient.dtype() == DType::BF16;
        with_views(parts, |[parameter, velocity, gradient]| {
            addresses.parameter[place] = parameter.address::<T>()?;
            addresses.velocity[place] = velocity.address::<T>()?;
            addresses.gradient[place] = match in_bf16 {
                true => gradient.address::<bf16>()?,
                false => gradient.address::<T>()?,
            };
            Ok(())
        })?;
        addresses.in_bf16 |= u64::from(in_bf16) << place;
    }
    let (blocks, grid) = Blocks::over(all.iter().map(|one| one.parameter.elem_count()))?;
    // Whoever reads these tensors does so on the device's one stream, before this launch or after it.
    let kernel = kernel::<T>(all[0].parameter.device().as_cuda_device()?, "descend")?;
    launch!(kernel, grid, &blocks, &addresses, &l2, &momentum, &rate);
    Ok(())
}
