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
use clap::Parser;
use std::time::Instant;

const NORMALISATION: Normalisation = Normalisation {
    mean: [0.45; 3],
    deviation: [0.25; 3],
};

#[derive(Parser)]
struct Options {
    /// Without it a run of all benches only shows that this one works.
    #[arg(long, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    #[arg(long, default_value_t = 30)]
    repeats: usize,
    #[arg(long)]
    batch: Option<usize>,
    /// Words that are said of what is measured.
    #[arg(long, default_value = "")]
    only: String,
    #[arg(long)]
    nondeterministic: bool,
    /// What cargo adds.
    #[arg(long = "bench")]
    _of_cargo: bool,
}

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
    options: &Options,
    precision: &str,
) -> ascribe::Result<()> {
    let [natural, attacked] = ["natural", "PGD-7"].map(|kind| {
        let said = format!("{} {precision} {kind}", network.name);
        options.only.split(' ').all(|word| said.contains(word))
    });
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
    let pgd = Some(Adversary::new(Norm::L2, 0.5, 7)?);
    for (wanted, kind, adversary) in [(natural, "step", None), (attacked, "PGD-7 step", pgd)] {
        if wanted {
            training.adversary = adversary;
            let name = format!("{} {precision} {kind}", network.name);
            let median = training.median(options.repeats)?;
            println!("ascribe  {name:34} {median:9.3} ms");
        }
    }
    Ok(())
}

fn main() -> ascribe::Result<()> {
    ascribe::start_with_best_kernels();
    let mut options = Options::parse();
    if options.nondeterministic {
        allow_unordered_sums();
    }
    let device = options.device.open()?;
    let small = Network {
        name: "resnet18 cifar 128x32",
        architecture: "cifar-resnet18",
        classes: 100,
        batch: options.batch.unwrap_or(128),
        side: 32,
    };
    if device.is_cpu() {
        options.repeats = 1;
        return measure(&Network { batch: 8, ..small }, &device, &options, "f32");
    }
    let large = Network {
        name: "resnet50 64x224",
        architecture: "resnet50",
        classes: 1000,
        batch: options.batch.unwrap_or(64),
        side: 224,
    };
    for network in [&small, &large] {
        for precision in ["f32", "bf16"] {
            measure(network, &device, &options, precision)?;
        }
    }
    allow_tf32();
    for network in [&small, &large] {
        measure(network, &device, &options, "tf32")?;
    }
    Ok(())
}
