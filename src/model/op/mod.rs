//! Our own differentiable operations, in `f32` and `f64`: on the processor, and with the feature `cuda` on CUDA devices
//! (there in `bf16` too).
//!
//! Candle 0.11 gives wrong gradients for pooling, no backward for the ResNet stem's pool, convolutions at a third of
//! the speed of a matrix product, and single-threaded elementwise passes; these replace them. Each is parallel over
//! images or channels with a fixed order of summation, so its result does not depend on the number of threads, and
//! each skips the gradient of an argument that is a constant.

mod affine;
mod batch_norm;
pub(crate) mod channels_last;
mod convolution;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod descent;
mod directions;
mod max_pool;
mod planewise;
mod rectifier;
mod running_statistics;
mod vectorised;

pub(crate) use affine::channel_affine_gradients;
pub use affine::{channel_affine, rectified_channel_affine};
pub(crate) use batch_norm::batch_norm_gradients;
pub use batch_norm::{BatchMoments, batch_moments, batch_norm, rectified_batch_norm};
pub use convolution::{Convolution, convolve};
pub(crate) use convolution::{
    convolution_gradients, convolution_input_gradient, convolution_weight_gradient, patches,
};
pub(crate) use descent::{accelerate, advance};
pub(crate) use directions::{ScaleAlong, affine_along, affine_along_gradients, gate_along};
pub(crate) use max_pool::max_pool_gradient;
pub use max_pool::{Window, max_pool};
pub use rectifier::{add_rectify, rectify};
pub(crate) use rectifier::{gate, gate_sum};
pub use running_statistics::{RunningStatistics, folded_norm};

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, WithDType, bail};

/// Which gradients of an operation are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Of what goes through it.
    pub input: bool,
    /// Of its weights.
    pub parameters: bool,
}

/// What was wanted.
#[derive(Debug)]
pub(crate) struct Gradients {
    /// Of what goes through an operation.
    pub input: Option<Tensor>,
    /// Of its scale and its shift.
    pub parameters: Option<(Tensor, Tensor)>,
}

/// `f32` or `f64`: the types these operations are compiled for.
pub(crate) trait Element: WithDType + Default {
    /// The numbers of a storage of this type.
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl Element for $type {
            fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}
element!(f32, F32);
element!(f64, F64);

/// Runs `$body` with the type parameter `$t` set to the dtype at run time.
macro_rules! for_dtype {
    ($dtype:expr, $name:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => candle_core::bail!("{}: dtype {other:?} is neither f32 nor f64", $name),
        }
    };
}
pub(crate) use for_dtype;

/// The elements of a contiguous storage.
fn elements<'a, T: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&T::cpu_storage_as_slice(storage)?[start..end]),
        None => bail!(
            "operation needs a contiguous tensor, got strides {:?}",
            layout.stride()
        ),
    }
}

/// Calls `body` with the elements of a contiguous CPU tensor.
fn with_elements<T: Element, R>(
    tensor: &Tensor,
    body: impl FnOnce(&[T]) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => body(elements(storage, layout)?),
        _ => bail!("expected a tensor of the processor"),
    }
}

/// Whether a gradient with respect to this tensor can be of use.
fn needs_gradient(tensor: &Tensor) -> bool {
    tensor.is_variable() || tensor.track_op()
}

fn check_dtype(name: &str, tensors: &[&Tensor]) -> Result<DType> {
    let dtype = tensors[0].dtype();
    for tensor in tensors {
        if tensor.dtype() != dtype {
            bail!("{name}: dtypes differ: {dtype:?} and {:?}", tensor.dtype());
        }
    }
    Ok(dtype)
}
