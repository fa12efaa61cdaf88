//! Products through the last fine-tuned blocks by graphs of tensors, on any device: milliseconds, to be held against
//! `analysis/gpu/products.py`, which computes the same with PyTorch.
//!
//! `cargo bench --features cuda --bench device_products -- --device cuda --architecture cifar-resnet18 --blocks 3 --batch 128`
//! prints medians over `--rounds` rounds (20), in which the computations take turns, with the device's queue empty before and
//! after each. `--architecture resnet50` has images of 224 × 224. `--precision f64` and `--tf32` choose other arithmetic.
//! Weights and images are random; what lies before the blocks is computed once and not measured.

use ascribe::derivative::network::{Curvature, DeviceExamples, DeviceNetwork, Keeping};
use ascribe::device::{DeviceChoice, allow_tf32};
use ascribe::model::{Blocks, Normalisation, ResNet};
use candle_core::{DType, Device, Tensor};
use clap::Parser;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Vectors of a block.
const BLOCK: usize = 8;
/// Solutions that meet the images together.
const QUERIES: usize = 64;
const CLASSES: usize = 10;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    #[arg(long, default_value = "cifar-resnet18")]
    architecture: String,
    #[arg(long, default_value_t = Blocks::Last(3))]
    blocks: Blocks,
    #[arg(long, default_value_t = 128)]
    batch: usize,
    #[arg(long = "precision", default_value = "f32")]
    dtype: DType,
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    #[arg(long)]
    tf32: bool,
    /// What cargo adds.
    #[arg(long = "bench")]
    _of_cargo: bool,
}

impl Options {
    fn side(&self) -> usize {
        if self.architecture.starts_with("cifar") {
            32
        } else {
            224
        }
    }
}

struct Setting {
    examples: DeviceExamples,
    network: DeviceNetwork,
    positions: Vec<u32>,
    vectors: Tensor,
}

impl Setting {
    fn new(options: &Options, device: &Device) -> Result<Self> {
        let (side, batch) = (options.side(), options.batch);
        let model = ResNet::initialise(
            options.architecture.parse()?,
            (0..CLASSES).map(|class| class.to_string()).collect(),
            Normalisation {
                mean: [0.5; 3],
                deviation: [0.25; 3],
            },
            side,
            1,
            device,
        )?
        .to_dtype(options.dtype)?;
        let images = Tensor::rand(0f32, 1.0, (batch, 3, side, side), device)?;
        let labels: Vec<usize> = (0..batch).map(|i| i % CLASSES).collect();
        let of = (&model, options.blocks, device);
        let examples = DeviceExamples::of_images(of, &images, &labels, &Keeping::default())?;
        let network = DeviceNetwork::new(&model, options.blocks, &examples)?;
        let vectors = Tensor::randn(0f32, 1.0, (QUERIES, network.size()), device)?;
        Ok(Self {
            examples,
            positions: (0..batch as u32).collect(),
            vectors: vectors.to_dtype(options.dtype)?,
            network: network.with_pass_images(batch),
        })
    }

    fn product(&self, curvature: Curvature, count: usize) -> Result<()> {
        let vectors = self.vectors.narrow(0, 0, count)?;
        let of = (&self.examples, &self.positions[..]);
        self.network.curvature_products(curvature, of, &vectors)?;
        Ok(())
    }

    fn slopes(&self, count: usize) -> Result<()> {
        let vectors = self.vectors.narrow(0, 0, count)?;
        (self.network).segment_products(&self.examples, &self.positions, &vectors)?;
        Ok(())
    }

    fn image_gradients(&self) -> Result<()> {
        (self.network).example_gradients(&self.examples, &self.positions)?;
        Ok(())
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Result<()> {
    ascribe::start_with_best_kernels();
    let options = Options::parse();
    if options.tf32 {
        allow_tf32();
    }
    let device = options.device.open()?;
    let setting = Setting::new(&options, &device)?;
    let gradient = || -> Result<()> {
        (setting.network).gradient(&setting.examples, &setting.positions)?;
        Ok(())
    };
    let (hessian, gauss_newton) = (Curvature::Hessian, Curvature::GaussNewton);
    let work: [(&str, &dyn Fn() -> Result<()>); 9] = [
        ("gradient", &gradient),
        ("H v", &|| setting.product(hessian, 1)),
        ("H v, block of 8", &|| setting.product(hessian, BLOCK)),
        ("G v", &|| setting.product(gauss_newton, 1)),
        ("G v, block of 8", &|| setting.product(gauss_newton, BLOCK)),
        ("all <grad_i, v>", &|| setting.slopes(1)),
        ("all <grad_i, v>, block of 8", &|| setting.slopes(BLOCK)),
        ("all <grad_i, v>, block of 64", &|| setting.slopes(QUERIES)),
        ("all grad_i", &|| setting.image_gradients()),
    ];
    println!(
        "{} on {}, {} blocks and the head ({} parameters), {} images of {side} x {side}, {:?}, tf32 {}",
        options.architecture,
        options.device,
        options.blocks,
        setting.network.size(),
        options.batch,
        options.dtype,
        options.tf32,
        side = options.side(),
    );
    let mut times = vec![Vec::new(); work.len()];
    for round in 0..=options.rounds.max(1) {
        for ((_, work), times) in work.iter().zip(&mut times) {
            device.synchronize()?;
            let started = Instant::now();
            work()?;
            device.synchronize()?;
            // The first round compiles and allocates.
            if round > 0 {
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    for ((name, _), times) in work.iter().zip(times) {
        println!("{name:<28} {:>10.3} ms", median(times));
    }
    Ok(())
}
