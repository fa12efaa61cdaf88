//! What a run will cost before it runs: operations, seconds, bytes; and which method `auto` takes.
//!
//! With w = C − 1, e = d + 1, p = w·e parameters, n training images, s right-hand sides and m queries:
//!
//! | part | operations |
//! |---|---|
//! | Kronecker axes | n·e² + 10·e³; next to nothing for `direct` and `identity`, which need the strongest alone |
//! | rows in these axes | 2(n + m)·e² |
//! | matrix and factor (`direct`) | w(w + 1)/2 · e²·n + p³/3 |
//! | solves (`direct`) | s·(2p² + 4np), the residual included |
//! | preconditioner (`cg`) | n·b²/2 + b³/3, b parameters of the strongest axes |
//! | solves (`cg`) | s·(9·(4np + 2b²) + 4np): 7 to 8 iterations to 1e-5 on the job of `analysis/speed`, ten queries |
//! | solves (`astra`) | s·(200·256/n + 2)·4np, in its usual settings |
//! | scores | 2p·n·m; `identity` 2(w + e)·n·m |
//!
//! Seconds are operations over the rate of a matrix product measured on the spot, times 1.2: the kernels reach about 0.85
//! of it (`benches/head.rs`). Bytes are those of the features as read, with a constant, and in feature axes (unless they are
//! mapped); of the ranks kept, and what their certificates need; and of what is larger, finding the axes or factor and blocks.

use super::BlockSizes;
use crate::artefact::physical_memory_bytes;
use crate::device::DeviceChoice;
use crate::product::{Real, product};
use crate::solve::{Astra, Method, strong_parameters, too_large};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use faer::{Accum, Mat};
use std::time::Instant;

/// Iterations that preconditioned conjugate gradients are taken to need.
const ITERATIONS: f64 = 9.0;
/// Iterations of a Neumann series: as many as its user allows, of which this is the least that makes sense.
const TERMS: f64 = 45.0;
/// Blocks of solutions that are alive at once: right-hand sides, solutions, products, residuals and copies.
const BLOCKS: f64 = 6.0;
/// Rows in memory: as read, with a constant appended, and in feature axes.
const COPIES: f64 = 3.0;
/// Matrices of the size of the features' second moment that are alive while its eigenvectors are found.
const AXES: f64 = 6.0;
/// The share of the memory that the resident rows of one side may take.
const RESIDENT_SHARE: f64 = 1.0 / 8.0;
/// How much longer a run takes than its operations at the rate of a matrix product.
const OVERHEAD: f64 = 1.2;

/// The size of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemSize {
    /// n
    pub train: usize,
    /// Test queries.
    pub test: usize,
    /// d
    pub features: usize,
    /// C
    pub classes: usize,
    /// Ranks kept for a query.
    pub kept: usize,
    /// Whether ranks are certified.
    pub certified: bool,
    /// Whether the training features stay in their file.
    pub mapped_train: bool,
    /// Whether the test features do.
    pub mapped_test: bool,
    /// Whether the training images are queries too.
    pub train_queries: bool,
    /// Whether arithmetic is f64.
    pub double: bool,
    /// Free bytes of the device that does the work; `None`: the processor does.
    pub device_memory: Option<usize>,
}

/// What a run is predicted to take.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Plan {
    /// The method.
    pub method: Method,
    /// Why this one.
    pub reason: String,
    /// Which images are solved for: `train` or `test`.
    pub solves_for: &'static str,
    /// Whose features stay in their file: `train`, `test`.
    pub mapped: Vec<&'static str>,
    /// Floating-point operations.
    pub operations: f64,
    /// Of a matrix product in the same precision on the device, measured, in operations a second.
    pub rate: f64,
    /// What does the work: `cpu`, or as it was named.
    pub device: DeviceChoice,
    /// Predicted.
    pub seconds: f64,
    /// Predicted peak.
    pub bytes: f64,
}

impl ProblemSize {
    /// p
    pub fn parameters(&self) -> f64 {
        (self.classes.saturating_sub(1) * (self.features + 1)) as f64
    }

