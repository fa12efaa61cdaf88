//! Tangents along several directions beside the values that they share.

use super::normalisation::{Sums, over_channels, totals};
use super::{constant, for_cuda_dtype, kernel, launch, over, packed, unwritten, with_views};
use crate::model::op::directions::{ScaleAlong, Sizes};
use candle_core::{Result, Tensor};

/// `scale · along + scale_along · x + shift_along`, gated by `output` where there is one.
pub(in super::super) fn affine_along(
    sizes: Sizes,
    (x, along): (&Tensor, &Tensor),
    of: ScaleAlong,
    output: Option<&Tensor>,
) -> Result<Tensor> {
    let gated = u32::from(output.is_some());
    let output = output.unwrap_or(x);
    let [plane, channels, directions] = numbers(sizes);
    for_cuda_dtype!(x.dtype(), T => with_views([x, along, of.scale, of.scale_along, of.shift_along, output], |views| {
        let [x, along_view, scale, scale_along, shift_along, output] = views;
        let device = x.device();
        let width = packed(plane, &[x, along_view, output]);
        let (grid, count) = over(along_view.count(), width)?;
        let mut y = unwritten::<T>(device, along_view.count())?;
        launch!(
            kernel::<T>(device, ["affine_along_1", "affine_along_4"][usize::from(width == 4)])?, grid,
            &x.elements::<T>()?, &along_view.elements::<T>()?, &scale.elements::<T>()?, &scale_along.elements::<T>()?,
            &shift_along.elements::<T>()?, &output.elements::<T>()?, &mut y, &count, &plane, &channels, &directions, &gated
        );
        Ok(constant(y, device, along.shape()))
    }))
}

/// Σ ġ x + ḡ ẋ and Σ ġ, `[k, C]`.
pub(in super::super) fn affine_along_gradients(
    sizes: Sizes,
    (x, gradient): (&Tensor, &Tensor),
    second: Option<(&Tensor, &Tensor)>,
) -> Result<(Tensor, Tensor)> {
    let two = u32::from(second.is_some());
    let (x_along, shared) = second.unwrap_or((gradient, x));
    let [plane, channels, directions] = numbers(sizes);
    let (batch, columns) = (sizes.batch as u32, channels * directions);
    for_cuda_dtype!(x.dtype(), T => with_views([x, gradient, x_along, shared], |views| {
        let [x, gradient, x_along, shared] = views;
        let device = x.device();
        let width = packed(plane, &views);
        over(gradient.count(), width)?;
        let (grid, lanes, number) = over_channels(batch, columns, plane, width);
        let mut sums = Sums::unwritten(device, columns, number)?;
        let (_, mut parts) = sums.split();
        launch!(
            kernel::<T>(device, ["along_parts_1", "along_parts_4"][usize::from(width == 4)])?, grid,
            &x.elements::<T>()?, &gradient.elements::<T>()?, &x_along.elements::<T>()?, &shared.elements::<T>()?, &mut parts,
            &batch, &channels, &columns, &plane, &lanes, &two
        );
        let (to_scale, to_shift) = totals::<T>(device, &mut sums, (0, 0.0))?;
        let shape = (sizes.directions, sizes.channels);
        Ok((to_scale.reshape(shape)?, to_shift.reshape(shape)?))
    }))
}

/// The gradients where the result is positive.
pub(in super::super) fn gate_along(
    sizes: Sizes,
    result: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    let [plane, channels, directions] = numbers(sizes);
    for_cuda_dtype!(result.dtype(), T => with_views([result, gradient], |views| {
        let [result, slopes] = views;
        let device = result.device();
        let image = channels * plane;
        let width = packed(image, &views);
        let (grid, count) = over(slopes.count(), width)?;
        let mut y = unwritten::<T>(device, slopes.count())?;
        launch!(
            kernel::<T>(device, ["gate_along_1", "gate_along_4"][usize::from(width == 4)])?, grid,
            &result.elements::<T>()?, &slopes.elements::<T>()?, &mut y, &count, &image, &directions
        );
        Ok(constant(y, device, gradient.shape()))
    }))
}

fn numbers(sizes: Sizes) -> [u32; 3] {
    [sizes.plane, sizes.channels, sizes.directions].map(|number| number as u32)
}
