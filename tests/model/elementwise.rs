//! Rectifiers, the channel-wise scale and shift, and their gradients.

use crate::model::{
    assert_values_close, away_from_zero, check_gradients, normal, output_and_gradients, values,
};
use ascribe::model::op::{add_rectify, channel_affine, rectified_channel_affine, rectify};
use candle_core::{Device, Tensor};

/// More elements than one task takes.
const LARGE: [usize; 4] = [3, 5, 41, 37];

#[test]
fn rectifier_is_the_positive_part() {
    let x = normal(1, &LARGE);
    let (y, g, gradients) = output_and_gradients(std::slice::from_ref(&x), |x| rectify(&x[0]));
    let (x, g) = (values(&x), values(&g));
    let expected: Vec<f64> = x.iter().map(|&x| x.max(0.0)).collect();
    assert_eq!(values(&y), expected);
    let expected: Vec<f64> = x
        .iter()
        .zip(&g)
        .map(|(&x, &g)| if x > 0.0 { g } else { 0.0 })
        .collect();
    assert_eq!(values(&gradients[0]), expected);
}

#[test]
fn residual_sum_is_the_positive_part_of_the_sum() {
    let (a, b) = (normal(2, &LARGE), normal(3, &LARGE));
    let (y, g, gradients) =
        output_and_gradients(&[a.clone(), b.clone()], |x| add_rectify(&x[0], &x[1]));
    let (sum, g) = (values(&(a + b).unwrap()), values(&g));
    let expected: Vec<f64> = sum.iter().map(|&x| x.max(0.0)).collect();
    assert_eq!(values(&y), expected);
    let expected: Vec<f64> = sum
        .iter()
        .zip(&g)
        .map(|(&x, &g)| if x > 0.0 { g } else { 0.0 })
        .collect();
    assert_eq!(values(&gradients[0]), expected);
    assert_eq!(values(&gradients[1]), expected);
}

#[test]
fn channel_affine_scales_and_shifts_each_channel() {
    let (x, scale, shift) = (normal(4, &LARGE), normal(5, &[5]), normal(6, &[5]));
    let y = channel_affine(&x, &scale, &shift).unwrap();
    let column = |x: &Tensor| x.reshape((1, 5, 1, 1)).unwrap();
    let twin = x
        .broadcast_mul(&column(&scale))
        .unwrap()
        .broadcast_add(&column(&shift))
        .unwrap();
    assert_values_close("channel affine", &values(&y), &values(&twin), 1e-15);
}

#[test]
fn a_rectified_channel_affine_is_two_operations_in_one() {
    let inputs = [normal(4, &LARGE), normal(5, &[5]), normal(6, &[5])];
    let [(y, _, gradients), (expected, _, expected_gradients)] = [
        output_and_gradients(&inputs, |x| rectified_channel_affine(&x[0], &x[1], &x[2])),
        output_and_gradients(&inputs, |x| rectify(&channel_affine(&x[0], &x[1], &x[2])?)),
    ];
    assert_eq!(values(&y), values(&expected));
    for (found, expected) in gradients.iter().zip(&expected_gradients) {
        assert_eq!(values(found), values(expected));
    }
}

#[test]
fn gradients_are_finite_differences() {
    for shape in [[1, 3, 5, 4], [10, 2, 3, 1], [2, 4, 1, 7]] {
        let x = away_from_zero(7, &shape);
        check_gradients("rectifier", std::slice::from_ref(&x), |x| rectify(&x[0]));
        // The halves of one number: their sum, too, is away from 0.
        let part = (&x * 0.25).unwrap();
        let rest = (&x - &part).unwrap();
        check_gradients("residual sum", &[part, rest], |x| add_rectify(&x[0], &x[1]));
        let affine = [x, normal(8, &shape[1..2]), normal(9, &shape[1..2])];
        check_gradients("channel affine", &affine, |x| {
            channel_affine(&x[0], &x[1], &x[2])
        });
    }
}

/// One tensor on both sides, as in `x + x`: the gradients add up.
#[test]
fn a_residual_sum_of_one_tensor_counts_it_twice() {
    check_gradients("x + x", &[away_from_zero(10, &[2, 2, 3, 3])], |x| {
        add_rectify(&x[0], &x[0])
    });
}

#[test]
fn nan_passes_and_the_derivative_at_zero_is_zero() {
    let x = Tensor::new(&[f32::NAN, -1.0, 0.0, -0.0, 2.0], &Device::Cpu).unwrap();
    let zero = x.zeros_like().unwrap();
    for layer in [rectify as fn(&Tensor) -> candle_core::Result<Tensor>, |x| {
        add_rectify(x, &x.zeros_like()?)
    }] {
        let y = values(&layer(&x).unwrap());
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [0.0, 0.0, 0.0, 2.0]);
    }
    assert!(values(&add_rectify(&zero, &x).unwrap())[0].is_nan());
    let x = x.narrow(0, 1, 4).unwrap().contiguous().unwrap();
    let (_, g, gradients) = output_and_gradients(&[x], |x| rectify(&x[0]));
    assert_eq!(values(&gradients[0]), [0.0, 0.0, 0.0, values(&g)[3]]);
}
