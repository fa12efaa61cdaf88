//! Every differentiable operation: its value and all its gradients.

use crate::{device, distance, normal};
use ascribe::derivative::gradient;
use ascribe::model::op::{
    Convolution, RunningStatistics, Window, add_rectify, batch_moments, batch_norm, channel_affine,
    convolve, folded_norm, max_pool, rectified_batch_norm, rectified_channel_affine, rectify,
};
use candle_core::{DType, Device, Result, Tensor, Var};

/// The largest relative distances that the number format explains: sums of up to some thousand terms.
const FORMATS: [(DType, f64); 3] = [(DType::F64, 1e-12), (DType::F32, 1e-5), (DType::BF16, 3e-2)];

/// Value, and gradients of ⟨value, random cotangent⟩, on one device.
fn value_and_gradients(
    inputs: &[Tensor],
    dtype: DType,
    device: &Device,
    layer: &impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Vec<Tensor> {
    let placed = |x: &Tensor| x.to_device(device).unwrap().to_dtype(dtype).unwrap();
    let inputs: Vec<Var> = (inputs.iter())
        .map(|x| Var::from_tensor(&placed(x)).unwrap())
        .collect();
    let inputs: Vec<Tensor> = inputs.iter().map(|x| x.as_tensor().clone()).collect();
    let value = layer(&inputs).unwrap();
    let cotangent = placed(&normal(999, value.dims()));
    let product = (&value * &cotangent).unwrap().sum_all().unwrap();
    let mut results = gradient(&product, &inputs.iter().collect::<Vec<_>>()).unwrap();
    results.push(value);
    results
}

/// On the device in every format as on the processor in f64, from the same (rounded) numbers.
fn agrees(what: &str, shapes: &[&[usize]], layer: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let device = device();
    for (dtype, tolerance) in FORMATS {
        let inputs: Vec<Tensor> = (1..)
            .zip(shapes)
            .map(|(seed, shape)| {
                let exact = normal(seed, shape).to_dtype(dtype).unwrap();
                exact.to_dtype(DType::F64).unwrap()
            })
            .collect();
        let expected = value_and_gradients(&inputs, DType::F64, &Device::Cpu, &layer);
        let found = value_and_gradients(&inputs, dtype, &device, &layer);
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let apart = distance(found, expected);
            assert!(
                apart <= tolerance,
                "{what}, {dtype:?}, result {place}: {apart:e}"
            );
        }
    }
}

#[test]
fn convolutions() {
    let x: &[usize] = &[5, 6, 13, 11];
    for (kernel, stride, padding) in [
        (1, 1, 0),
        (1, 2, 0),
        (3, 1, 1),
        (3, 2, 1),
        (7, 2, 3),
        (5, 3, 0),
    ] {
        let what = format!("convolution {kernel}, {stride}, {padding}");
        agrees(&what, &[x, &[7, 6, kernel, kernel]], |x| {
            convolve(&x[0], &x[1], Convolution { stride, padding })
        });
    }
    agrees(
        "wide convolution",
        &[&[9, 64, 8, 8], &[128, 64, 3, 3]],
        |x| {
            convolve(
                &x[0],
                &x[1],
                Convolution {
                    stride: 1,
                    padding: 1,
                },
            )
        },
    );
}

#[test]
fn a_convolution_of_a_view() {
    agrees("view", &[&[9, 4, 6, 7], &[3, 4, 3, 3]], |x| {
        let images = x[0].narrow(0, 2, 5)?.transpose(2, 3)?;
        convolve(
            &images,
            &x[1],
            Convolution {
                stride: 1,
                padding: 1,
            },
        )
    });
}

#[test]
fn pools() {
    for (size, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (4, 3, 2)] {
        agrees(
            &format!("pool {size}, {stride}, {padding}"),
            &[&[3, 5, 13, 10]],
            |x| {
                max_pool(
                    &x[0],
                    Window {
                        size,
                        stride,
                        padding,
                    },
                )
            },
        );
    }
}

#[test]
fn rectifiers() {
    agrees("rectifier", &[&[3, 5, 7, 9]], |x| rectify(&x[0]));
    agrees("residual sum", &[&[3, 5, 7, 9], &[3, 5, 7, 9]], |x| {
        add_rectify(&x[0], &x[1])
    });
    let nan = Tensor::new(&[f32::NAN, -1.0, 2.0], &device()).unwrap();
    let kept = rectify(&nan).unwrap().to_vec1::<f32>().unwrap();
    assert!(kept[0].is_nan() && kept[1..] == [0.0, 2.0], "{kept:?}");
}

