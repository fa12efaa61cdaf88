//! Tangents along k directions side by side, `[B, k, C, …]`, beside the values `[B, C, …]` that all directions share: what a
//! channel's scale and shift and a rectifier do to them, each in one pass.
//!
//! In memory the layout is that of a batch of B·k activations, and that of a batch of B with k·C channels: convolutions take it
//! as either, without a copy.

use super::rectifier::gated;
use super::{Element, check_dtype, for_dtype, with_elements};
use candle_core::{Result, Tensor, WithDType, bail};
use rayon::prelude::*;

/// The sizes of tangents and of what they lie beside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) directions: usize,
    pub(super) channels: usize,
    pub(super) plane: usize,
}

impl Sizes {
    /// Of `along` `[B, k, C, …]` beside `shared` `[B, C, …]`.
    fn of(shared: &Tensor, along: &Tensor) -> Result<Self> {
        check_dtype("directions", &[shared, along])?;
        match (shared.dims(), along.dims()) {
            ([batch, rest @ ..], [along_batch, directions, along_rest @ ..])
                if batch == along_batch && rest == along_rest && !rest.is_empty() =>
            {
                Ok(Self {
                    batch: *batch,
                    directions: *directions,
                    channels: rest[0],
                    plane: rest[1..].iter().product(),
                })
            }
            (shared, along) => bail!("directions {along:?} beside {shared:?}"),
        }
    }

    fn check(&self, of_channels: &[&Tensor], of_directions: &[&Tensor]) -> Result<()> {
        let dims = [self.directions, self.channels];
        let channels = of_channels
            .iter()
            .all(|tensor| tensor.dims() == [self.channels]);
        match channels && of_directions.iter().all(|tensor| tensor.dims() == dims) {
            true => Ok(()),
            false => bail!("scales and shifts that are not of {dims:?}"),
        }
    }

    /// Where a plane of tangents lies in the batch, the directions and the channels.
    fn place(&self, plane: usize) -> (usize, usize, usize) {
        let (rest, channel) = (plane / self.channels, plane % self.channels);
        (rest / self.directions, rest % self.directions, channel)
    }

    /// The plane beside it.
    fn beside<'a, T>(&self, shared: &'a [T], plane: usize) -> &'a [T] {
        let (image, _, channel) = self.place(plane);
        &shared[(image * self.channels + channel) * self.plane..][..self.plane]
    }
}

/// How scale and shift change along the directions: s `[C]`, ṡ and ṫ `[k, C]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScaleAlong<'a> {
    pub(crate) scale: &'a Tensor,
    pub(crate) scale_along: &'a Tensor,
    pub(crate) shift_along: &'a Tensor,
}

/// s ẋ + ṡ x + ṫ for `x` `[B, C, …]` and ẋ = `along` `[B, k, C, …]`; where there is a rectifier after it, which gave `output`
/// `[B, C, …]`, zero where that is not above 0.
///
/// # Errors
/// Where the shapes do not fit.
pub(crate) fn affine_along(
    (x, along): (&Tensor, &Tensor),
    of: ScaleAlong,
    output: Option<&Tensor>,
) -> Result<Tensor> {
    let (x, along) = (x.contiguous()?, along.contiguous()?);
    let sizes = Sizes::of(&x, &along)?;
    let of_directions = [of.scale_along.contiguous()?, of.shift_along.contiguous()?];
    let [scale_along, shift_along] = &of_directions;
    sizes.check(&[of.scale], &[scale_along, shift_along])?;
    if output.is_some_and(|output| output.dims() != x.dims()) {
        bail!("a rectifier's result of another shape than what went into its scale and shift");
    }
    let of = ScaleAlong {
        scale_along,
        shift_along,
        ..of
    };
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::affine_along(sizes, (&x, &along), of, output);
    }
    for_dtype!(x.dtype(), "directions", T => with_elements::<T, _>(&x, |x| with_elements::<T, _>(&along, |tangents| {
        with_elements::<T, _>(of.scale, |s| with_elements::<T, _>(scale_along, |ds| with_elements::<T, _>(shift_along, |dt| {
            let map = |output: Option<&[T]>| {
                let mut out = vec![T::default(); tangents.len()];
                let parts = out.par_chunks_mut(sizes.plane).zip(tangents.par_chunks(sizes.plane));
                parts.enumerate().for_each(|(plane, (out, tangents))| {
                    let (_, direction, channel) = sizes.place(plane);
                    let at = direction * sizes.channels + channel;
                    let beside = sizes.beside(x, plane);
                    let output = output.map(|output| sizes.beside(output, plane));
                    for (pixel, (out, &tangent)) in out.iter_mut().zip(tangents).enumerate() {
                        if output.is_none_or(|output| output[pixel] > T::default()) {
                            *out = s[channel] * tangent + (ds[at] * beside[pixel] + dt[at]);
                        }
                    }
                });
                Tensor::from_vec(out, along.shape(), along.device())
            };
            match output {
                None => map(None),
                Some(output) => with_elements::<T, _>(output, |output| map(Some(output))),
            }
        })))
    })))
}

