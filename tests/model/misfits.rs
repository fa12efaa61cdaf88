//! Shapes and dtypes that do not fit are refused with a line that says so.

use crate::model::normal;
use ascribe::model::op::{
    Convolution, Window, add_rectify, batch_moments, batch_norm, channel_affine, convolve,
    max_pool, rectify,
};
use candle_core::{DType, Result, Tensor};

#[track_caller]
fn refused(result: Result<Tensor>, part: &str) {
    let message = result.expect_err("this must be refused").to_string();
    let first = message.lines().next().unwrap_or_default();
    assert!(first.contains(part), "`{part}` is missing in: {message}");
}

fn zeros(shape: &[usize]) -> Tensor {
    normal(0, shape)
}

#[test]
fn convolution() {
    let (x, weight) = (zeros(&[2, 3, 5, 4]), zeros(&[4, 3, 3, 3]));
    let options = |stride, padding| Convolution { stride, padding };
    refused(
        convolve(&x, &zeros(&[4, 2, 3, 3]), options(1, 1)),
        "3 channels, weight expects 2",
    );
    refused(convolve(&x, &weight, options(0, 1)), "stride 0");
    refused(
        convolve(&x, &zeros(&[4, 3, 7, 3]), options(1, 0)),
        "7×3 kernel",
    );
    refused(
        convolve(&x, &zeros(&[4, 3, 3, 7]), options(1, 1)),
        "does not fit 5×4 padded by 1",
    );
    refused(convolve(&x, &zeros(&[4, 3, 9]), options(1, 1)), "rank");
    refused(
        convolve(&x, &weight.to_dtype(DType::F32).unwrap(), options(1, 1)),
        "dtypes differ",
    );
    let half = |x: &Tensor| x.to_dtype(DType::F16).unwrap();
    refused(
        convolve(&half(&x), &half(&weight), options(1, 1)),
        "neither f32 nor f64",
    );
    refused(
        convolve(&zeros(&[2, 3, 0, 4]), &weight, options(1, 2)),
        "empty",
    );
    refused(convolve(&x, &zeros(&[0, 3, 3, 3]), options(1, 1)), "empty");
}

#[test]
fn max_pooling() {
    let x = zeros(&[1, 2, 4, 6]);
    for (size, stride, padding) in [(5, 1, 0), (0, 1, 0), (2, 0, 0), (3, 1, 2)] {
        let window = Window {
            size,
            stride,
            padding,
        };
        refused(max_pool(&x, window), "does not fit 4×6");
    }
    let window = Window {
        size: 2,
        stride: 2,
        padding: 0,
    };
    refused(max_pool(&zeros(&[2, 4, 6]), window), "rank");
    refused(
        max_pool(&x.to_dtype(DType::U8).unwrap(), window),
        "neither f32 nor f64",
    );
}

#[test]
fn batch_normalisation() {
    let (x, good, bad) = (zeros(&[2, 3, 4, 4]), zeros(&[3]), zeros(&[4]));
    let moments = batch_moments(&x).unwrap();
    for (gamma, beta) in [(&good, &bad), (&bad, &good)] {
        refused(
            batch_norm(&x, gamma, beta, moments.clone(), 1e-5),
            "3 channels",
        );
    }
    let others = batch_moments(&zeros(&[2, 4, 4, 4])).unwrap();
    refused(batch_norm(&x, &good, &good, others, 1e-5), "3 channels");
    let single = good.to_dtype(DType::F32).unwrap();
    refused(
        batch_norm(&x, &single, &good, moments, 1e-5),
        "dtypes differ",
    );
    assert!(batch_moments(&good).is_err());
    assert!(
        batch_moments(&zeros(&[0, 3, 4, 4])).is_err(),
        "no values have no mean"
    );
}

#[test]
fn elementwise() {
    let (x, scale, shift) = (zeros(&[2, 3, 4]), zeros(&[3]), zeros(&[2]));
    refused(channel_affine(&x, &scale, &shift), "3 channels");
    refused(channel_affine(&x, &shift, &scale), "3 channels");
    refused(add_rectify(&x, &zeros(&[2, 3, 1])), "differ");
    refused(
        add_rectify(&x, &x.to_dtype(DType::F32).unwrap()),
        "dtypes differ",
    );
    refused(
        rectify(&x.to_dtype(DType::U32).unwrap()),
        "neither f32 nor f64",
    );
}
