//! A scale and a shift per channel: `y[b, c, h, w] = scale[c] · x[b, c, h, w] + shift[c]`.
//!
//! It is the input normalisation, and batch norm in evaluation mode.

use super::{
    Element, check_dtype, elements, for_dtype, gate, needs_gradient, rectify, with_elements,
};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

/// `scale[c] · x + shift[c]` for `x` `[B, C, …]`, `scale` and `shift` `[C]`; differentiable in all three.
///
/// # Errors
/// Where the number of channels differs.
pub fn channel_affine(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    apply(x, scale, shift, false)
}

/// The positive part of [`channel_affine`], in one pass where the device has one.
///
/// # Errors
/// As for [`channel_affine`].
pub fn rectified_channel_affine(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    if x.device().is_cuda() {
        return apply(x, scale, shift, true);
    }
    rectify(&channel_affine(x, scale, shift)?)
}

fn apply(x: &Tensor, scale: &Tensor, shift: &Tensor, rectified: bool) -> Result<Tensor> {
    check(x, scale, shift)?;
    x.contiguous()?.apply_op3(
        &scale.contiguous()?,
        &shift.contiguous()?,
        ChannelAffine { rectified },
    )
}

fn check(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<()> {
    check_dtype("channel affine", &[x, scale, shift])?;
    let channels = x.dim(1)?;
    if scale.dims() != [channels] || shift.dims() != [channels] {
        bail!(
            "channel affine: {channels} channels, but scale {:?} and shift {:?}",
            scale.dims(),
            shift.dims()
        );
    }
    Ok(())
}

/// `[B, C, rest]` of a shape.
fn planes(dims: &[usize]) -> (usize, usize, usize) {
    (dims[0], dims[1], dims[2..].iter().product())
}

/// `out = scale[c]·x + shift[c]`, plane by plane.
fn scale_and_shift<T: Element>(x: &[T], scale: &[T], shift: Option<&[T]>, plane: usize) -> Vec<T> {
    let channels = scale.len();
    let mut out = vec![T::default(); x.len()];
    out.par_chunks_mut(plane)
        .zip(x.par_chunks(plane))
        .enumerate()
        .for_each(|(index, (out, x))| {
            let c = index % channels;
            let (scale, shift) = (scale[c], shift.map_or(T::default(), |shift| shift[c]));
            for (out, &x) in out.iter_mut().zip(x) {
                *out = scale * x + shift;
            }
        });
    out
}

/// `Σ_{b,h,w} f(a, b)` per channel, in a fixed order.
pub(super) fn channel_sums<T: Element>(
    a: &[T],
    b: &[T],
    dims: &[usize],
    f: impl Fn(T, T) -> T + Sync,
) -> Vec<T> {
    let (batch, channels, plane) = planes(dims);
    (0..channels)
        .into_par_iter()
        .map(|c| {
            let mut total = 0.0;
            for image in 0..batch {
                let range = (image * channels + c) * plane..(image * channels + c + 1) * plane;
                total += lane_sum(&a[range.clone()], &b[range], &f);
            }
            T::from_f64(total)
        })
        .collect()
}

/// `Σ f(a, b)` over one plane with eight running sums, which the compiler turns into vector instructions.
pub(super) fn lane_sum<T: Element>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [T::default(); LANES];
    let (a_whole, b_whole) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_whole.remainder(), b_whole.remainder());
    for (a, b) in a_whole.zip(b_whole) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(a, b);
        }
    }
    let rest: f64 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(&a, &b)| f(a, b).to_f64())
        .sum();
    lanes.iter().map(|lane| lane.to_f64()).sum::<f64>() + rest
}

struct ChannelAffine {
    /// Whether the positive part is taken too; on CUDA devices alone.
    rectified: bool,
}

#[cfg(feature = "cuda")]
impl ChannelAffine {
    fn map(&self) -> super::cuda::ChannelMap<'static> {
        super::cuda::ChannelMap {
            moments: None,
            epsilon: 0.0,
            rectified: self.rectified,
        }
    }
}

impl CustomOp3 for ChannelAffine {
    fn name(&self) -> &'static str {
        "channel-affine"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if self.rectified {
            bail!("{}: not rectified on the processor", self.name());
        }
        let (_, _, plane) = planes(x_layout.dims());
        for_dtype!(x.dtype(), self.name(), T => {
            let (scale, shift) = (elements::<T>(scale, scale_layout)?, elements::<T>(shift, shift_layout)?);
            let y = scale_and_shift(elements::<T>(x, x_layout)?, scale, Some(shift), plane);
            Ok((T::to_cpu_storage_owned(y), x_layout.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        x_layout: &Layout,
        scale: &candle_core::CudaStorage,
        scale_layout: &Layout,
        shift: &candle_core::CudaStorage,
        shift_layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        use super::cuda::{View, mapped};
        let (scale, shift) = (
            View::new(scale, scale_layout),
            View::new(shift, shift_layout),
        );
        mapped(View::new(x, x_layout), scale, shift, self.map())
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let wanted = super::Wanted {
                input: needs_gradient(x),
                parameters: needs_gradient(scale) || needs_gradient(shift),
            };
            let found = super::cuda::gradients(x, (scale, shift), self.map(), &gradient, wanted)?;
            let (to_scale, to_shift) = found.parameters.unzip();
            return Ok((found.input, to_scale, to_shift));
        }
        let dims = x.dims();
        for_dtype!(x.dtype(), self.name(), T => with_elements::<T, _>(&gradient, |g| {
            let to_x = needs_gradient(x)
                .then(|| with_elements::<T, _>(scale, |scale| {
                    Tensor::from_vec(scale_and_shift(g, scale, None, planes(dims).2), dims, x.device())
                }))
                .transpose()?;
            let to_scale = needs_gradient(scale)
                .then(|| with_elements::<T, _>(x, |x| {
                    Tensor::from_vec(channel_sums(g, x, dims, |g, x| g * x), scale.shape(), scale.device())
                }))
                .transpose()?;
            let to_shift = needs_gradient(shift)
                .then(|| Tensor::from_vec(channel_sums(g, g, dims, |g, _| g), shift.shape(), shift.device()))
                .transpose()?;
            Ok((to_x, to_scale, to_shift))
        }))
    }
}

/// The gradient of what went into a channel's scale and shift (and a rectifier after it, which gave `output`).
///
/// # Errors
/// Where the shapes do not fit.
pub(crate) fn channel_affine_gradient(
    x: &Tensor,
    (scale, shift): (&Tensor, &Tensor),
    output: Option<&Tensor>,
    gradient: &Tensor,
) -> Result<Tensor> {
    let gradient = gradient.contiguous()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let affine = ChannelAffine {
            rectified: output.is_some(),
        };
        let wanted = super::Wanted {
            input: true,
            parameters: false,
        };
        let found = super::cuda::gradients(x, (scale, shift), affine.map(), &gradient, wanted)?;
        let missing = || candle_core::Error::Msg("channel affine: a gradient is missing".into());
        return found.input.ok_or_else(missing);
    }
    let _ = (x, shift);
    let gradient = match output {
        Some(output) => gate(output, &gradient)?,
        None => gradient,
    };
    channel_affine(&gradient, &scale.detach(), &scale.zeros_like()?)
}