/// The gradients of scale and shift along each direction, both `[k, C]`: Σ ġ x + ḡ ẋ and Σ ġ over images and planes, for ġ =
/// `gradient` `[B, k, C, …]`; `second` is (ẋ, ḡ), `[B, k, C, …]` and `[B, C, …]`, where there is that term.
///
/// # Errors
/// Where the shapes do not fit.
pub(crate) fn affine_along_gradients(
    x: &Tensor,
    gradient: &Tensor,
    second: Option<(&Tensor, &Tensor)>,
) -> Result<(Tensor, Tensor)> {
    let (x, gradient) = (x.contiguous()?, gradient.contiguous()?);
    let sizes = Sizes::of(&x, &gradient)?;
    if let Some((x_along, shared)) = second {
        check_dtype("directions", &[&x, x_along, shared])?;
        if x_along.dims() != gradient.dims() || shared.dims() != x.dims() {
            bail!("directions: the second term's tensors are not of the first one's shapes");
        }
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::affine_along_gradients(sizes, (&x, &gradient), second);
    }
    for_dtype!(x.dtype(), "directions", T => with_elements::<T, _>(&x, |x| with_elements::<T, _>(&gradient, |g| {
        let mut sums = plane_sums(sizes, x, g);
        if let Some((x_along, shared)) = second {
            let more = with_elements::<T, _>(x_along, |x_along| {
                with_elements::<T, _>(shared, |shared| Ok(plane_sums(sizes, shared, x_along)))
            })?;
            sums.iter_mut().zip(more).for_each(|(sum, more)| sum[0] += more[0]);
        }
        let row = |term: usize| {
            let numbers: Vec<T> = sums.iter().map(|sum| T::from_f64(sum[term])).collect();
            Tensor::from_vec(numbers, (sizes.directions, sizes.channels), gradient.device())
        };
        Ok((row(0)?, row(1)?))
    })))
}

/// Σ of products and of `along` itself, over images and planes, for each direction and channel.
fn plane_sums<T: Element>(sizes: Sizes, shared: &[T], along: &[T]) -> Vec<[f64; 2]> {
    let columns = sizes.directions * sizes.channels;
    let column = |column: usize| {
        let mut sums = [0.0; 2];
        for image in 0..sizes.batch {
            let plane = image * columns + column;
            let along = &along[plane * sizes.plane..][..sizes.plane];
            for (&along, &shared) in along.iter().zip(sizes.beside(shared, plane)) {
                sums[0] += along.to_f64() * shared.to_f64();
                sums[1] += along.to_f64();
            }
        }
        sums
    };
    (0..columns).into_par_iter().map(column).collect()
}

