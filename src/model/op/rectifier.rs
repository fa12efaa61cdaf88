//! Rectified linear units: `max(x, 0)`, and `max(a + b, 0)` for the end of a residual block, in one parallel pass.
//!
//! The derivative at 0 is 0, as in PyTorch (candle's own is 1).

use super::planewise::map;
use super::{Element, check_dtype, elements, for_dtype, needs_gradient, with_elements};
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType, bail,
};

/// `max(x, 0)`, elementwise.
///
/// # Errors
/// Where the dtype is neither `f32` nor `f64`.
pub fn rectify(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Rectifier)
}

/// `max(a + b, 0)`, elementwise, for two tensors of one shape.
///
/// # Errors
/// Where shapes or dtypes differ.
pub fn add_rectify(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_dtype("add-rectifier", &[a, b])?;
    if a.dims() != b.dims() {
        bail!(
            "residual sum: shapes {:?} and {:?} differ",
            a.dims(),
            b.dims()
        );
    }
    a.contiguous()?.apply_op2(&b.contiguous()?, AddRectifier)
}

/// The positive part where `rectified`, else the value itself. `max` of NaN would hide it; this comparison passes it on.
#[inline(always)]
pub(super) fn floor<T: Element>(rectified: bool) -> impl Fn(T) -> T + Copy + Sync {
    let least = match rectified {
        true => T::default(),
        false => T::from_f64(f64::NEG_INFINITY),
    };
    move |value| if value < least { least } else { value }
}

/// The incoming gradient where the result is positive, else 0; all of it where nothing was `rectified`.
#[inline(always)]
pub(super) fn gated<T: Element>(rectified: bool, result: T, gradient: T) -> T {
    if !rectified || result > T::default() {
        gradient
    } else {
        T::default()
    }
}

/// The incoming gradient where the result is positive, else 0.
pub(crate) fn gate(result: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let gradient = gradient.contiguous()?;
    #[cfg(feature = "cuda")]
    if result.device().is_cuda() {
        return super::cuda::gate(result, &gradient);
    }
    for_dtype!(result.dtype(), "rectifier", T => with_elements::<T, _>(result, |result| {
        with_elements::<T, _>(&gradient, |g| {
            let found = map([result, g], |[result, g]| gated(true, result, g));
            Tensor::from_vec(found, gradient.shape(), gradient.device())
        })
    }))
}

/// [`gate`] for the sum of two gradients, in one pass.
pub(crate) fn gate_sum(result: &Tensor, [a, b]: [&Tensor; 2]) -> Result<Tensor> {
    check_dtype("rectifier", &[result, a, b])?;
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    #[cfg(feature = "cuda")]
    if result.device().is_cuda() {
        return super::cuda::gate_sum(result, [&a, &b]);
    }
    for_dtype!(result.dtype(), "rectifier", T => with_elements::<T, _>(result, |result| {
        with_elements::<T, _>(&a, |first| with_elements::<T, _>(&b, |second| {
            let found = map([result, first, second], |[result, a, b]| gated(true, result, a + b));
            Tensor::from_vec(found, a.shape(), a.device())
        }))
    }))
}

struct Rectifier;

impl CustomOp1 for Rectifier {
    fn name(&self) -> &'static str {
        "rectifier"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        for_dtype!(x.dtype(), self.name(), T => {
            let x = elements::<T>(x, layout)?;
            let floor = floor::<T>(true);
            let y = map([x], |[x]| floor(x));
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        super::cuda::rectify(super::cuda::View::new(x, layout))
    }

    fn bwd(&self, _x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gate(result, gradient).map(Some)
    }
}

struct AddRectifier;

impl CustomOp2 for AddRectifier {
    fn name(&self) -> &'static str {
        "add-rectifier"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        for_dtype!(a.dtype(), self.name(), T => {
            let (a, b) = (elements::<T>(a, a_layout)?, elements::<T>(b, b_layout)?);
            let floor = floor::<T>(true);
            let y = map([a, b], |[a, b]| floor(a + b));
            Ok((T::to_cpu_storage_owned(y), a_layout.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &candle_core::CudaStorage,
        a_layout: &Layout,
        b: &candle_core::CudaStorage,
        b_layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        use super::cuda::{View, add_rectify};
        add_rectify(View::new(a, a_layout), View::new(b, b_layout))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gated = gate(result, gradient)?;
        Ok((
            needs_gradient(a).then(|| gated.clone()),
            needs_gradient(b).then_some(gated),
        ))
    }
}
