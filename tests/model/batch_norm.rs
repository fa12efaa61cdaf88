//! Batch norm against its plain formula and finite differences.

use crate::model::{assert_close, assert_values_close, check_gradients, normal, values};
use ascribe::model::op::{batch_moments, batch_norm, rectified_batch_norm, rectify};
use candle_core::{DType, Tensor};

const EPSILON: f64 = 1e-5;
const SHAPES: [[usize; 4]; 5] = [
    [1, 2, 5, 3],
    [2, 3, 4, 4],
    [11, 2, 3, 1],
    [9, 1, 1, 1],
    [3, 4, 7, 9],
];

fn inputs(shape: &[usize]) -> [Tensor; 3] {
    let x = ((normal(1, shape) * 2.0).unwrap() + 3.0).unwrap();
    [x, normal(2, &shape[1..2]), normal(3, &shape[1..2])]
}

fn ours(inputs: &[Tensor]) -> candle_core::Result<Tensor> {
    let moments = batch_moments(&inputs[0])?;
    batch_norm(&inputs[0], &inputs[1], &inputs[2], moments, EPSILON)
}

/// Mean, variance and output by the formula, from flat f64 values.
fn twin(inputs: &[Tensor], [batch, channels, height, width]: [usize; 4]) -> [Vec<f64>; 3] {
    let (x, gamma, beta) = (values(&inputs[0]), values(&inputs[1]), values(&inputs[2]));
    let plane = height * width;
    let channel = |c: usize| (0..x.len()).filter(move |i| i / plane % channels == c);
    let count = (batch * plane) as f64;
    let means: Vec<f64> = (0..channels)
        .map(|c| channel(c).map(|i| x[i]).sum::<f64>() / count)
        .collect();
    let variances: Vec<f64> = (0..channels)
        .map(|c| channel(c).map(|i| (x[i] - means[c]).powi(2)).sum::<f64>() / count)
        .collect();
    let y = (0..x.len())
        .map(|i| {
            let c = i / plane % channels;
            gamma[c] * (x[i] - means[c]) / (variances[c] + EPSILON).sqrt() + beta[c]
        })
        .collect();
    [means, variances, y]
}

#[test]
fn moments_and_output_follow_the_formula() {
    for shape in SHAPES {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            let inputs = inputs(&shape).map(|x| x.to_dtype(dtype).unwrap());
            let [mean, variance, y] = twin(&inputs, shape);
            let moments = batch_moments(&inputs[0]).unwrap();
            let [found_mean, found_variance] =
                [0, 1].map(|row| moments.values.get(row).unwrap().to_vec1::<f64>().unwrap());
            assert_values_close("mean", &found_mean, &mean, tolerance);
            assert_values_close("variance", &found_variance, &variance, tolerance);
            assert_eq!(moments.count, shape[0] * shape[2] * shape[3]);
            assert_values_close("output", &values(&ours(&inputs).unwrap()), &y, tolerance);
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    for shape in SHAPES {
        // A channel of few values has a third derivative too large for central differences where they lie close.
        check_gradients(&format!("{shape:?}"), &inputs(&shape), ours);
    }
}

#[test]
fn a_rectified_norm_is_two_operations_in_one() {
    for shape in SHAPES {
        let inputs = inputs(&shape);
        let rectified = |x: &[Tensor]| {
            rectified_batch_norm(&x[0], &x[1], &x[2], batch_moments(&x[0])?, EPSILON)
        };
        let [(y, _, gradients), (expected, _, expected_gradients)] = [
            crate::model::output_and_gradients(&inputs, rectified),
            crate::model::output_and_gradients(&inputs, |x| rectify(&ours(x)?)),
        ];
        assert_eq!(values(&y), values(&expected));
        for (found, expected) in gradients.iter().zip(&expected_gradients) {
            assert_eq!(values(found), values(expected));
        }
    }
}

/// In single precision a mean far above the deviation must not swallow the digits of the gradient.
#[test]
fn a_large_mean_costs_no_digits() {
    let shape = [4, 2, 6, 5];
    let [x, gamma, beta] = inputs(&shape);
    // Whole numbers of quarters, which f32 holds exactly, on both sides.
    let x = (((x * 4.0).unwrap().round().unwrap() / 4.0).unwrap() + 1000.0).unwrap();
    let [double, single] = [DType::F64, DType::F32].map(|dtype| {
        let inputs = [&x, &gamma, &beta].map(|x| x.to_dtype(dtype).unwrap());
        let (y, _, gradients) = crate::model::output_and_gradients(&inputs, ours);
        [vec![y], gradients].concat()
    });
    for (what, (single, double)) in ["y", "x", "gamma", "beta"]
        .iter()
        .zip(single.iter().zip(&double))
    {
        assert_close(what, single, double, 2e-4);
    }
}

#[test]
fn nan_reaches_its_whole_channel_and_no_other() {
    let shape = [2, 2, 3, 3];
    let mut x = values(&inputs(&shape)[0]);
    x[0] = f64::NAN;
    let x = Tensor::from_vec(x, &shape, &candle_core::Device::Cpu).unwrap();
    let [_, gamma, beta] = inputs(&shape);
    for (index, y) in values(&ours(&[x, gamma, beta]).unwrap())
        .into_iter()
        .enumerate()
    {
        assert_eq!(y.is_nan(), index / 9 % 2 == 0, "element {index}");
    }
}
