//! A step of projected gradient ascent on images, one launch (`ascent.cu`).

use super::{constant, for_cuda_dtype, kernel, launch, over, unwritten, with_views};
use candle_core::cuda::cudarc::driver::LaunchConfig;
use candle_core::{Result, Tensor, bail};

/// The ball, and how far a step goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ascent {
    /// Whether lengths are Euclidean, or else those of the largest change.
    pub euclidean: bool,
    /// Of the ball around the images.
    pub radius: f64,
    /// Of the step.
    pub step: f64,
}

/// `perturbed` `[B, …]` after a step along `slope`, in the ball around `images` and in `[0, 1]`.
pub(crate) fn ascend(
    images: &Tensor,
    perturbed: &Tensor,
    slope: &Tensor,
    ascent: Ascent,
) -> Result<Tensor> {
    let batch = images.dim(0)?;
    if [perturbed, slope]
        .iter()
        .any(|other| other.dims() != images.dims())
    {
        bail!(
            "ascent: images {:?}, perturbed {:?}, slope {:?}",
            images.dims(),
            perturbed.dims(),
            slope.dims()
        );
    }
    for_cuda_dtype!(images.dtype(), T => with_views([images, perturbed, slope], |[images, perturbed, slope]| {
        let device = images.device();
        let (_, count) = over(images.count(), 1)?;
        let pixels = count / batch as u32;
        let grid = LaunchConfig {
            grid_dim: (batch as u32, 1, 1),
            block_dim: (if pixels > 1 << 12 { 1024 } else { 256 }, 1, 1),
            shared_mem_bytes: 0,
        };
        let mut moved = unwritten::<T>(device, images.count())?;
        let (radius, step, euclidean) = (ascent.radius, ascent.step, u32::from(ascent.euclidean));
        launch!(
            kernel::<T>(device, "ascend")?, grid,
            &images.elements::<T>()?, &perturbed.elements::<T>()?, &slope.elements::<T>()?, &mut moved, &radius, &step, &pixels,
            &euclidean
        );
        Ok(constant(moved, device, images.layout.shape().clone()))
    }))
}
