//! A map per channel, `scale[c] (x − centre[c]) + shift[c]`: batch norm in both modes and the input normalisation, each with a
//! rectifier after it where there is one, and their gradients.
//!
//! Where there are moments the scale is `γ/√(σ² + ε)` and the centre μ; without them the scale is γ and the centre 0. Activations
//! are by far the largest thing here, so that what counts is how often they are read and written: once each forward (and once
//! read for the moments), twice read and once written backward.

use super::{
    CudaElement, View, constant, for_cuda_dtype, kernel, launch, over, packed, unwritten, with_view,
};
use crate::model::op::{Gradients, Wanted};
use candle_core::backend::BackendStorage;
use candle_core::cuda::CudaDevice;
use candle_core::cuda::cudarc::driver::{CudaSlice, CudaViewMut, DevicePtr, LaunchConfig};
use candle_core::{CudaStorage, Result, Shape, Tensor};

/// Threads of a block.
const THREADS: u32 = 256;
/// Blocks that fill a large card several times.
const BLOCKS: u32 = 1024;
/// Most partial sums of a channel.
const MOST_PARTS: u32 = 16;

/// What happens to a channel besides γ and β.
#[derive(Clone, Copy)]
pub(in super::super) struct ChannelMap<'a> {
    /// `[2, C]` in f64, means and variances.
    pub moments: Option<&'a Tensor>,
    /// Added to a variance.
    pub epsilon: f64,
    /// Whether the positive part follows.
    pub rectified: bool,
}

impl ChannelMap<'_> {
    /// The address of the moments, 0 where there are none; they live as long as the map.
    fn moments_address(&self) -> Result<u64> {
        match self.moments {
            None => Ok(0),
            Some(moments) => with_view(moments, |moments| moments.address::<f64>()),
        }
    }
}

/// The map of every channel of `x` `[B, C, …]`.
pub(in super::super) fn mapped(
    x: View,
    gamma: View,
    beta: View,
    map: ChannelMap,
) -> Result<(CudaStorage, Shape)> {
    let (_, channels, plane) = sizes(x.dims());
    let (moments, rectified) = (map.moments_address()?, u32::from(map.rectified));
    for_cuda_dtype!(x.storage.dtype(), T => {
        let width = packed(plane, &[x]);
        let (grid, count) = over(x.count(), width)?;
        let mut y = unwritten::<T>(x.device(), x.count())?;
        launch!(
            kernel::<T>(x.device(), ["mapped_1", "mapped_4"][usize::from(width == 4)])?, grid,
            &x.elements::<T>()?, &gamma.elements::<T>()?, &beta.elements::<T>()?, &moments, &mut y,
            &map.epsilon, &count, &plane, &channels, &rectified
        );
        Ok((CudaStorage::wrap_cuda_slice(y, x.device().clone()), x.layout.shape().clone()))
    })
}

/// Mean and biased variance of each channel, f64 `[2, C]`.
pub(in super::super) fn batch_moments(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, plane) = sizes(x.dims());
    for_cuda_dtype!(x.dtype(), T => with_view(x, |x| {
        let device = x.device();
        let width = packed(plane, &[x]);
        let count = over(x.count(), width)?.1 / channels;
        let (grid, lanes, number) = over_channels(batch, channels, plane, width);
        let mut sums = Sums::unwritten(device, channels, number)?;
        let (mut moments, mut parts) = sums.split();
        let x = x.elements::<T>()?;
        launch!(
            kernel::<T>(device, ["moment_parts_1", "moment_parts_4"][usize::from(width == 4)])?, grid,
            &x, &mut parts, &batch, &channels, &plane, &lanes
        );
        launch!(
            kernel::<T>(device, "moments")?, over(channels as usize, 1)?.0,
            &x, &mut parts, &mut moments, &count, &channels, &plane, &number
        );
        let size = sums.values.len();
        let moments = constant(sums.values, device, size).narrow(0, 0, 2 * channels as usize)?;
        moments.reshape((2, channels as usize))
    }))
}

