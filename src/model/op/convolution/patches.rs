//! Patches: what a kernel sees at each place of a convolution's output, written out (im2col).

use super::Convolution;
use super::by_image::unfold;
use super::geometry::Geometry;
use crate::model::op::{Element, check_dtype, for_dtype, with_elements};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// The patches U(x) of `x` `[B, C, H, W]` for a kernel of `height` × `width`: `[B, C·height·width, N]`, rows in the order of a
/// stored weight's columns, at N places. No gradient goes through them.
///
/// # Errors
/// As for [`convolve`](super::convolve).
pub(crate) fn patches(
    x: &Tensor,
    (height, width): (usize, usize),
    step: Convolution,
) -> Result<Tensor> {
    check_dtype("patches", &[x])?;
    let (_, channels, ..) = x.dims4()?;
    let geometry = Geometry::of_sizes(x.dims4()?, (1, channels, height, width), step)?;
    let x = x.contiguous()?;
    let shape = (geometry.batch, geometry.taps(), geometry.positions());
    if geometry.is_pointwise() {
        return x.detach().reshape(shape);
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::model::op::cuda::patches(&geometry, &x);
    }
    for_dtype!(x.dtype(), "patches", T => with_elements::<T, _>(&x, |images| {
        Tensor::from_vec(on_host(&geometry, images), shape, x.device())
    }))
}

fn on_host<T: Element>(geometry: &Geometry, images: &[T]) -> Vec<T> {
    let size = geometry.unfolded_len();
    let mut unfolded = vec![T::default(); geometry.batch * size];
    let parts = unfolded.par_chunks_mut(size);
    let parts = parts.zip(images.par_chunks(geometry.image_len()));
    parts.for_each(|(part, image)| unfold(geometry, image, part));
    unfolded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::op::convolve;
    use candle_core::{DType, Device};

    /// A convolution is the product of its weight and the patches.
    #[test]
    fn weights_and_patches_make_a_convolution() {
        for (kernel, stride, padding) in [
            (1, 1, 0),
            (1, 2, 0),
            (3, 1, 1),
            (3, 2, 1),
            (7, 2, 3),
            (2, 3, 0),
        ] {
            let step = Convolution { stride, padding };
            let wave = |count: usize| {
                let values = Tensor::arange(0.0, count as f64, &Device::Cpu).unwrap();
                (values * 1.7).unwrap().sin().unwrap()
            };
            let x = wave(2 * 3 * 9 * 8).reshape((2, 3, 9, 8)).unwrap();
            let weight = wave(4 * 3 * kernel * kernel);
            let expected = weight.reshape((4, 3, kernel, kernel)).unwrap();
            let expected = convolve(&x, &expected, step)
                .unwrap()
                .flatten_from(2)
                .unwrap();
            let patches = patches(&x, (kernel, kernel), step).unwrap();
            let found = weight
                .reshape((4, ()))
                .unwrap()
                .broadcast_matmul(&patches)
                .unwrap();
            assert_eq!((found.dims(), found.dtype()), (expected.dims(), DType::F64));
            let error = (found - expected)
                .unwrap()
                .abs()
                .unwrap()
                .max_all()
                .unwrap();
            assert!(error.to_scalar::<f64>().unwrap() < 1e-12);
        }
    }
}
