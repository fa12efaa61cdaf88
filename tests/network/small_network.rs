//! A network of a few hundred parameters in f64, and made-up images of three classes.

use ascribe::derivative::network::{Examples, Keeping};
use ascribe::model::{Blocks, Normalisation, ResNet};
use candle_core::{DType, Device, Tensor};

/// Smooth numbers without symmetry.
pub fn numbers(phase: f64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|i| (phase + 1.7 * i as f64 + 0.003 * ((i * i) % 7919) as f64).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub fn labels(count: usize) -> Vec<usize> {
    (0..count).map(|i| (i * 7 + i / 5) % 3).collect()
}

/// In [0, 1], `[count, 3, 8, 8]`.
pub fn images(phase: f64, count: usize) -> Tensor {
    ((numbers(phase, &[count, 3, 8, 8]) + 1.0).unwrap() * 0.5).unwrap()
}

pub fn model() -> ResNet {
    model_of("cifar-resnet8-w1")
}

pub fn model_of(architecture: &str) -> ResNet {
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    let normalisation = Normalisation {
        mean: [0.5; 3],
        deviation: [0.25; 3],
    };
    ResNet::initialise(
        architecture.parse().unwrap(),
        classes,
        normalisation,
        8,
        3,
        &Device::Cpu,
    )
    .unwrap()
    .to_dtype(DType::F64)
    .unwrap()
}

/// What enters the last `blocks` blocks for made-up images.
pub fn examples(model: &ResNet, blocks: Blocks, phase: f64, count: usize) -> Examples {
    let images = images(phase, count);
    let keeping = Keeping::default();
    Examples::of_images((model, blocks), &images, &labels(count), &keeping).unwrap()
}