/// Gradients of `x`, and of γ and β.
pub(in super::super) fn gradients(
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    map: ChannelMap,
    gradient: &Tensor,
    wanted: Wanted,
) -> Result<Gradients> {
    let (batch, channels, plane) = sizes(x.dims());
    let (moments, rectified) = (map.moments_address()?, u32::from(map.rectified));
    for_cuda_dtype!(x.dtype(), T => {
        with_view(x, |values| with_view(gradient, |slopes| with_view(gamma, |gamma| with_view(beta, |beta| {
            let device = values.device();
            let width = packed(plane, &[values, slopes]);
            let wide = usize::from(width == 4);
            let (grid_over, count) = over(values.count(), width)?;
            let (x_all, g_all) = (values.elements::<T>()?, slopes.elements::<T>()?);
            let (gamma, beta) = (gamma.elements::<T>()?, beta.elements::<T>()?);
            let (grid, lanes, number) = over_channels(batch, channels, plane, width);
            let mut parameters = None;
            // What the kernel does not read where there are no moments.
            let mut sums = None;
            if wanted.parameters || map.moments.is_some() {
                let sums = sums.insert(Sums::unwritten(device, channels, number)?);
                let (_, mut parts) = sums.split();
                launch!(
                    kernel::<T>(device, ["gradient_parts_1", "gradient_parts_4"][wide])?, grid,
                    &x_all, &g_all, &gamma, &beta, &moments, &mut parts, &map.epsilon, &batch, &channels, &plane, &lanes, &rectified
                );
                parameters = Some(totals::<T>(device, sums, (moments, map.epsilon))?);
            }
            let mut input = None;
            if wanted.input {
                let mut out = unwritten::<T>(device, values.count())?;
                let sums = sums.as_ref().map_or(0, |sums| sums.address(device));
                let behind_a_mean = f64::from(batch) * f64::from(plane);
                launch!(
                    kernel::<T>(device, ["input_gradient_1", "input_gradient_4"][wide])?, grid_over,
                    &x_all, &g_all, &gamma, &beta, &moments, &sums, &mut out, &map.epsilon, &behind_a_mean, &count, &plane,
                    &channels, &rectified
                );
                input = Some(constant(out, device, x.shape()));
            }
            let parameters = parameters.filter(|_| wanted.parameters);
            Ok(Gradients { input, parameters })
        }))))
    })
}

/// Two sums of each channel, `[2, C]`, and behind them the partial sums that they are made of, `[2, C, number]`.
pub(super) struct Sums {
    values: CudaSlice<f64>,
    channels: u32,
    number: u32,
}

impl Sums {
    pub(super) fn unwritten(device: &CudaDevice, channels: u32, number: u32) -> Result<Self> {
        Ok(Self {
            values: unwritten::<f64>(device, (2 * channels * (1 + number)) as usize)?,
            channels,
            number,
        })
    }

    /// Where the sums are.
    fn address(&self, device: &CudaDevice) -> u64 {
        self.values.device_ptr(&device.cuda_stream()).0
    }

    /// Sums and partial sums.
    pub(super) fn split(&mut self) -> (CudaViewMut<'_, f64>, CudaViewMut<'_, f64>) {
        self.values.split_at_mut(2 * self.channels as usize)
    }
}

/// Of partial sums of gradients and weighted gradients: the sums, and the gradients of γ and β. With the address of moments, or 0,
/// and what is added to a variance.
pub(super) fn totals<T: CudaElement>(
    device: &CudaDevice,
    sums: &mut Sums,
    (moments, epsilon): (u64, f64),
) -> Result<(Tensor, Tensor)> {
    let (channels, number) = (sums.channels, sums.number);
    let count = channels as usize;
    let (mut sums, mut parts) = sums.split();
    let mut gradients = unwritten::<T>(device, 2 * count)?;
    let (mut to_gamma, mut to_beta) = gradients.split_at_mut(count);
    launch!(
        kernel::<T>(device, "channel_gradients")?,
        over(count, 1)?.0,
        &mut parts,
        &moments,
        &mut sums,
        &mut to_gamma,
        &mut to_beta,
        &epsilon,
        &channels,
        &number
    );
    let gradients = constant(gradients, device, 2 * count);
    Ok((
        gradients.narrow(0, 0, count)?,
        gradients.narrow(0, count, count)?,
    ))
}

/// Batch norm in evaluation mode as scale and shift: `γ/√(σ² + ε)` and `β − μ scale`.
pub(crate) fn folded(
    [gamma, beta, mean, variance]: [&Tensor; 4],
    epsilon: f64,
) -> Result<(Tensor, Tensor)> {
    let channels = gamma.elem_count();
    for_cuda_dtype!(gamma.dtype(), T => with_view(gamma, |gamma| with_view(beta, |beta| {
        with_view(mean, |mean| with_view(variance, |variance| {
            let device = gamma.device();
            let [mut scale, mut shift] = [unwritten::<T>(device, channels)?, unwritten::<T>(device, channels)?];
            let (grid, count) = over(channels, 1)?;
            launch!(
                kernel::<T>(device, "folded")?, grid,
                &gamma.elements::<T>()?, &beta.elements::<T>()?, &mean.elements::<T>()?, &variance.elements::<T>()?,
                &mut scale, &mut shift, &epsilon, &count
            );
            Ok((constant(scale, device, channels), constant(shift, device, channels)))
        }))
    })))
}

/// `[B, C, rest]` of a shape.
fn sizes(dims: &[usize]) -> (u32, u32, u32) {
    let plane: usize = dims[2..].iter().product();
    (dims[0] as u32, dims[1] as u32, plane as u32)
}

/// The grid of a sum over each channel, the threads that go over a plane, and the partial sums of a channel.
pub(super) fn over_channels(
    batch: u32,
    channels: u32,
    plane: u32,
    width: u32,
) -> (LaunchConfig, u32, u32) {
    let lanes = plane.div_ceil(width).next_power_of_two().min(THREADS);
    let images = THREADS / lanes;
    let number = (BLOCKS.div_ceil(channels))
        .clamp(1, MOST_PARTS)
        .min(batch.div_ceil(images));
    let grid = LaunchConfig {
        grid_dim: (channels, number, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    };
    (grid, lanes, number)
}
