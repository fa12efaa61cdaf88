//! Products through the fine-tuned blocks against a gradient of the same parameters, f32.
//!
//! `cargo bench --bench network -- 5` takes medians over 5 rounds, in which the computations take turns. The network is the
//! CIFAR ResNet-18 of width 64, random weights, 64 images of 32×32: first the last block and the head (4.7 million
//! parameters, what lies before them computed once), then three blocks and the head, then all parameters.

use ascribe::derivative::network::{Beside, Curvature, Examples, Keeping, Linearisation, Network};
use ascribe::model::{Blocks, Normalisation, ResNet};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const IMAGES: usize = 64;
/// Vectors of a block.
const BLOCK: usize = 8;
/// The rank of approximated vectors.
const RANK: usize = 4;
/// Gradients of all parameters that are held at once.
const GRADIENTS: usize = 8;

struct Setting {
    examples: Examples,
    network: Network,
    positions: Vec<u32>,
    vectors: Tensor,
}

impl Setting {
    fn new(blocks: Blocks) -> Result<Self> {
        let model = ResNet::initialise(
            "cifar-resnet18-w64".parse()?,
            (0..10).map(|class| class.to_string()).collect(),
            Normalisation {
                mean: [0.5; 3],
                deviation: [0.25; 3],
            },
            32,
            1,
            &Device::Cpu,
        )?;
        let images = Tensor::rand(0f32, 1.0, (IMAGES, 3, 32, 32), &Device::Cpu)?;
        let labels: Vec<usize> = (0..IMAGES).map(|i| i % 10).collect();
        let keeping = Keeping::default();
        let examples = Examples::of_images((&model, blocks), &images, &labels, &keeping)?;
        let network = Network::new(&model, blocks, &examples)?;
        let vectors = Tensor::randn(0f32, 1.0, (BLOCK, network.size()), &Device::Cpu)?;
        Ok(Self {
            examples,
            positions: (0..IMAGES as u32).collect(),
            vectors: vectors.to_dtype(DType::F32)?,
            network,
        })
    }

    fn linearise(&self, beside: Beside) -> Result<Vec<Arc<Linearisation>>> {
        let passes = self.positions.chunks(self.network.pass_images());
        let pass = |part| self.network.linearise(&self.examples, part, beside);
        passes.map(|part| Ok(Arc::new(pass(part)?))).collect()
    }

    fn product(
        &self,
        curvature: Curvature,
        parts: &[Arc<Linearisation>],
        count: usize,
    ) -> Result<()> {
        let vectors = self.vectors.narrow(0, 0, count)?;
        let mut parts = parts.iter().map(|part| Ok(Arc::clone(part)));
        self.network
            .curvature_products(curvature, &vectors, &mut parts)?;
        Ok(())
    }

    /// Products with gradients of all parameters, some images at a time.
    fn by_whole_gradients(&self) -> Result<()> {
        for positions in self.positions.chunks(GRADIENTS) {
            let gradients = (self.network).example_gradients(&self.examples, positions)?;
            self.vectors.matmul(&gradients.t()?)?;
        }
        Ok(())
    }

    /// Median seconds of each computation.
    fn measure(&self, rounds: usize) -> Result<Vec<(&'static str, f64)>> {
        let kept = self.linearise(Beside::Gradients)?;
        let rooted = self.linearise(Beside::RootGradients)?;
        let both = [
            ("Gauss–Newton", Curvature::GaussNewton),
            ("Hessian", Curvature::Hessian),
        ];
        let names = [
            "gradient",
            "H v, passes kept",
            "H v, nothing kept",
            "H v, one of a block of 8, nothing kept",
            "G v, passes kept",
            "G v, nothing kept",
            "G v, one of a block of 8, nothing kept",
            "G v, root gradients kept",
            "G v, one of a block of 8, root gradients made",
            "all ⟨∇ℓ_i, v⟩",
            "all ⟨∇ℓ_i, v⟩ of a block of 8",
            "the same, at rank 4 where that is cheaper",
            "the same, by gradients of all parameters",
        ];
        // Prepared once for all training images.
        let pairs = [None, Some(RANK)].map(|rank| self.network.pair(&self.vectors, rank));
        let pairs = pairs.into_iter().collect::<ascribe::Result<Vec<_>>>()?;
        let mut times = vec![Vec::new(); names.len()];
        let (gauss_newton, hessian) = (both[0].1, both[1].1);
        for round in 0..=rounds {
            let mut found = Vec::new();
            let mut time = |work: &dyn Fn() -> Result<()>| -> Result<()> {
                let start = Instant::now();
                work()?;
                found.push(start.elapsed().as_secs_f64());
                Ok(())
            };
            time(&|| {
                self.network.gradient(&self.examples, &self.positions)?;
                Ok(())
            })?;
            time(&|| self.product(hessian, &kept, 1))?;
            time(&|| self.product(hessian, &self.linearise(Beside::Gradients)?, 1))?;
            time(&|| self.product(hessian, &self.linearise(Beside::Gradients)?, BLOCK))?;
            time(&|| self.product(gauss_newton, &kept, 1))?;
            let nothing = || self.linearise(Beside::Nothing);
            time(&|| self.product(gauss_newton, &nothing()?, 1))?;
            time(&|| self.product(gauss_newton, &nothing()?, BLOCK))?;
            time(&|| self.product(gauss_newton, &rooted, 1))?;
            let roots = || self.linearise(Beside::RootGradients);
            time(&|| self.product(gauss_newton, &roots()?, BLOCK))?;
            time(&|| {
                let vector = self.vectors.narrow(0, 0, 1)?;
                self.network
                    .example_products(&self.examples, &self.positions, &vector)?;
                Ok(())
            })?;
            for pairs in &pairs {
                time(&|| {
                    pairs.products(&self.examples, &self.positions)?;
                    Ok(())
                })?;
            }
            time(&|| self.by_whole_gradients())?;
            for block in [3, 6, 8] {
                found[block] /= BLOCK as f64;
            }
            // The first round warms up.
            if round > 0 {
                times
                    .iter_mut()
                    .zip(found)
                    .for_each(|(times, time)| times.push(time));
            }
        }
        let medians = times.into_iter().map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        Ok(names.into_iter().zip(medians).collect())
    }
}

fn main() -> Result<()> {
    ascribe::start_with_best_kernels();
    let number = |argument: String| argument.parse().ok();
    let rounds: usize = std::env::args().find_map(number).unwrap_or(5).max(1);
    let only = std::env::args().find(|argument| ["last", "three", "all"].contains(&&argument[..]));
    println!("| trained | parameters | computation | ms | over a gradient |");
    println!("|---|---|---|---|---|");
    for (name, blocks) in [
        ("last", Blocks::Last(1)),
        ("three", Blocks::Last(3)),
        ("all", Blocks::All),
    ] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let setting = Setting::new(blocks)?;
        let times = setting.measure(rounds)?;
        for (computation, time) in &times {
            println!(
                "| {name} | {} | {computation} | {:.0} | {:.2} |",
                setting.network.size(),
                time * 1e3,
                time / times[0].1
            );
        }
    }
    Ok(())
}