#[test]
fn affine_maps() {
    agrees("affine", &[&[5, 6, 7, 9], &[6], &[6]], |x| {
        channel_affine(&x[0], &x[1], &x[2])
    });
}

#[test]
fn batch_norms() {
    // Planes of one element, of a few, of a multiple of four, and larger than a block of threads.
    for (batch, height, width) in [(21, 7, 9), (40, 1, 1), (16, 8, 8), (3, 36, 40)] {
        let shapes: [&[usize]; 3] = [&[batch, 6, height, width], &[6], &[6]];
        agrees("batch norm", &shapes, |x| {
            // An offset that loses digits to sums of squares.
            let shifted = (&x[0] + 3.0)?;
            batch_norm(&shifted, &x[1], &x[2], batch_moments(&shifted)?, 1e-5)
        });
        agrees("rectified batch norm", &shapes, |x| {
            rectified_batch_norm(&x[0], &x[1], &x[2], batch_moments(&x[0])?, 1e-5)
        });
        agrees("rectified affine", &shapes, |x| {
            rectified_channel_affine(&x[0], &x[1], &x[2])
        });
    }
}

#[test]
fn moments_far_from_zero() {
    let x = ((normal(5, &[32, 3, 9, 9]) * 0.5).unwrap() + 40.0).unwrap();
    let x = x.to_dtype(DType::F32).unwrap();
    let there = batch_moments(&x.to_device(&device()).unwrap()).unwrap();
    let expected = batch_moments(&x.to_dtype(DType::F64).unwrap()).unwrap();
    assert!(distance(&there.values, &expected.values) < 1e-6);
    let variances = |moments: &Tensor| moments.get(1).unwrap();
    assert!(distance(&variances(&there.values), &variances(&expected.values)) < 1e-5);
}

#[test]
fn evaluation_mode() {
    let positive = |seed| (normal(seed, &[6]).sqr().unwrap() + 0.1).unwrap();
    let statistics = [
        normal(1, &[6]),
        normal(2, &[6]),
        normal(3, &[6]),
        positive(4),
    ];
    let folded = |device: &Device| {
        let there = statistics
            .each_ref()
            .map(|tensor| tensor.to_device(device).unwrap());
        folded_norm(there.each_ref(), 1e-5).unwrap()
    };
    let (found, expected) = (folded(&device()), folded(&Device::Cpu));
    assert!(distance(&found.0, &expected.0) < 1e-13 && distance(&found.1, &expected.1) < 1e-13);
}

#[test]
fn running_statistics() {
    // More layers than one launch takes, of other sizes each; some of more channels than a block takes.
    let channels = |layer: usize| [6, 70, 5000, 1][layer % 4];
    let moved = |device: &Device| {
        let placed = |x: Tensor| x.to_device(device).unwrap();
        let layer = |layer: usize| {
            let (seed, channels) = (3 * layer as u64, channels(layer));
            let old = RunningStatistics {
                mean: placed(normal(seed, &[channels])),
                variance: placed(normal(seed + 1, &[channels]).sqr().unwrap()),
            };
            let x = placed(normal(seed + 2, &[3, channels, 2, 1 + layer % 3]));
            (old, batch_moments(&x).unwrap())
        };
        let layers: Vec<_> = (0..70).map(layer).collect();
        RunningStatistics::all_moved(&layers, 0.1).unwrap()
    };
    let (found, expected) = (moved(&device()), moved(&Device::Cpu));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(distance(&found.mean, &expected.mean) < 1e-13);
        assert!(distance(&found.variance, &expected.variance) < 1e-13);
    }
}

#[test]
fn results_repeat_bit_by_bit() {
    let device = device();
    let inputs = [normal(1, &[33, 16, 9, 9]), normal(2, &[24, 16, 3, 3])];
    let layer = |x: &[Tensor]| {
        let y = convolve(
            &x[0],
            &x[1],
            Convolution {
                stride: 1,
                padding: 1,
            },
        )?;
        rectify(&y)
    };
    let once = value_and_gradients(&inputs, DType::F32, &device, &layer);
    for _ in 0..5 {
        let again = value_and_gradients(&inputs, DType::F32, &device, &layer);
        for (once, again) in once.iter().zip(&again) {
            let bits = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(bits(once) == bits(again));
        }
    }
}
