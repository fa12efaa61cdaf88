//! Batch norm in training mode: each channel is normalised by its own mean and (biased) variance over the batch.
//!
//! With `N = B·H·W`, `x̂ = (x − μ)/√(σ² + ε)`, `y = γ x̂ + β`, and `ȳ` the gradient that comes in:
//! `β̄ = Σ ȳ`, `γ̄ = Σ ȳ x̂`, `x̄ = γ/√(σ² + ε) · (ȳ − β̄/N − x̂ γ̄/N)` (Ioffe & Szegedy 2015).
//! In evaluation mode batch norm is a [`super::channel_affine`].

use super::affine::{channel_sums, lane_sum};
use super::{
    Element, Gradients, Wanted, check_dtype, elements, for_dtype, gate, needs_gradient, rectify,
    with_elements,
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

/// The moments of `x` `[B, C, H, W]`, by the two-pass formula.
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
    for_dtype!(x.dtype(), "batch moments", T => with_elements::<T, _>(&x, |values| {
        let scale = 1.0 / count as f64;
        let mut moments: Vec<f64> =
            channel_sums(values, values, x.dims(), |x, _| x).iter().map(|sum| sum.to_f64() * scale).collect();
        let variance: Vec<f64> = (0..channels)
            .into_par_iter()
            .map(|c| squared_deviations(values, (batch, channels, height * width), c, T::from_f64(moments[c])) * scale)
            .collect();
        moments.extend(variance);
        Ok(BatchMoments { values: Tensor::from_vec(moments, (2, channels), x.device())?, count })
    }))
}

/// `Σ (x − mean)²` over one channel.
fn squared_deviations<T: Element>(
    x: &[T],
    (batch, channels, plane): (usize, usize, usize),
    c: usize,
    mean: T,
) -> f64 {
    (0..batch)
        .map(|image| {
            let x = &x[(image * channels + c) * plane..][..plane];
            lane_sum(x, x, |x, _| (x - mean) * (x - mean))
        })
        .sum()
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

/// The positive part of [`batch_norm`], in one pass where the device has one.
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
    if x.device().is_cuda() {
        return apply(x, gamma, beta, moments, (epsilon, true));
    }
    rectify(&batch_norm(x, gamma, beta, moments, epsilon)?)
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
    /// Whether the positive part is taken too; on CUDA devices alone.
    rectified: bool,
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
    /// `x̄` of the module's head.
    fn input_gradient<T: Element>(
        &self,
        x: &[T],
        y_gradient: &[T],
        gamma: &[T],
        sums: (&[T], &[T]),
        plane: usize,
    ) -> Vec<T> {
        let channels = self.mean.len();
        let scale = 1.0 / self.count as f64;
        let mut out = vec![T::default(); x.len()];
        out.par_chunks_mut(plane)
            .zip(x.par_chunks(plane).zip(y_gradient.par_chunks(plane)))
            .enumerate()
            .for_each(|(index, (out, (x, y)))| {
                let c = index % channels;
                let factor = gamma[c].to_f64() * self.inverse_deviation[c];
                // x̄ = factor·ȳ + slope·(x − μ) + constant
                let slope = -factor * scale * sums.1[c].to_f64() * self.inverse_deviation[c];
                let constant = -factor * scale * sums.0[c].to_f64();
                let [factor, slope, constant, mean] =
                    [factor, slope, constant, self.mean[c]].map(T::from_f64);
                for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                    *out = factor * y + slope * (x - mean) + constant;
                }
            });
        out
    }

    /// `Σ ȳ x̂` from `Σ ȳ (x − μ)`.
    fn gamma_gradient<T: Element>(&self, x: &[T], y_gradient: &[T], dims: &[usize]) -> Vec<T> {
        let (batch, channels, plane) = (dims[0], dims[1], dims[2..].iter().product::<usize>());
        (0..channels)
            .into_par_iter()
            .map(|c| {
                let mean = T::from_f64(self.mean[c]);
                let sum: f64 = (0..batch)
                    .map(|image| {
                        let range =
                            (image * channels + c) * plane..(image * channels + c + 1) * plane;
                        lane_sum(&x[range.clone()], &y_gradient[range], |x, y| (x - mean) * y)
                    })
                    .sum();
                T::from_f64(sum * self.inverse_deviation[c])
            })
            .collect()
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
        if self.rectified {
            bail!("{}: not rectified on the processor", self.name());
        }
        let Statistics {
            mean: means,
            inverse_deviation,
            ..
        } = self.on_host()?;
        let channels = means.len();
        let plane: usize = x_layout.dims()[2..].iter().product();
        for_dtype!(x.dtype(), self.name(), T => {
            let x = elements::<T>(x, x_layout)?;
            let (gamma, beta) = (elements::<T>(gamma, gamma_layout)?, elements::<T>(beta, beta_layout)?);
            let mut y = vec![T::default(); x.len()];
            y.par_chunks_mut(plane).zip(x.par_chunks(plane)).enumerate().for_each(|(index, (y, x))| {
                let c = index % channels;
                let mean = T::from_f64(means[c]);
                let (scale, shift) = (T::from_f64(gamma[c].to_f64() * inverse_deviation[c]), beta[c]);
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = scale * (x - mean) + shift;
                }
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

/// Gradients of what went into batch norm (and a rectifier after it, which gave `output`), and of γ and β.
///
/// # Errors
/// Where the shapes do not fit.
pub(crate) fn batch_norm_gradients(
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    (moments, epsilon): (BatchMoments, f64),
    output: Option<&Tensor>,
    gradient: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    // On CUDA devices the rectifier is part of the operation.
    let rectified = output.is_some() && x.device().is_cuda();
    let operation = BatchNorm {
        moments,
        epsilon,
        rectified,
    };
    match output {
        Some(output) if !rectified => {
            operation.gradients(x, (gamma, beta), &gate(output, gradient)?, wanted)
        }
        _ => operation.gradients(x, (gamma, beta), gradient, wanted),
    }
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
        let statistics = self.on_host()?;
        let dims = x.dims();
        for_dtype!(x.dtype(), self.name(), T => with_elements::<T, _>(&gradient, |g| with_elements::<T, _>(x, |values| {
            let to_beta = channel_sums(g, g, dims, |g, _| g);
            let to_gamma = statistics.gamma_gradient(values, g, dims);
            let to_x = wanted.input
                .then(|| with_elements::<T, _>(gamma, |gamma| {
                    let plane = dims[2..].iter().product();
                    let x_gradient = statistics.input_gradient(values, g, gamma, (&to_beta, &to_gamma), plane);
                    Tensor::from_vec(x_gradient, dims, x.device())
                }))
                .transpose()?;
            let like = |values: Vec<T>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
            let parameters = wanted.parameters
                .then(|| candle_core::Result::Ok((like(to_gamma, gamma)?, like(to_beta, beta)?)))
                .transpose()?;
            Ok(Gradients { input: to_x, parameters })
        })))
    }
}