/// `gradient` `[B, k, C, …]` where a rectifier's `result` `[B, C, …]` is above 0, else 0.
///
/// # Errors
/// Where the shapes do not fit.
pub(crate) fn gate_along(result: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let gradient = gradient.contiguous()?;
    let sizes = Sizes::of(result, &gradient)?;
    #[cfg(feature = "cuda")]
    if result.device().is_cuda() {
        return super::cuda::gate_along(sizes, result, &gradient);
    }
    for_dtype!(result.dtype(), "directions", T => with_elements::<T, _>(result, |result| with_elements::<T, _>(&gradient, |g| {
        let mut out = g.to_vec();
        out.par_chunks_mut(sizes.plane).enumerate().for_each(|(plane, out)| {
            for (out, &result) in out.iter_mut().zip(sizes.beside(result, plane)) {
                *out = gated(true, result, *out);
            }
        });
        Tensor::from_vec(out, gradient.shape(), gradient.device())
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::op::{
        Wanted, channel_affine, channel_affine_gradients, gate, rectified_channel_affine,
    };
    use candle_core::Device;

    const B: usize = 3;
    const K: usize = 4;
    const C: usize = 5;

    fn wave(phase: f64, dims: &[usize]) -> Tensor {
        let count = dims.iter().product();
        let values: Vec<f64> = (0..count).map(|i| (phase + 1.7 * i as f64).sin()).collect();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    }

    fn x() -> Tensor {
        wave(0.3, &[B, C, 2, 3])
    }

    fn along(phase: f64) -> Tensor {
        wave(phase, &[B, K, C, 2, 3])
    }

    fn direction(tensor: &Tensor, place: usize) -> Tensor {
        let one = tensor.narrow(1, place, 1).unwrap().squeeze(1).unwrap();
        one.contiguous().unwrap()
    }

    #[track_caller]
    fn assert_close(found: &Tensor, expected: &Tensor) {
        assert_eq!(found.dims(), expected.dims());
        let worst = (found - expected)
            .unwrap()
            .abs()
            .unwrap()
            .max_all()
            .unwrap();
        assert!(
            worst.to_scalar::<f64>().unwrap() < 1e-12,
            "{found} {expected}"
        );
    }

    #[test]
    fn a_scale_and_a_shift_along_each_direction_are_those_along_one() {
        let (scale, shift) = (wave(1.1, &[C]), wave(1.9, &[C]));
        let (scale_along, shift_along) = (wave(2.3, &[K, C]), wave(2.9, &[K, C]));
        let of = ScaleAlong {
            scale: &scale,
            scale_along: &scale_along,
            shift_along: &shift_along,
        };
        let output = rectified_channel_affine(&x(), &scale, &shift).unwrap();
        let zero = shift.zeros_like().unwrap();
        for gated in [false, true] {
            let found = affine_along((&x(), &along(0.7)), of, gated.then_some(&output)).unwrap();
            for place in 0..K {
                let moved = channel_affine(&direction(&along(0.7), place), &scale, &zero).unwrap();
                let own = [&scale_along, &shift_along].map(|rows| rows.get(place).unwrap());
                let own = channel_affine(&x(), &own[0], &own[1]).unwrap();
                let mut expected = (moved + own).unwrap();
                if gated {
                    expected = gate(&output, &expected).unwrap();
                }
                assert_close(&direction(&found, place), &expected);
            }
        }
    }

    #[test]
    fn their_gradients_are_sums_for_each_direction() {
        let (scale, shift) = (wave(1.1, &[C]), wave(1.9, &[C]));
        let shared = wave(3.1, &[B, C, 2, 3]);
        let wanted = Wanted {
            input: false,
            parameters: true,
        };
        let one = |x: &Tensor, gradient: &Tensor| {
            let found = channel_affine_gradients(x, (&scale, &shift), None, gradient, wanted);
            found.unwrap().parameters.unwrap()
        };
        let (x_along, gradient) = (along(0.9), along(0.5));
        for second in [false, true] {
            let terms = second.then_some((&x_along, &shared));
            let found = affine_along_gradients(&x(), &gradient, terms).unwrap();
            for place in 0..K {
                let (mut to_scale, to_shift) = one(&x(), &direction(&gradient, place));
                if second {
                    let (more, _) = one(&direction(&x_along, place), &shared);
                    to_scale = (to_scale + more).unwrap();
                }
                assert_close(&found.0.get(place).unwrap(), &to_scale);
                assert_close(&found.1.get(place).unwrap(), &to_shift);
            }
        }
    }

    #[test]
    fn a_gate_is_the_same_for_each_direction() {
        let found = gate_along(&x(), &along(0.2)).unwrap();
        for place in 0..K {
            let expected = gate(&x(), &direction(&along(0.2), place)).unwrap();
            assert_close(&direction(&found, place), &expected);
        }
    }

    #[test]
    fn what_does_not_lie_beside_it_is_refused() {
        for dims in [[B, K, C, 3, 2], [B + 1, K, C, 2, 3], [B, K, C + 1, 2, 3]] {
            assert!(gate_along(&x(), &wave(0.1, &dims)).is_err());
            assert!(affine_along_gradients(&x(), &wave(0.1, &dims), None).is_err());
        }
        let (one, few) = (wave(0.1, &[C]), wave(0.1, &[K, C - 1]));
        let of = ScaleAlong {
            scale: &one,
            scale_along: &few,
            shift_along: &few,
        };
        assert!(affine_along((&x(), &along(0.1)), of, None).is_err());
    }
}
