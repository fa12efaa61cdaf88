//! Our convolution against candle's own: forward, and forward with backward for input and weight, in f32.
//!
//! `cargo bench --bench convolution -- 15` takes medians over 15 rounds. Ours and candle's take turns within a round,
//! so that whatever else the machine does falls on both.

use ascribe::model::op::{Convolution, convolve};
use candle_core::{Device, Result, Tensor, Var};
use std::time::Instant;

struct Layer {
    batch: usize,
    c_in: usize,
    size: usize,
    c_out: usize,
    kernel: usize,
    stride: usize,
}

const fn layer([batch, c_in, size, c_out]: [usize; 4], kernel: usize, stride: usize) -> Layer {
    Layer {
        batch,
        c_in,
        size,
        c_out,
        kernel,
        stride,
    }
}

/// Layers of ResNets for 32×32 and 224×224 images; the last three are those of a small CIFAR style network.
const LAYERS: [Layer; 10] = [
    layer([32, 64, 32, 64], 3, 1),
    layer([32, 64, 32, 128], 3, 2),
    layer([64, 512, 4, 512], 3, 1),
    layer([8, 3, 224, 64], 7, 2),
    layer([8, 256, 56, 64], 1, 1),
    layer([16, 128, 28, 128], 3, 1),
    layer([32, 256, 14, 256], 3, 1),
    layer([128, 16, 32, 16], 3, 1),
    layer([128, 32, 16, 32], 3, 1),
    layer([128, 64, 8, 64], 3, 1),
];

impl Layer {
    fn padding(&self) -> usize {
        self.kernel / 2
    }

    fn ours(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let options = Convolution {
            stride: self.stride,
            padding: self.padding(),
        };
        convolve(x, weight, options)
    }

    fn candle(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        x.conv2d(weight, self.padding(), self.stride, 1, 1)
    }

    /// Median milliseconds of `[ours, candle's]` for the forward pass, then for forward and backward.
    fn measure(&self, rounds: usize) -> Result<[[f64; 2]; 2]> {
        let normal = |shape: [usize; 4]| Tensor::randn(0_f32, 1.0, &shape[..], &Device::Cpu);
        let x = Var::from_tensor(&normal([self.batch, self.c_in, self.size, self.size])?)?;
        let weight = normal([self.c_out, self.c_in, self.kernel, self.kernel])?;
        let weight = Var::from_tensor(&weight)?;
        let (x_constant, weight_constant) = (x.as_detached_tensor(), weight.as_detached_tensor());
        let mut times = [[vec![], vec![]], [vec![], vec![]]];
        for round in 0..=rounds {
            for (which, convolution) in [
                Self::ours,
                Self::candle as fn(&Self, &Tensor, &Tensor) -> Result<Tensor>,
            ]
            .into_iter()
            .enumerate()
            {
                let forward = milliseconds(|| convolution(self, &x_constant, &weight_constant))?;
                let both = milliseconds(|| convolution(self, &x, &weight)?.sum_all()?.backward())?;
                // The first round warms up.
                if round > 0 {
                    times[0][which].push(forward);
                    times[1][which].push(both);
                }
            }
        }
        Ok(times.map(|pair| pair.map(median)))
    }
}

fn milliseconds<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Result<()> {
    ascribe::start_with_best_kernels();
    let rounds = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(9)
        .max(1);
    println!(
        "| batch, channels in, size, out, kernel, stride | forward, ms | candle, ms | ratio | and backward, ms | candle, ms | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for layer in LAYERS {
        let Layer {
            batch,
            c_in,
            size,
            c_out,
            kernel,
            stride,
        } = layer;
        let [[forward, candle_forward], [both, candle_both]] = layer.measure(rounds)?;
        println!(
            "| {batch}, {c_in}, {size}, {c_out}, {kernel}, {stride} | {forward:.2} | {candle_forward:.2} | {:.1} | {both:.2} | {candle_both:.2} | {:.1} |",
            candle_forward / forward,
            candle_both / both
        );
    }
    Ok(())
}
