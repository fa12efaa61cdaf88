//! The operations on CUDA devices: our own kernels (`kernels.cu`) for what passes over activations, matrix products of cuBLAS
//! or, with the feature `cudnn`, cuDNN's own kernels for convolutions; and what else of ours runs there.
//!
//! Kernels are compiled by NVRTC when a process first needs one of an element type, for whatever card there is. They run on
//! the one stream of the device, in the order of the calls; nothing here waits for them or copies to the host. Small networks
//! on a fast card are bound by the processor's calls of the driver, so that what is small is one launch.

mod ascent;
mod cross_entropy;
#[cfg(feature = "cudnn")]
mod cudnn;
mod directions;
mod extremes;
mod lowering;
mod many;
mod normalisation;
mod optimiser;
mod patches;
mod pointwise;
mod pooling;
mod rows;
mod running_statistics;
#[cfg(not(feature = "cudnn"))]
mod unfolded;

pub(crate) use ascent::{Ascent, ascend};
pub(crate) use cross_entropy::{CrossEntropy, cross_entropy};
#[cfg(feature = "cudnn")]
pub(super) use cudnn::convolve;
pub(super) use directions::{affine_along, affine_along_gradients, gate_along};
pub(crate) use extremes::extremes;
pub(crate) use lowering::in_bf16;
pub(crate) use normalisation::folded;
pub(super) use normalisation::{ChannelMap, batch_moments, gradients, mapped};
pub(crate) use optimiser::{Descending, Descent, descend};
pub(super) use patches::patches;
pub(super) use pointwise::{add_rectify, gate, gate_sum, rectify};
pub(super) use pooling::{max_pool, max_pool_gradient};
pub(crate) use rows::{row_outer, row_products};
pub(super) use running_statistics::{Moving, moved_statistics};
#[cfg(not(feature = "cudnn"))]
pub(super) use unfolded::convolve;

use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, CudaView, DevicePtr, DeviceRepr, LaunchConfig,
};
use candle_core::cuda::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda::{CudaDType, CudaDevice, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Error, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use half::bf16;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Threads of a block that goes over elements.
const THREADS: u32 = 256;

/// The element types that kernels are compiled for.
pub(super) trait CudaElement: CudaDType + DeviceRepr + WithDType {
    /// Names the module.
    const MODULE: &'static str;
    /// What the source is compiled with.
    const DEFINITION: &'static str;
    /// The module's code, once it is compiled.
    fn code() -> &'static OnceLock<String>;
}

macro_rules! element {
    ($element:ty, $module:literal, $definition:literal) => {
        impl CudaElement for $element {
            const MODULE: &'static str = $module;
            const DEFINITION: &'static str = $definition;
            fn code() -> &'static OnceLock<String> {
                static CODE: OnceLock<String> = OnceLock::new();
                &CODE
            }
        }
    };
}
element!(f32, "ascribe-f32", "-DELEMENT=float");
element!(f64, "ascribe-f64", "-DELEMENT=double");
element!(bf16, "ascribe-bf16", "-DBF16");

/// Runs `$body` with the type parameter `$t` set to the dtype at run time.
macro_rules! for_cuda_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            candle_core::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            other => candle_core::bail!("dtype {other:?} is none of f32, f64 and bf16"),
        }
    };
}
use for_cuda_dtype;

/// A storage and what of it is meant.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub storage: &'a CudaStorage,
    pub layout: &'a Layout,
}

impl<'a> View<'a> {
    pub(super) fn new(storage: &'a CudaStorage, layout: &'a Layout) -> Self {
        Self { storage, layout }
    }

    /// The elements of a contiguous view.
    fn elements<T: CudaDType>(&self) -> Result<CudaView<'a, T>> {
        match self.layout.contiguous_offsets() {
            Some((start, end)) => Ok(self.storage.as_cuda_slice::<T>()?.slice(start..end)),
            None => bail!(
                "operation needs a contiguous tensor, got strides {:?}",
                self.layout.stride()
            ),
        }
    }

    /// Where the elements of a contiguous view begin; good as long as the tensor lives.
    fn address<T: CudaDType>(&self) -> Result<u64> {
        let elements = self.elements::<T>()?;
        let (address, _) = elements.device_ptr(&self.device().cuda_stream());
        Ok(address)
    }

    fn count(&self) -> usize {
        self.layout.shape().elem_count()
    }

    fn dims(&self) -> &'a [usize] {
        self.layout.dims()
    }

    fn device(&self) -> &'a CudaDevice {
        self.storage.device()
    }
}

/// Calls `body` with a view of a contiguous tensor of a CUDA device.
pub(super) fn with_view<R>(tensor: &Tensor, body: impl FnOnce(View) -> Result<R>) -> Result<R> {
    with_views([tensor], |[view]| body(view))
}

