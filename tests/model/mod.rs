//! Layers and networks against central finite differences in f64 and against slow plain twins.

mod batch_norm;
mod convolution;
mod elementwise;
mod max_pool;
mod misfits;
mod resnet;
mod segments;
mod threads;
mod weight_file;

use ascribe::derivative::gradient;
use candle_core::{DType, Device, Result, Tensor, Var};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Standard normal f64 numbers that depend on the seed and the shape alone.
pub(crate) fn normal(seed: u64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = StandardNormal
        .sample_iter(ChaCha8Rng::seed_from_u64(seed))
        .take(shape.iter().product())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Numbers of both signs, all at least 0.1 from 0, where a rectifier has its kink.
pub(crate) fn away_from_zero(seed: u64, shape: &[usize]) -> Tensor {
    let x = normal(seed, shape);
    let sign = ((x.ge(0.0).unwrap().to_dtype(DType::F64).unwrap() * 2.0).unwrap() - 1.0).unwrap();
    (&x + (sign * 0.1).unwrap()).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().unwrap();
    flat.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

pub(crate) fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

/// Shapes are equal and every difference is at most `tolerance · (1 + |expected|)`.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    assert_values_close(what, &values(found), &values(expected), tolerance);
}

#[track_caller]
pub(crate) fn assert_values_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference <= tolerance * (1.0 + expected.abs()),
            "{what}, element {index}: found {found}, expected {expected}"
        );
    }
}

pub(crate) fn variables(inputs: &[Tensor]) -> Vec<Tensor> {
    let variable = |x| Var::from_tensor(x).unwrap().as_tensor().clone();
    inputs.iter().map(variable).collect()
}

/// Output of a layer, and the gradients of ⟨output, cotangent⟩ with respect to all inputs; the cotangent is random.
pub(crate) fn output_and_gradients(
    inputs: &[Tensor],
    layer: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> (Tensor, Tensor, Vec<Tensor>) {
    let inputs = variables(inputs);
    let output = layer(&inputs).unwrap();
    let cotangent = normal(999, output.dims()).to_dtype(output.dtype()).unwrap();
    let product = (&output * &cotangent).unwrap().sum_all().unwrap();
    let gradients = gradient(&product, &inputs.iter().collect::<Vec<_>>()).unwrap();
    (output, cotangent, gradients)
}

/// Compares the gradient of ⟨layer(inputs), random cotangent⟩ with central differences, element by element.
#[track_caller]
pub(crate) fn check_gradients(
    what: &str,
    inputs: &[Tensor],
    layer: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    const STEP: f64 = 1e-5;
    let (_, cotangent, gradients) = output_and_gradients(inputs, &layer);
    let value = |inputs: &[Tensor]| {
        let output = layer(inputs).unwrap();
        scalar(&(output * &cotangent).unwrap().sum_all().unwrap())
    };
    for (which, gradient) in gradients.iter().enumerate() {
        assert_eq!(gradient.dims(), inputs[which].dims(), "{what}");
        let base = values(&inputs[which]);
        let moved = |index: usize, step: f64| {
            let mut moved = base.clone();
            moved[index] += step;
            let mut inputs = inputs.to_vec();
            inputs[which] = Tensor::from_vec(moved, gradient.dims(), &Device::Cpu).unwrap();
            value(&inputs)
        };
        let numeric: Vec<f64> = (0..base.len())
            .map(|index| (moved(index, STEP) - moved(index, -STEP)) / (2.0 * STEP))
            .collect();
        let what = format!("{what}, input {which}");
        assert_values_close(&what, &values(gradient), &numeric, 1e-7);
    }
}
