//! Convolutions by cuDNN: forward, input gradient and weight gradient.
//!
//! cuDNN's heuristics choose the algorithm once for each geometry. Of those whose sums run in no fixed order its deterministic
//! ones take the place, so that a run on one card repeats, unless [`crate::device::allow_unordered_sums`] was called; of those that want
//! more than a [`SHARE`]th of the card's memory for themselves, ones that want little. In `f32` its
//! matrix units are used where [`crate::device::allow_tf32`] was called, and never otherwise.

use super::{CudaElement, View, for_cuda_dtype, unwritten};
use crate::device::{tf32_is_allowed, unordered_sums_are_allowed};
use crate::model::op::convolution::{Geometry, Role};
use candle_core::backend::BackendStorage;
use candle_core::cuda::cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn, CudnnDataType,
    FilterDescriptor, TensorDescriptor, sys,
};
use candle_core::cuda::{CudaDevice, DeviceId};
use candle_core::{CudaStorage, Error, Result, Shape};
use half::bf16;
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use sys::cudnnConvolutionBwdDataAlgo_t as DataAlgorithm;
use sys::cudnnConvolutionBwdFilterAlgo_t as FilterAlgorithm;
use sys::cudnnConvolutionFwdAlgo_t as ForwardAlgorithm;

/// Of a device's memory, the most that a convolution may take beside what goes in and comes out.
const SHARE: usize = 16;

/// Types that cuDNN convolves, and what it computes in.
pub(in super::super) trait Convolved: CudaElement + CudnnDataType {
    type Compute: CudnnDataType;
    const ONE: Self;
    const ZERO: Self;
}
impl Convolved for f32 {
    type Compute = f32;
    const ONE: Self = 1.0;
    const ZERO: Self = 0.0;
}
impl Convolved for f64 {
    type Compute = f64;
    const ONE: Self = 1.0;
    const ZERO: Self = 0.0;
}
impl Convolved for bf16 {
    type Compute = f32;
    const ONE: Self = bf16::ONE;
    const ZERO: Self = bf16::ZERO;
}

/// One of the three roles on `a` and `b`; what they are is said at [`Role`].
pub(in super::super) fn convolve(
    geometry: &Geometry,
    role: Role,
    a: View,
    b: View,
) -> Result<(CudaStorage, Shape)> {
    for_cuda_dtype!(a.storage.dtype(), T => {
        let device = a.device();
        let plan = plan::<T>(device, geometry, role)?;
        let shape = geometry.result(role);
        let mut out = unwritten::<T>(device, shape.elem_count())?;
        plan.launch(device, &a, &b, &mut out)?;
        Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), shape))
    })
}

/// An algorithm of a role, and the bytes that it works in.
#[derive(Clone, Copy)]
enum Algorithm {
    Forward(ForwardAlgorithm),
    InputGradient(DataAlgorithm),
    WeightGradient(FilterAlgorithm),
}

struct Plan<T: Convolved> {
    convolution: ConvDescriptor<T::Compute>,
    x: TensorDescriptor<T>,
    weight: FilterDescriptor<T>,
    y: TensorDescriptor<T>,
    algorithm: Algorithm,
    bytes: usize,
}

/// What a plan depends on; whether TF32 is allowed, and sums in any order.
type Key = (DeviceId, &'static str, Geometry, Role, [bool; 2]);

thread_local! {
    // cuDNN's handles belong to a thread.
    static HANDLES: RefCell<HashMap<DeviceId, Arc<Cudnn>>> = RefCell::default();
    static PLANS: RefCell<HashMap<Key, Rc<dyn Any>>> = RefCell::default();
}

fn plan<T: Convolved>(device: &CudaDevice, geometry: &Geometry, role: Role) -> Result<Rc<Plan<T>>> {
    let allowed = [tf32_is_allowed(), unordered_sums_are_allowed()];
    let key = (device.id(), T::MODULE, *geometry, role, allowed);
    let known = PLANS.with(|plans| plans.borrow().get(&key).cloned());
    if let Some(Ok(plan)) = known.map(Rc::downcast) {
        return Ok(plan);
    }
    let plan = Rc::new(Plan::<T>::new(
        &handle(device)?,
        geometry,
        (role, most_bytes(device)?),
    )?);
    PLANS.with(|plans| plans.borrow_mut().insert(key, plan.clone()));
    Ok(plan)
}

fn handle(device: &CudaDevice) -> Result<Arc<Cudnn>> {
    HANDLES.with(|handles| {
        if let Some(handle) = handles.borrow().get(&device.id()) {
            return Ok(handle.clone());
        }
        let handle = Cudnn::new(device.cuda_stream()).map_err(Error::wrap)?;
        handles.borrow_mut().insert(device.id(), handle.clone());
        Ok(handle)
    })
}

impl<T: Convolved> Plan<T> {
    fn new(cudnn: &Arc<Cudnn>, g: &Geometry, (role, most): (Role, usize)) -> Result<Self> {
        let layout = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let of = |sizes: [usize; 4]| sizes.map(|size| size as i32);
        let mut convolution = (cudnn.create_conv2d::<T::Compute>(
            [g.padding as i32; 2],
            [g.stride as i32; 2],
            [1, 1],
            sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
        ))
        .map_err(Error::wrap)?;
        (convolution.set_math_type(arithmetic::<T>())).map_err(Error::wrap)?;
        let tensor = |sizes| {
            cudnn
                .create_4d_tensor::<T>(layout, of(sizes))
                .map_err(Error::wrap)
        };
        let (x, y) = (
            tensor([g.batch, g.c_in, g.height, g.width])?,
            tensor([g.batch, g.c_out, g.out_h(), g.out_w()])?,
        );
        let weight = (cudnn
            .create_4d_filter::<T>(layout, of([g.c_out, g.c_in, g.kernel_h, g.kernel_w])))
        .map_err(Error::wrap)?;
        let (algorithm, bytes) = chosen::<T>((&convolution, &x, &weight, &y), role, most)?;
        Ok(Self {
            convolution,
            x,
            weight,
            y,
            algorithm,
            bytes,
        })
    }

    fn launch(
        &self,
        device: &CudaDevice,
        a: &View,
        b: &View,
        out: &mut candle_core::cuda::cudarc::driver::CudaSlice<T>,
    ) -> Result<()> {
        let (a, b) = (a.elements::<T>()?, b.elements::<T>()?);
        let mut workspace = unwritten_bytes(device, self.bytes)?;
        let (scales, workspace) = ((T::ONE, T::ZERO), workspace.as_mut());
        let Self {
            convolution: conv,
            x,
            weight,
            y,
            ..
        } = self;
        // SAFETY: the descriptors are those of the geometry, whose sizes the views and the result have.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => ConvForward {
                    conv,
                    x,
                    w: weight,
                    y,
                }
                .launch(algorithm, workspace, scales, &a, &b, out),
                Algorithm::InputGradient(algorithm) => ConvBackwardData {
                    conv,
                    dx: x,
                    w: weight,
                    dy: y,
                }
                .launch(algorithm, workspace, scales, out, &b, &a),
                Algorithm::WeightGradient(algorithm) => ConvBackwardFilter {
                    conv,
                    x,
                    dw: weight,
                    dy: y,
                }
                .launch(algorithm, workspace, scales, &a, out, &b),
            }
        }
        .map_err(Error::wrap)
    }
}

