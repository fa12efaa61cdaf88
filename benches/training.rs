//! One step of training whole networks: forward, gradients of all parameters, momentum step, running statistics.
//!
//! `cargo bench --bench training -- 3` takes the median of three steps after one that warms up; a name after the number leaves
//! the other network out. A line a network; beside it the multiply–adds of its convolutions, three times over for forward and
//! both gradients.

use ascribe::artefact::keep_freed_memory;
use ascribe::derivative::{LossGradientsOf, OfInput, loss_gradients};
use ascribe::model::{Normalisation, Pass, ResNet};
use ascribe::train::Sgd;
use candle_core::{Device, Tensor};
use std::time::Instant;

/// Architecture, side, batch, and billions of multiply–adds of a forward pass for one image.
const NETWORKS: [(&str, usize, usize, f64); 2] = [
    ("cifar-resnet18", 32, 128, 0.556),
    ("resnet50", 224, 8, 4.09),
];

const ALL: LossGradientsOf = LossGradientsOf {
    parameters_from: Some(0),
    input: OfInput::Nothing,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    ascribe::start_with_best_kernels();
    let rounds = std::env::args().find_map(|word| word.parse().ok());
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let named = NETWORKS
        .iter()
        .any(|network| wanted.iter().any(|word| word == network.0));
    keep_freed_memory();
    for (architecture, side, batch, billions) in NETWORKS {
        if named && !wanted.iter().any(|word| word == architecture) {
            continue;
        }
        let classes = (0..10).map(|class| class.to_string()).collect();
        let mut model = ResNet::initialise(
            architecture.parse()?,
            classes,
            Normalisation::IMAGENET,
            side,
            0,
            &Device::Cpu,
        )?;
        let mut optimiser = Sgd::new(model.make_trainable(0)?, 0.9, 5e-4);
        let images = Tensor::rand(0_f32, 1.0, (batch, 3, side, side), &Device::Cpu)?;
        let labels: Vec<u32> = (0..batch as u32).map(|image| image % 10).collect();
        let labels = Tensor::new(labels, &Device::Cpu)?;
        let mut seconds = Vec::new();
        for _ in 0..=rounds.unwrap_or(3) {
            let started = Instant::now();
            let mut pass = Pass::training_from(0);
            let found = loss_gradients(&model, (0, &images), &labels, &mut pass, ALL)?;
            let gradients = started.elapsed().as_secs_f64();
            optimiser.step(&found.parameters, 0.01)?;
            model.absorb(pass)?;
            seconds.push([started.elapsed().as_secs_f64(), gradients]);
        }
        seconds.remove(0);
        seconds.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let [step, gradients] = seconds[seconds.len() / 2];
        println!(
            "ascribe {architecture} {side} batch {batch}: {step:.3} s a step (gradients {gradients:.3}, weights {:.3}), {:.0} GFLOP/s",
            step - gradients,
            6.0 * billions * batch as f64 / step
        );
    }
    Ok(())
}
