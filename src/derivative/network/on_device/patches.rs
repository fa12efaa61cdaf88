//! Patches: what a convolution's kernel sees at each place of its output, written out (im2col).

use crate::model::op::Convolution;
use candle_core::{Result, Tensor};

/// The patches of `x` `[B, C, H, W]`, `[B, C·taps, T]`: inputs before taps, as weights are stored, and T places.
pub(super) fn patches(
    x: &Tensor,
    (height, width): (usize, usize),
    step: Convolution,
) -> Result<Tensor> {
    let Convolution { stride, padding } = step;
    let x = x.pad_with_zeros(2, padding, padding)?;
    let x = x.pad_with_zeros(3, padding, padding)?;
    let mut taps = Vec::with_capacity(height * width);
    for row in 0..height {
        let rows = every(&x, (2, height), row, stride)?;
        for column in 0..width {
            let seen = every(&rows, (3, width), column, stride)?;
            taps.push(seen.contiguous()?.flatten_from(2)?);
        }
    }
    match &taps[..] {
        [only] => Ok(only.clone()),
        _ => Tensor::stack(&taps, 2)?.flatten(1, 2),
    }
}

/// What tap `first` of a kernel of `size` taps sees along dimension `dim`.
fn every(x: &Tensor, (dim, size): (usize, usize), first: usize, stride: usize) -> Result<Tensor> {
    let places = (x.dim(dim)? - size) / stride + 1;
    match stride {
        1 => x.narrow(dim, first, places),
        _ => {
            let seen = (0..places).map(|place| (first + place * stride) as u32);
            let seen = Tensor::from_iter(seen, x.device())?;
            x.contiguous()?.index_select(&seen, dim)
        }
    }
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