/// The same with several tensors.
fn with_views<R, const N: usize>(
    tensors: [&Tensor; N],
    body: impl FnOnce([View; N]) -> Result<R>,
) -> Result<R> {
    let held = tensors.map(Tensor::storage_and_layout);
    let views = held
        .iter()
        .filter_map(|(storage, layout)| match &**storage {
            Storage::Cuda(storage) => Some(View::new(storage, layout)),
            _ => None,
        });
    match <[View; N]>::try_from(views.collect::<Vec<_>>()) {
        Ok(views) => body(views),
        Err(_) => bail!("expected tensors of a CUDA device"),
    }
}

/// A tensor that no gradient goes through.
fn constant<T: CudaDType>(
    values: CudaSlice<T>,
    device: &CudaDevice,
    shape: impl Into<Shape>,
) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(values, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// Memory whose every element a kernel is about to write.
fn unwritten<T: CudaDType + DeviceRepr>(device: &CudaDevice, count: usize) -> Result<CudaSlice<T>> {
    // SAFETY: the elements are plain numbers, and each is written before it is read.
    unsafe { device.alloc::<T>(count) }
}

/// A compiled kernel and the stream that it runs on.
struct Kernel {
    function: CudaFunction,
    stream: Arc<CudaStream>,
}

/// The kernels of every element type; one source, so that they are compiled at once.
const SOURCE: &str = concat!(
    include_str!("kernels.cu"),
    include_str!("cross_entropy.cu"),
    include_str!("ascent.cu"),
    include_str!("many.cu")
);

/// A kernel of [`SOURCE`].
fn kernel<T: CudaElement>(device: &CudaDevice, name: &'static str) -> Result<Kernel> {
    load(
        device,
        name,
        (T::MODULE, SOURCE),
        &[T::DEFINITION],
        T::code(),
    )
}

thread_local! {
    /// Kernels by device, module and name: to ask the driver for one costs a good part of a launch.
    static KERNELS: RefCell<HashMap<(DeviceId, &'static str, &'static str), CudaFunction>> = RefCell::default();
}

/// A kernel of a module, given by its name and source; `code` keeps what comes of compiling it with `options`.
fn load(
    device: &CudaDevice,
    name: &'static str,
    (module, source): (&'static str, &str),
    options: &[&str],
    code: &OnceLock<String>,
) -> Result<Kernel> {
    let stream = device.cuda_stream();
    let key = (device.id(), module, name);
    if let Some(function) = KERNELS.with_borrow(|kernels| kernels.get(&key).cloned()) {
        return Ok(Kernel { function, stream });
    }
    let code = match code.get() {
        Some(code) => code,
        None => {
            let options = CompileOptions {
                options: options.iter().map(ToString::to_string).collect(),
                ..CompileOptions::default()
            };
            let compiled = compile_ptx_with_opts(source, options).map_err(Error::wrap)?;
            code.get_or_init(|| compiled.to_src())
        }
    };
    let function = (device.get_or_load_custom_func(name, module, code))
        .map_err(|reason| {
            reason.context(
                "the driver does not load what NVRTC compiled: NVRTC must not be newer than the CUDA version that nvidia-smi shows",
            )
        })?
        .into_cuda_function();
    KERNELS.with_borrow_mut(|kernels| kernels.insert(key, function.clone()));
    Ok(Kernel { function, stream })
}

/// A grid that goes over `count` elements, `width` a thread; kernels index with 32 bits.
fn over(count: usize, width: u32) -> Result<(LaunchConfig, u32)> {
    match u32::try_from(count) {
        Ok(elements) if elements <= u32::MAX / 2 => {
            let configuration = LaunchConfig {
                grid_dim: ((elements / width).div_ceil(THREADS).max(1), 1, 1),
                block_dim: (THREADS, 1, 1),
                shared_mem_bytes: 0,
            };
            Ok((configuration, elements))
        }
        _ => bail!(
            "{count} elements are too many for one step of a CUDA device: take smaller batches"
        ),
    }
}

/// How many elements a thread takes at once: 4 where planes of `plane` elements and all views allow it, or else 1.
fn packed(plane: u32, views: &[View]) -> u32 {
    let aligned = |view: &View| view.layout.start_offset().is_multiple_of(4);
    match plane.is_multiple_of(4) && views.iter().all(aligned) {
        true => 4,
        false => 1,
    }
}

/// Launches a kernel with its arguments, each a slice, a view or a number of the type that the kernel names.
macro_rules! launch {
    ($kernel:expr, $grid:expr, $($argument:expr),+) => {{
        let kernel = $kernel;
        use candle_core::cuda::cudarc::driver::PushKernelArg;
        let mut builder = kernel.stream.launch_builder(&kernel.function);
        // SAFETY: the arguments are those of the kernel in kernels.cu, in its order and of its types, and the grid's bounds
        // are those of the slices.
        unsafe { builder$(.arg($argument))+.launch($grid) }.map_err(candle_core::Error::wrap)?;
    }};
}
use launch;
