//! Milliseconds of a training step on a CUDA device (or the processor), natural and with PGD-7; `analysis/gpu/training.py` is its
//! twin in PyTorch.
//!
//! `cargo bench --features cudnn --bench device_training -- [--device cuda] [--repeats N] [--batch N] [--only "resnet18 tf32 PGD-7"]
//! [--nondeterministic]`

use ascribe::derivative::{LossGradientsOf, OfInput, loss_gradients};
use ascribe::device::{DeviceChoice, allow_tf32, allow_unordered_sums};
use ascribe::model::{Normalisation, Pass, ResNet};
use ascribe::train::{Adversary, Norm, Sgd};
use candle_core::{DType, Device, Tensor};
use std::time::Instant;

const NORMALISATION: Normalisation = Normalisation {
    mean: [0.45; 3],
    deviation: [0.25; 3],
};

struct Training {
    model: ResNet,
    optimiser: Sgd,
    images: Tensor,
    labels: Tensor,
    adversary: Option<Adversary>,
}

impl Training {
    fn step(&mut self) -> ascribe::Result<f64> {
        let images = match &self.adversary {
            Some(adversary) => {
                adversary.perturb(&self.model.detached(), &self.images, &self.labels, [0; 3])?
            }
            None => self.images.clone(),
        };
        let wanted = LossGradientsOf {
            parameters_from: Some(0),
            input: OfInput::Nothing,
        };
        let mut pass = Pass::training_from(0);
        let found = loss_gradients(&self.model, (0, &images), &self.labels, &mut pass, wanted)?;
        self.optimiser.step(&found.parameters, 0.01)?;
        self.model.absorb(pass)?;
        Ok(found.loss_and_right.get(0)?.to_scalar()?)
    }

    fn median(&mut self, repeats: usize) -> ascribe::Result<f64> {
        let device = self.images.device().clone();
        for _ in 0..5 {
            self.step()?;
        }
        let mut times = Vec::new();
        for _ in 0..repeats {
            device.synchronize()?;
            let began = Instant::now();
            self.step()?;
            device.synchronize()?;
            times.push(1e3 * began.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }
}

#[derive(Clone, Copy)]
struct Network {
    name: &'static str,
    architecture: &'static str,
    classes: usize,
    batch: usize,
    side: usize,
}

fn measure(
    network: &Network,
    device: &Device,
    repeats: usize,
    precision: &str,
) -> ascribe::Result<()> {
    let [natural, attacked] =
        ["natural", "PGD-7"].map(|kind| is_wanted(network.name, precision, kind));
    let attacked = attacked && network.side == 32;
    if !natural && !attacked {
        return Ok(());
    }
    let classes = (0..network.classes)
        .map(|class| class.to_string())
        .collect();
    let architecture = network.architecture.parse()?;
    let model = ResNet::initialise(
        architecture,
        classes,
        NORMALISATION,
        network.side,
        0,
        device,
    )?;
    let mut model = match precision {
        "bf16" => model.with_activations(DType::BF16),
        _ => model,
    };
    let shape = (network.batch, 3, network.side, network.side);
    let labels: Vec<u32> = (0..network.batch)
        .map(|i| (i * 7 % network.classes) as u32)
        .collect();
    let variables = model.make_trainable(0)?;
    let mut training = Training {
        model,
        optimiser: Sgd::new(variables, 0.9, 5e-4),
        images: Tensor::rand(0f32, 1f32, shape, device)?,
        labels: Tensor::new(labels, device)?,
        adversary: None,
    };
    if natural {
        println!(
            "ascribe  {:34} {:9.3} ms",
            format!("{} {precision} step", network.name),
            training.median(repeats)?
        );
    }
    if attacked {
        training.adversary = Some(Adversary::new(Norm::L2, 0.5, 7)?);
        println!(
            "ascribe  {:34} {:9.3} ms",
            format!("{} {precision} PGD-7 step", network.name),
            training.median(repeats)?
        );
    }
    Ok(())
}

/// Whether every word of `--only` is said of a measurement.
fn is_wanted(name: &str, precision: &str, kind: &str) -> bool {
    let words: Vec<String> = std::env::args().collect();
    let place = words.iter().position(|word| word == "--only");
    let only = place.and_then(|place| words.get(place + 1));
    let said = format!("{name} {precision} {kind}");
    only.is_none_or(|only| only.split(' ').all(|word| said.contains(word)))
}

fn main() -> ascribe::Result<()> {
    ascribe::start_with_best_kernels();
    let words: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let place = words.iter().position(|word| word == name)?;
        words.get(place + 1).cloned()
    };
    // Without an option a run of all benches only shows that this one works.
    let choice = option("--device").map_or(Ok(DeviceChoice::Cpu), |text| text.parse());
    let choice = choice.map_err(|reason| ascribe::Error::config("device", reason))?;
    let repeats = option("--repeats")
        .and_then(|text| text.parse().ok())
        .unwrap_or(30);
    if words.iter().any(|word| word == "--nondeterministic") {
        allow_unordered_sums();
    }
    let device = choice.open()?;
    let batch: Option<usize> = option("--batch").and_then(|text| text.parse().ok());
    let small = Network {
        name: "resnet18 cifar 128x32",
        architecture: "cifar-resnet18",
        classes: 100,
        batch: batch.unwrap_or(128),
        side: 32,
    };
    if device.is_cpu() {
        return measure(&Network { batch: 8, ..small }, &device, 1, "f32");
    }
    let large = Network {
        name: "resnet50 64x224",
        architecture: "resnet50",
        classes: 1000,
        batch: batch.unwrap_or(64),
        side: 224,
    };
    for network in [&small, &large] {
        for precision in ["f32", "bf16"] {
            measure(network, &device, repeats, precision)?;
        }
    }
    allow_tf32();
    for network in [&small, &large] {
        measure(network, &device, repeats, "tf32")?;
    }
    Ok(())
}