    fn solves(&self) -> (&'static str, f64) {
        if self.train_queries || self.train <= self.test {
            ("train", self.train as f64)
        } else {
            ("test", self.test as f64)
        }
    }

    fn operations(&self, method: Method) -> f64 {
        let (n, p) = (self.train as f64, self.parameters());
        let (e, w) = (
            (self.features + 1) as f64,
            self.classes.saturating_sub(1) as f64,
        );
        let (_, solves) = self.solves();
        let queries = (self.test + if self.train_queries { self.train } else { 0 }) as f64;
        let product = 4.0 * n * p;
        let solving = match method {
            Method::Direct | Method::Auto => {
                let factor = w * (w + 1.0) / 2.0 * e * e * n + p.powi(3) / 3.0;
                factor + solves * (2.0 * p * p + product)
            }
            Method::Cg => {
                let block = strong_parameters(p as usize) as f64;
                let prepared = n * block * block / 2.0 + block.powi(3) / 3.0;
                let iteration = product + 2.0 * block * block;
                prepared + solves * (ITERATIONS * iteration + product)
            }
            Method::Lissa => solves * TERMS * product,
            Method::Astra => {
                let usual = Astra::default();
                let batch = (usual.batch as f64).min(n);
                solves * (usual.steps as f64 * batch / n + 2.0) * product
            }
            Method::Ekfac | Method::Identity => 0.0,
            Method::Arnoldi | Method::Pinv => 200.0 * product,
        };
        // Without curvature a score is a product of two short dot products.
        let score = match method {
            Method::Identity => 2.0 * (w + e),
            _ => 2.0 * p,
        };
        let axes = match method {
            // The strongest alone.
            Method::Direct | Method::Auto | Method::Identity if !self.certified => 0.0,
            _ => n * e * e + 10.0 * e.powi(3),
        };
        let turning = 2.0 * (n + queries) * e * e;
        axes + turning + solving + score * n * queries
    }

    fn width(&self) -> f64 {
        if self.double { 8.0 } else { 4.0 }
    }

    /// Bytes that are needed whatever the blocks.
    fn fixed_bytes(&self, method: Method) -> f64 {
        let matrix = match method {
            // The factor is f32 but for small f64 problems. Nearly half of it is never written, and takes memory only where the
            // system hands out large pages unasked: that is not counted on.
            Method::Direct | Method::Auto => 4.0 * self.parameters().powi(2),
            _ => 0.0,
        };
        self.row_bytes() + self.kept_bytes() + self.certificate_bytes() + matrix
    }

    /// Resident rows in their three forms, and the axes.
    fn row_bytes(&self) -> f64 {
        let columns = (self.features + 1) as f64;
        COPIES * self.width() * self.resident_rows() * columns + 8.0 * columns * columns
    }

    fn resident_rows(&self) -> f64 {
        let resident = |count: usize, mapped: bool| if mapped { 0 } else { count };
        let train = resident(self.train, self.mapped_train);
        (train + resident(self.test, self.mapped_test)) as f64
    }

    /// Both sides once more in f64, where they are not already, and all solutions where they are the training images'.
    fn certificate_bytes(&self) -> f64 {
        if !self.certified {
            return 0.0;
        }
        let columns = (self.features + 1) as f64;
        let wider = if self.double { 0.0 } else { 2.0 * 8.0 };
        let (side, count) = self.solves();
        let solutions = if side == "train" { count } else { 0.0 };
        wider * self.resident_rows() * columns + 8.0 * solutions * self.parameters()
    }

    /// Position and score of up to four times the ranks kept, and twice once more while they are recorded.
    fn kept_bytes(&self) -> f64 {
        let train = if self.train_queries { self.train } else { 0 };
        let kept = self.kept.min(self.train);
        let most = (4 * kept).min(self.train) + 2 * kept;
        16.0 * (most * (self.test + train)) as f64
    }

    /// What finding the axes takes at its height.
    fn axes_bytes(&self) -> f64 {
        let columns = (self.features + 1) as f64;
        let largest = self.train.max(self.test).min(4096) as f64;
        8.0 * (AXES * columns * columns + 3.0 * largest * columns)
    }

