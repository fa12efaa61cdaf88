//! What runs on a CUDA device, against the same on the processor: `make test-cuda`, on a machine that has one.

mod blocks;
#[path = "../command_line/mod.rs"]
mod command_line;
mod head;
#[path = "../killed/mod.rs"]
mod killed;
#[path = "../killed_run/mod.rs"]
mod killed_run;
mod network;
mod operations;
#[path = "../parquet_table/mod.rs"]
mod parquet_table;
#[path = "../run_record/mod.rs"]
mod run_record;
mod steps;
mod training;
mod unrolled;

use ascribe::device::DeviceChoice;
use ascribe::model::{Normalisation, ResNet};
use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// The first device.
pub(crate) fn device() -> Device {
    DeviceChoice::Cuda(0).open().unwrap()
}

/// Standard normal f64 numbers that depend on the seed and the shape alone.
pub(crate) fn normal(seed: u64, shape: &[usize]) -> Tensor {
    let values: Vec<f64> = StandardNormal
        .sample_iter(ChaCha8Rng::seed_from_u64(seed))
        .take(shape.iter().product())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Freshly initialised, on the processor.
pub(crate) fn network(architecture: &str, classes: usize, side: usize) -> ResNet {
    let normalisation = Normalisation {
        mean: [0.5, 0.4, 0.3],
        deviation: [0.2, 0.25, 0.3],
    };
    let classes = (0..classes).map(|class| class.to_string()).collect();
    let architecture = architecture.parse().unwrap();
    ResNet::initialise(architecture, classes, normalisation, side, 7, &Device::Cpu).unwrap()
}

/// `‖found − expected‖ / ‖expected‖`; not a number where one of them is not.
pub(crate) fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let values = |tensor: &Tensor| -> Vec<f64> {
        let tensor = tensor.to_device(&Device::Cpu).unwrap();
        let tensor = tensor.to_dtype(DType::F64).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    let (found, expected) = (values(found), values(expected));
    let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>();
    let apart = squares(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
    (apart / squares(&mut expected.iter().copied()).max(1e-300)).sqrt()
}
