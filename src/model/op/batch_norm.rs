//! Batch norm in training mode: each channel is normalised by its own mean and (biased) variance over the batch.
//!
//! With `N = B·H·W`, `x̂ = (x − μ)/√(σ² + ε)`, `y = γ x̂ + β`, and `ȳ` the gradient that comes in:
//! `β̄ = Σ ȳ`, `γ̄ = Σ ȳ x̂`, `x̄ = γ/√(σ² + ε) · (ȳ − β̄/N − x̂ γ̄/N)` (Ioffe & Szegedy 2015).
//! In evaluation mode batch norm is a [`super::channel_affine`].

use super::planewise::{Planes, channel_sums, map_parts, plane_sums};
use super::rectifier::{floor, gated};
use super::{
    Element, Gradients, Wanted, check_dtype, elements, for_dtype, needs_gradient, with_elements,
};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

/// Mean and biased variance of each channel over a batch.
#[derive(Debug, Clone)]
pub struct BatchMoments {
    /// `[2, C]` in f64 where the activations are: means, then variances divided by `N`, not `N − 1`.
    pub values: Tensor,
    /// `N = B·H·W`, the values behind each mean.
    pub count: usize,
}

/// The moments of `x` `[B, C, H, W]`: of each plane around its own mean, put together in f64 (Chan, Golub & LeVeque 1983,
/// equation 1.5), so that memory is read once.
///
/// # Errors
/// Where `x` has not four dimensions or is empty.
pub fn batch_moments(x: &Tensor) -> Result<BatchMoments> {
    let x = x.contiguous()?;
    let (batch, channels, height, width) = x.dims4()?;
    let count = batch * height * width;
    if x.elem_count() == 0 {
        bail!("batch moments: input {:?} is empty", x.dims());
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let values = super::cuda::batch_moments(&x)?;
        return Ok(BatchMoments { values, count });
    }
    let planes = Planes::of(x.dims());
    for_dtype!(x.dtype(), "batch moments", T => with_elements::<T, _>(&x, |values| {
        let found: Vec<[f64; 2]> = (0..channels)
            .into_par_iter()
            .map(|channel| channel_moments(values, planes, channel))
            .collect();
        let rows = [0, 1].map(|row| found.iter().map(|moments| moments[row]).collect::<Vec<_>>());
        Ok(BatchMoments { values: Tensor::from_vec(rows.concat(), (2, channels), x.device())?, count })
    }))
}

/// Mean and biased variance of one channel.
fn channel_moments<T: Element>(x: &[T], planes: Planes, channel: usize) -> [f64; 2] {
    let each = planes.plane as f64;
    let (mut mean, mut squares) = (0.0, 0.0);
    for image in 0..planes.batch {
        let start = (image * planes.channels + channel) * planes.plane;
        let plane = [&x[start..start + planes.plane]];
        let [sum] = plane_sums(plane, |[x]| [x]);
        let centre = T::from_f64(sum / each);
        let [rest, squared] = plane_sums(plane, |[x]| [x - centre, (x - centre) * (x - centre)]);
        let of_plane = centre.to_f64() + rest / each;
        let (before, all) = (image as f64, (image + 1) as f64);
        let step = of_plane - mean;
        squares += squared - rest * rest / each + step * step * each * before / all;
        mean += step / all;
    }
    // Rounding can leave a constant channel just below zero; what is not finite stays so.
    let variance = squares / (each * planes.batch as f64);
    [mean, if variance < 0.0 { 0.0 } else { variance }]
}

/// `γ (x − μ)/√(σ² + epsilon) + β` with `moments` those of `x` itself; differentiable in `x`, `gamma` and `beta`.
///
/// # Errors
/// Where the number of channels differs.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    moments: BatchMoments,
    epsilon: f64,
) -> Result<Tensor> {
    apply(x, gamma, beta, moments, (epsilon, false))
}