    fn block_bytes(&self, blocks: BlockSizes) -> f64 {
        let solved = blocks.solved.min(self.solves().1 as usize) as f64;
        let gradients = blocks.gradients as f64;
        self.width() * self.parameters() * (BLOCKS * solved + 2.0 * gradients)
    }

    /// The plan for `method`, `auto` resolved, in at most `memory` bytes; and the blocks that fit.
    ///
    /// # Errors
    /// Too little memory for the method, or for any.
    pub fn plan(
        &self,
        method: Method,
        memory: Option<f64>,
        (device, rate): (DeviceChoice, f64),
    ) -> Result<(Plan, BlockSizes)> {
        let (method, reason) = match method {
            Method::Auto => self.choose(memory),
            other => (other, "as asked for".to_owned()),
        };
        self.check_classes(memory)?;
        if let (Method::Direct, Some(reason)) = (method, self.factor_is_too_large()) {
            let reason = format!("direct writes out the curvature: {reason}; choose cg");
            return Err(Error::config("solver", reason));
        }
        let blocks = self.blocks(method, memory)?;
        let operations = self.operations(method);
        let plan = Plan {
            method,
            reason,
            solves_for: self.solves().0,
            mapped: ([("train", self.mapped_train), ("test", self.mapped_test)].into_iter())
                .filter_map(|(side, mapped)| mapped.then_some(side))
                .collect(),
            operations,
            rate,
            device,
            seconds: OVERHEAD * operations / rate,
            bytes: self.peak(method, blocks),
        };
        Ok((plan, blocks))
    }

    /// The axes of the classes are a matrix `[C, C − 1]`, whose number a single wrong label can make absurd.
    fn check_classes(&self, memory: Option<f64>) -> Result<()> {
        let room = memory.or_else(|| physical_memory_bytes().map(|bytes| bytes as f64));
        let bytes = 2.0 * 8.0 * (self.classes as f64).powi(2);
        match room {
            Some(room) if bytes > room.max(FEW_CLASSES) => Err(Error::mismatch(
                "classes",
                format!("few enough for {:.3} GiB of memory", room / GIB),
                format!("{}, which take {:.3}", self.classes, bytes / GIB),
                "look for a label that is far above the others: classes are counted from 0 to the largest",
            )),
            _ => Ok(()),
        }
    }

    fn peak(&self, method: Method, blocks: BlockSizes) -> f64 {
        let scoring = self.fixed_bytes(method) + self.block_bytes(blocks);
        scoring.max(self.row_bytes() + self.axes_bytes())
    }

    fn choose(&self, memory: Option<f64>) -> (Method, String) {
        let (direct, cg) = (self.operations(Method::Direct), self.operations(Method::Cg));
        let (_, solves) = self.solves();
        if let Some(reason) = self.factor_is_too_large() {
            let parameters = self.parameters();
            let reason = format!("a factor of {parameters} parameters is too large ({reason})");
            (Method::Cg, reason)
        } else if memory.is_some_and(|memory| self.fixed_bytes(Method::Direct) > 0.9 * memory) {
            (Method::Cg, "the factor does not fit into --memory".into())
        } else if direct <= cg {
            let reason = format!(
                "for {solves} solves one factor takes {:.2} of the operations of cg",
                direct / cg
            );
            (Method::Direct, reason)
        } else {
            let reason = format!(
                "for {solves} solves cg takes {:.2} of the operations of a factor",
                cg / direct
            );
            (Method::Cg, reason)
        }
    }

    fn factor_is_too_large(&self) -> Option<String> {
        let free = self.device_memory.map(|free| free as f64);
        too_large(self.parameters() as usize, free)
    }

    /// Blocks on a device, where these may take a quarter of what certificates leave free.
    fn device_blocks(&self, free: f64) -> Result<BlockSizes> {
        // Solutions in f64, and scaled for products.
        let held = self.certificate_bytes() * (1.0 + self.width() / 8.0);
        if held > 0.75 * free {
            let reason = format!(
                "keeps {:.3} GiB on the device, where {:.3} are free; add --skip-train, so that queries are solved for and not all training images, or choose --device cpu",
                held / GIB,
                free / GIB
            );
            return Err(Error::config("certify", reason));
        }
        let free = free - held;
        let usual = BlockSizes::usual(self.parameters() as usize, true);
        let rows = free / 4.0 / (self.width() * self.parameters());
        Ok(BlockSizes {
            solved: usual.solved.min((0.75 * rows / BLOCKS).max(1.0) as usize),
            gradients: usual.gradients.min((0.25 * rows / 2.0).max(1.0) as usize),
        })
    }