fn arithmetic<T: Convolved>() -> sys::cudnnMathType_t {
    if T::MODULE == bf16::MODULE {
        sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH
    } else if tf32_is_allowed() {
        sys::cudnnMathType_t::CUDNN_DEFAULT_MATH
    } else {
        sys::cudnnMathType_t::CUDNN_FMA_MATH
    }
}

type Descriptors<'a, T> = (
    &'a ConvDescriptor<<T as Convolved>::Compute>,
    &'a TensorDescriptor<T>,
    &'a FilterDescriptor<T>,
    &'a TensorDescriptor<T>,
);

/// The algorithm by cuDNN's heuristics, or one that wants little where that wants more than `most` bytes; and what it wants.
fn chosen<T: Convolved>(
    (conv, x, weight, y): Descriptors<T>,
    role: Role,
    most: usize,
) -> Result<(Algorithm, usize)> {
    match role {
        Role::Forward => {
            let operation = ConvForward {
                conv,
                x,
                w: weight,
                y,
            };
            let algorithm = operation.pick_algorithm().map_err(Error::wrap)?;
            let bytes = |algorithm| (operation.get_workspace_size(algorithm)).map_err(Error::wrap);
            let algorithm = match bytes(algorithm)? > most {
                true => ForwardAlgorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
                false => algorithm,
            };
            Ok((Algorithm::Forward(algorithm), bytes(algorithm)?))
        }
        Role::InputGradient => {
            let operation = ConvBackwardData {
                conv,
                dx: x,
                w: weight,
                dy: y,
            };
            let algorithm = match operation.pick_algorithm().map_err(Error::wrap)? {
                DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0
                    if !unordered_sums_are_allowed() =>
                {
                    DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1
                }
                algorithm => algorithm,
            };
            let bytes = |algorithm| (operation.get_workspace_size(algorithm)).map_err(Error::wrap);
            let algorithm = match bytes(algorithm)? > most {
                true => DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1,
                false => algorithm,
            };
            Ok((Algorithm::InputGradient(algorithm), bytes(algorithm)?))
        }
        Role::WeightGradient => {
            let operation = ConvBackwardFilter {
                conv,
                x,
                dw: weight,
                dy: y,
            };
            let algorithm = match operation.pick_algorithm().map_err(Error::wrap)? {
                FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0
                | FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3
                    if !unordered_sums_are_allowed() =>
                {
                    FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1
                }
                algorithm => algorithm,
            };
            let bytes = |algorithm| (operation.get_workspace_size(algorithm)).map_err(Error::wrap);
            let algorithm = match bytes(algorithm)? > most {
                true => FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1,
                false => algorithm,
            };
            Ok((Algorithm::WeightGradient(algorithm), bytes(algorithm)?))
        }
    }
}

fn most_bytes(device: &CudaDevice) -> Result<usize> {
    let stream = device.cuda_stream();
    let (_, total) = stream.context().mem_get_info().map_err(Error::wrap)?;
    Ok(total / SHARE)
}

fn unwritten_bytes(
    device: &CudaDevice,
    bytes: usize,
) -> Result<Option<candle_core::cuda::cudarc::driver::CudaSlice<u8>>> {
    if bytes == 0 {
        return Ok(None);
    }
    // SAFETY: plain bytes, which cuDNN writes before it reads them.
    unsafe { device.alloc::<u8>(bytes) }.map(Some)
}
