//! A small network in f64 with images in four classes, for tests of what is built on networks.

use super::{Examples, Keeping, Network};
use crate::model::{Blocks, Normalisation, ResNet};
use candle_core::{DType, Device, Tensor};

fn numbers(phase: f64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|i| (phase + 1.7 * i as f64 + 0.003 * ((i * i) % 7919) as f64).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(crate) fn small_problem(blocks: Blocks, count: usize) -> (Network, Examples) {
    let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let normalisation = Normalisation {
        mean: [0.5; 3],
        deviation: [0.25; 3],
    };
    let architecture = "cifar-resnet8-w2".parse().unwrap();
    let model = ResNet::initialise(architecture, classes, normalisation, 8, 3, &Device::Cpu)
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap();
    let images = ((numbers(0.4, &[count, 3, 8, 8]) + 1.0).unwrap() * 0.5).unwrap();
    let labels: Vec<usize> = (0..count).map(|i| i % 4).collect();
    let examples =
        Examples::of_images((&model, blocks), &images, &labels, &Keeping::default()).unwrap();
    (Network::new(&model, blocks, &examples).unwrap(), examples)
}
