//! Repeated products do not grow: alone in its process, so that nothing else moves the resident set.
#![cfg(target_os = "linux")]

use ascribe::derivative::network::{Beside, Curvature, Examples, Keeping, Network};
use ascribe::model::{Blocks, Normalisation, ResNet};
use ascribe::operator::{LinearOperator, NetworkCurvature, Vectors};
use candle_core::{Device, Tensor};

/// kB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn thirty_products_take_the_memory_of_a_few() {
    let normalisation = Normalisation {
        mean: [0.5; 3],
        deviation: [0.25; 3],
    };
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    let architecture = "cifar-resnet8-w16".parse().unwrap();
    let model =
        ResNet::initialise(architecture, classes, normalisation, 16, 3, &Device::Cpu).unwrap();
    let images = Tensor::rand(0f32, 1.0, (96, 3, 16, 16), &Device::Cpu).unwrap();
    let (labels, keeping) = (vec![1; 96], Keeping::default());
    let blocks = Blocks::All;
    let examples = Examples::of_images((&model, blocks), &images, &labels, &keeping).unwrap();
    let network = Network::new(&model, blocks, &examples).unwrap();
    let vector = Tensor::randn(0f32, 1.0, (1, network.size()), &Device::Cpu).unwrap();
    let vector = Vectors::new(vector).unwrap();
    let pass = (network.linearisation_bytes(Beside::Gradients) * network.pass_images()) as u64;
    let operator =
        NetworkCurvature::new(&network, &examples, Curvature::Hessian, 0.0, pass).unwrap();
    let multiply = |times: usize| {
        for _ in 0..times {
            operator.apply(&vector).unwrap();
        }
        resident()
    };
    let before = multiply(5);
    let after = multiply(30);
    // One pass is about 23 MB: a leak of one a product would be seen thirtyfold.
    let leak = network.linearisation_bytes(Beside::Gradients) * 96 / 1024;
    assert!(
        after < before + 5 * leak,
        "{before} kB, then {after} kB; a pass: {leak} kB"
    );
}