/// The positive part of [`batch_norm`], in the same pass.
///
/// # Errors
/// As for [`batch_norm`].
pub fn rectified_batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    moments: BatchMoments,
    epsilon: f64,
) -> Result<Tensor> {
    apply(x, gamma, beta, moments, (epsilon, true))
}

fn apply(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    moments: BatchMoments,
    (epsilon, rectified): (f64, bool),
) -> Result<Tensor> {
    check_dtype("batch norm", &[x, gamma, beta])?;
    let channels = x.dim(1)?;
    if gamma.dims() != [channels]
        || beta.dims() != [channels]
        || moments.values.dims() != [2, channels]
    {
        bail!(
            "batch norm: {channels} channels, but weight {:?}, bias {:?} and moments {:?}",
            gamma.dims(),
            beta.dims(),
            moments.values.dims()
        );
    }
    x.contiguous()?.apply_op3(
        &gamma.contiguous()?,
        &beta.contiguous()?,
        BatchNorm {
            moments,
            epsilon,
            rectified,
        },
    )
}

struct BatchNorm {
    moments: BatchMoments,
    epsilon: f64,
    /// Whether the positive part is taken too.
    rectified: bool,
}

/// What a channel does to a value, `scale (x − mean) + shift`: one definition, so that the way back finds the very numbers whose
/// sign the pass forward saw.
#[derive(Clone, Copy)]
struct Channel<T> {
    scale: T,
    mean: T,
    shift: T,
}

impl<T: Element> Channel<T> {
    #[inline(always)]
    fn of_value(self, x: T) -> T {
        self.scale * (x - self.mean) + self.shift
    }
}

/// Of each channel, on the processor.
struct Statistics {
    mean: Vec<f64>,
    /// `1/√(σ² + ε)`
    inverse_deviation: Vec<f64>,
    count: usize,
}

impl BatchNorm {
    #[cfg(feature = "cuda")]
    fn map(&self) -> super::cuda::ChannelMap<'_> {
        super::cuda::ChannelMap {
            moments: Some(&self.moments.values),
            epsilon: self.epsilon,
            rectified: self.rectified,
        }
    }

    fn on_host(&self) -> Result<Statistics> {
        let mut mean = self.moments.values.flatten_all()?.to_vec1::<f64>()?;
        let variance = mean.split_off(mean.len() / 2);
        let inverse = |variance: f64| 1.0 / (variance + self.epsilon).sqrt();
        Ok(Statistics {
            mean,
            inverse_deviation: variance.into_iter().map(inverse).collect(),
            count: self.moments.count,
        })
    }
}

impl Statistics {
    fn channel<T: Element>(&self, [gamma, beta]: [&[T]; 2], index: usize) -> Channel<T> {
        Channel {
            scale: T::from_f64(gamma[index].to_f64() * self.inverse_deviation[index]),
            mean: T::from_f64(self.mean[index]),
            shift: beta[index],
        }
    }