    /// The usual blocks, or smaller ones that fit.
    fn blocks(&self, method: Method, memory: Option<f64>) -> Result<BlockSizes> {
        if let Some(free) = self.device_memory {
            return self.device_blocks(free as f64);
        }
        let usual = BlockSizes::usual(self.parameters() as usize, false);
        let Some(memory) = memory else {
            return Ok(usual);
        };
        let row = self.width() * self.parameters();
        let rows = (memory - self.fixed_bytes(method)) / row;
        let least = BLOCKS + 2.0;
        if rows < least {
            let needed = (self.fixed_bytes(method) + least * row) / GIB;
            let reason = format!(
                "{} GiB are too little for {method}, which needs {}; give more, or choose another --solver",
                figures(memory / GIB),
                figures(needed)
            );
            return Err(Error::config("memory", reason));
        }
        // Three quarters for solutions, a quarter for gradients.
        Ok(BlockSizes {
            solved: usual.solved.min((0.75 * rows / BLOCKS).max(1.0) as usize),
            gradients: usual.gradients.min((0.25 * rows / 2.0).max(1.0) as usize),
        })
    }
}

/// A number of GiB to three places, or to three figures where that says nothing.
fn figures(gib: f64) -> String {
    match gib < 0.01 {
        true => format!("{gib:.2e}"),
        false => format!("{gib:.3}"),
    }
}

/// Bytes of axes of so few classes that the least memory for anything else is asked for by name.
const FEW_CLASSES: f64 = 1e8;
/// Bytes in a GiB.
pub const GIB: f64 = (1u64 << 30) as f64;

/// The most bytes that a file of f32 features may have before it is mapped: its rows in memory would take more than an
/// eighth of `memory`, or of the machine's where there is no limit; `None` where that is unknown.
pub fn resident_limit(memory: Option<f64>, double: bool) -> Option<u64> {
    let memory = memory.or_else(|| physical_memory_bytes().map(|bytes| bytes as f64))?;
    let wider = if double { 2.0 } else { 1.0 };
    Some((memory * RESIDENT_SHARE / (COPIES * wider)) as u64)
}

/// Operations a second of a matrix product of 1,024 × 1,024 on the processor, 4,096 × 4,096 on a device, the fastest of three.
///
/// # Errors
/// A tensor operation failed.
pub fn product_rate(dtype: DType, device: &Device) -> Result<f64> {
    match (device.is_cpu(), dtype) {
        (true, DType::F32) => Ok(host_rate::<f32>()),
        (true, _) => Ok(host_rate::<f64>()),
        _ => device_rate(dtype, device),
    }
}

fn host_rate<T: Real>() -> f64 {
    let size = 1024;
    let factor = Mat::from_fn(size, size, |_, _| T::from_f64(1.0));
    let mut target = factor.clone();
    let seconds = (0..3).map(|_| {
        let started = Instant::now();
        let target = target.as_mut();
        product(
            target,
            Accum::Replace,
            factor.as_ref(),
            factor.as_ref(),
            T::from_f64(1.0),
        );
        started.elapsed().as_secs_f64()
    });
    2.0 * (size as f64).powi(3) / seconds.fold(f64::INFINITY, f64::min)
}

fn device_rate(dtype: DType, device: &Device) -> Result<f64> {
    let size: usize = 4096;
    let matrix = Tensor::ones((size, size), dtype, device)?;
    let mut fastest = f64::INFINITY;
    for _ in 0..3 {
        device.synchronize()?;
        let started = Instant::now();
        matrix.matmul(&matrix)?;
        device.synchronize()?;
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
    Ok(2.0 * (size as f64).powi(3) / fastest)
}

#[cfg(test)]
mod tests;
