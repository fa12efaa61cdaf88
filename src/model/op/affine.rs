//! A scale and a shift per channel: `y[b, c, h, w] = scale[c] · x[b, c, h, w] + shift[c]`.
//!
//! It is the input normalisation, and batch norm in evaluation mode.

use super::planewise::{Planes, channel_sums, map_parts};
use super::rectifier::{floor, gated};
use super::{
    Element, Gradients, Wanted, check_dtype, elements, for_dtype, needs_gradient, with_elements,
};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};

/// `scale[c] · x + shift[c]` for `x` `[B, C, …]`, `scale` and `shift` `[C]`; differentiable in all three.
///
/// # Errors
/// Where the number of channels differs.
pub fn channel_affine(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    apply(x, scale, shift, false)
}

/// The positive part of [`channel_affine`], in the same pass.
///
/// # Errors
/// As for [`channel_affine`].
pub fn rectified_channel_affine(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    apply(x, scale, shift, true)
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

/// `scale[c]·ȳ` where the rectifier let through what gave `output`.
fn input_gradient<T: Element>(
    [gradient, output]: [&[T]; 2],
    scale: &[T],
    plane: usize,
    rectified: bool,
) -> Vec<T> {
    map_parts([gradient, output], plane, |index| {
        let scale = scale[index % scale.len()];
        move |[gradient, output]: [T; 2]| scale * gated(rectified, output, gradient)
    })
}

struct ChannelAffine {
    /// Whether the positive part is taken too.
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
        let planes = Planes::of(x_layout.dims());
        for_dtype!(x.dtype(), self.name(), T => {
            let (scale, shift) = (elements::<T>(scale, scale_layout)?, elements::<T>(shift, shift_layout)?);
            let floor = floor::<T>(self.rectified);
            let y = map_parts([elements::<T>(x, x_layout)?], planes.plane, |index| {
                let (scale, shift) = (scale[index % planes.channels], shift[index % planes.channels]);
                move |[x]: [T; 1]| floor(scale * x + shift)
            });
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
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let wanted = Wanted {
            input: needs_gradient(x),
            parameters: needs_gradient(scale) || needs_gradient(shift),
        };
        let output = self.rectified.then_some(result);
        let found = channel_affine_gradients(x, (scale, shift), output, gradient, wanted)?;
        let (to_scale, to_shift) = found.parameters.unzip();
        Ok((found.input, to_scale, to_shift))
    }
}

/// Gradients of what went into a channel's scale and shift (and a rectifier after it, which gave `output`), and of scale and
/// shift.
///
/// # Errors
/// Where the shapes do not fit.
pub(crate) fn channel_affine_gradients(
    x: &Tensor,
    (scale, shift): (&Tensor, &Tensor),
    output: Option<&Tensor>,
    gradient: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    let gradient = gradient.contiguous()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let affine = ChannelAffine {
            rectified: output.is_some(),
        };
        return super::cuda::gradients(x, (scale, shift), affine.map(), &gradient, wanted);
    }
    check(&gradient, scale, shift)?;
    let (planes, rectified) = (Planes::of(x.dims()), output.is_some());
    // Without a rectifier what came out is not looked at.
    let output = output.unwrap_or(&gradient);
    for_dtype!(x.dtype(), "channel affine", T => with_elements::<T, _>(&gradient, |g| with_elements::<T, _>(output, |y| {
        let to_x = || with_elements::<T, _>(scale, |scale| {
            Tensor::from_vec(input_gradient([g, y], scale, planes.plane, rectified), x.shape(), x.device())
        });
        let to_parameters = || {
            let sums = with_elements::<T, _>(x, |x| Ok(channel_sums([x, g, y], planes, |_| {
                move |[x, gradient, output]: [T; 3]| {
                    let gradient = gated(rectified, output, gradient);
                    [gradient * x, gradient]
                }
            })))?;
            let summed = |row: usize, like: &Tensor| {
                let sums: Vec<T> = sums.iter().map(|sums: &[f64; 2]| T::from_f64(sums[row])).collect();
                Tensor::from_vec(sums, like.shape(), like.device())
            };
            Result::Ok((summed(0, scale)?, summed(1, shift)?))
        };
        Ok(Gradients {
            input: wanted.input.then(to_x).transpose()?,
            parameters: wanted.parameters.then(to_parameters).transpose()?,
        })
    })))
}