    /// `x̄` of the module's head, from `[x, ȳ]` and the sums `[Σ ȳ, Σ ȳ (x − μ)]` of each channel.
    fn input_gradient<T: Element>(
        &self,
        inputs: [&[T]; 2],
        parameters: [&[T]; 2],
        sums: &[[f64; 2]],
        (planes, rectified): (Planes, bool),
    ) -> Vec<T> {
        let share = 1.0 / self.count as f64;
        map_parts(inputs, planes.plane, |index| {
            let c = index % planes.channels;
            let channel = self.channel(parameters, c);
            let inverse = self.inverse_deviation[c];
            let factor = parameters[0][c].to_f64() * inverse;
            // x̄ = scale·ȳ + slope·(x − μ) + constant
            let slope = T::from_f64(-factor * share * sums[c][1] * inverse * inverse);
            let constant = T::from_f64(-factor * share * sums[c][0]);
            move |[x, gradient]: [T; 2]| {
                let gradient = gated(rectified, channel.of_value(x), gradient);
                channel.scale * gradient + slope * (x - channel.mean) + constant
            }
        })
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let statistics = self.on_host()?;
        let planes = Planes::of(x_layout.dims());
        for_dtype!(x.dtype(), self.name(), T => {
            let x = elements::<T>(x, x_layout)?;
            let (gamma, beta) = (elements::<T>(gamma, gamma_layout)?, elements::<T>(beta, beta_layout)?);
            let floor = floor::<T>(self.rectified);
            let y = map_parts([x], planes.plane, |index| {
                let channel = statistics.channel([gamma, beta], index % planes.channels);
                move |[x]: [T; 1]| floor(channel.of_value(x))
            });
            Ok((T::to_cpu_storage_owned(y), x_layout.shape().clone()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        x_layout: &Layout,
        gamma: &candle_core::CudaStorage,
        gamma_layout: &Layout,
        beta: &candle_core::CudaStorage,
        beta_layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        use super::cuda::{View, mapped};
        let (gamma, beta) = (View::new(gamma, gamma_layout), View::new(beta, beta_layout));
        mapped(View::new(x, x_layout), gamma, beta, self.map())
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let wanted = Wanted {
            input: needs_gradient(x),
            parameters: needs_gradient(gamma) || needs_gradient(beta),
        };
        let found = self.gradients(x, (gamma, beta), gradient, wanted)?;
        let (to_gamma, to_beta) = found.parameters.unzip();
        Ok((found.input, to_gamma, to_beta))
    }
}

/// Gradients of what went into batch norm (and a rectifier after it, where `rectified`), and of γ and β.
///
/// # Errors
/// Where the shapes do not fit.
pub(crate) fn batch_norm_gradients(
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    (moments, epsilon): (BatchMoments, f64),
    rectified: bool,
    gradient: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    let operation = BatchNorm {
        moments,
        epsilon,
        rectified,
    };
    operation.gradients(x, (gamma, beta), gradient, wanted)
}

impl BatchNorm {
    fn gradients(
        &self,
        x: &Tensor,
        (gamma, beta): (&Tensor, &Tensor),
        gradient: &Tensor,
        wanted: Wanted,
    ) -> Result<Gradients> {
        let gradient = gradient.contiguous()?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return super::cuda::gradients(x, (gamma, beta), self.map(), &gradient, wanted);
        }
        for_dtype!(x.dtype(), self.name(), T => with_elements::<T, _>(x, |values| {
            with_elements::<T, _>(&gradient, |gradient| with_elements::<T, _>(gamma, |gamma| {
                with_elements::<T, _>(beta, |beta| {
                    self.gradients_on_host([values, gradient], x, [gamma, beta], wanted)
                })
            }))
        }))
    }

    fn gradients_on_host<T: Element>(
        &self,
        inputs: [&[T]; 2],
        x: &Tensor,
        parameters: [&[T]; 2],
        wanted: Wanted,
    ) -> Result<Gradients> {
        let (statistics, planes) = (self.on_host()?, Planes::of(x.dims()));
        let rectified = self.rectified;
        let sums: Vec<[f64; 2]> = channel_sums(inputs, planes, |index| {
            let channel = statistics.channel(parameters, index);
            move |[x, gradient]: [T; 2]| {
                let gradient = gated(rectified, channel.of_value(x), gradient);
                [gradient, gradient * (x - channel.mean)]
            }
        });
        let to_input = || {
            let found = statistics.input_gradient(inputs, parameters, &sums, (planes, rectified));
            Tensor::from_vec(found, x.shape(), x.device())
        };
        let to_parameters = || {
            let with_deviations = sums.iter().zip(&statistics.inverse_deviation);
            let to_gamma = with_deviations.map(|([_, sum], inverse)| T::from_f64(sum * inverse));
            let to_beta = sums.iter().map(|[sum, _]| T::from_f64(*sum));
            let vector = |values: Vec<T>| Tensor::from_vec(values, planes.channels, x.device());
            Result::Ok((vector(to_gamma.collect())?, vector(to_beta.collect())?))
        };
        Ok(Gradients {
            input: wanted.input.then(to_input).transpose()?,
            parameters: wanted.parameters.then(to_parameters).transpose()?,
        })
    }
}
