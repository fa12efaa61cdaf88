//! What a run will cost before it runs: operations, seconds, bytes; and which method `auto` takes.
//!
//! With w = C − 1, e = d + 1, p = w·e parameters, n training images, s right-hand sides and m queries:
//!
//! | part | operations |
//! |---|---|
//! | Kronecker axes | n·e² + 10·e³; next to nothing for `direct` and `identity`, which need the strongest alone |
//! | rows in these axes | 2(n + m)·e² |
//! | matrix and factor (`direct`) | w(w + 1)/2 · e²·n + min(w, e²)·C·w·n + p³/3 |
//! | a product | 4np, and of more than 32 classes 4·n·C·w through the logits |
//! | solves (`direct`) | s·(2p² + a product), the residual included; on the processor 2p² in place of the product where n > ¾p, and in f64 p ≤ 4,096 |
//! | preconditioner (`cg`) | n·b²/2 + b³/3, b parameters of the strongest axes |
//! | solves (`cg`) | s·(9·(a product + 2b²) + a product): 7 to 8 iterations to 1e-5 on the job of `analysis/speed`, ten queries |
//! | solves (`astra`) | s·(200·256/n + 2) products, in its usual settings |
//! | scores | 2p·n·m; `identity` 2(w + e)·n·m |
//! | certificates | two rounds of solves, and after each a product in f64; of queries two rounds of scores |
//! | damping path | in f64, see [`super::damping_path`] |
//!
//! Operations in f64 count twice where the rate is of f32.
//!
//! Fitting a head, where none is given, comes before and is not counted: how many steps of Newton's
//! method it takes is not known.
//!
//! Seconds are operations over the rate of a matrix product measured on the spot, times 1.2: the kernels reach about 0.85
//! of it (`benches/head.rs`). Bytes are those of the features as read, with a constant, and in feature axes (unless they are
//! mapped); of the ranks kept, and what their certificates need; and of what is larger, finding the axes, or factor and blocks, or
//! factor and damping path.

mod bytes;
mod rate;
#[cfg(test)]
mod tests;

pub use bytes::resident_limit;
pub use rate::product_rate;

use super::{BlockSizes, Correction, Normalise};
use crate::device::DeviceChoice;
use crate::operator::goes_by_logits;
use crate::solve::{Astra, Method, are_residuals_by_matrix, strong_parameters, too_large};
use crate::{Error, Result};
use candle_core::DType;

/// Iterations that preconditioned conjugate gradients are taken to need.
const ITERATIONS: f64 = 9.0;
/// Iterations of a Neumann series: as many as its user allows, of which this is the least that makes sense.
const TERMS: f64 = 45.0;
/// Rounds of refinement that certificates are taken to need, as on the job of `analysis/speed`.
const ROUNDS: f64 = 2.0;
/// How many operations in f32 one in f64 takes the time of.
const DOUBLE: f64 = 2.0;
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
    /// Groups of training images whose scores are added up for every test query.
    pub train_groups: usize,
    /// Whether ranks are certified.
    pub certified: bool,
    /// Queries of a damping path, if there is one.
    pub path_queries: Option<usize>,
    /// Whether the training features stay in their file.
    pub mapped_train: bool,
    /// Whether the test features do.
    pub mapped_test: bool,
    /// Whether the training images are queries too.
    pub train_queries: bool,
    /// What scores are divided by.
    pub normalise: Normalise,
    /// Whether an image's own curvature leaves with it.
    pub correction: Correction,
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
    /// Floating-point operations; in a run in f32 those in f64 count twice.
    pub operations: f64,
    /// Of a matrix product in the same precision on the device, measured, in operations a second.
    pub rate: f64,
    /// What does the work: `cpu`, or as it was named.
    pub device: DeviceChoice,
    /// Predicted, of all but fitting a head where none is given.
    pub seconds: f64,
    /// Predicted peak.
    pub bytes: f64,
}

impl ProblemSize {
    /// p
    pub fn parameters(&self) -> f64 {
        (self.classes.saturating_sub(1) * (self.features + 1)) as f64
    }

    /// Which images' scores are solved for, and how many solves there are in all.
    fn solves(&self) -> (&'static str, f64) {
        let of_training = self.train_queries || self.normalise.needs_training_solves();
        let (side, solves) = match of_training || self.train <= self.test {
            true => ("train", self.train),
            false => ("test", self.test),
        };
        let leverage = match self.correction {
            Correction::None => 0,
            Correction::Leverage => self.train * self.classes.saturating_sub(1),
        };
        (side, (solves + leverage) as f64)
    }

    fn operations(&self, method: Method) -> f64 {
        let (n, p) = (self.train as f64, self.parameters());
        let (e, w) = (
            (self.features + 1) as f64,
            self.classes.saturating_sub(1) as f64,
        );
        let (solved, solves) = self.solves();
        let queries = (self.test + if self.train_queries { self.train } else { 0 }) as f64;
        let classes = self.classes as f64;
        let through_logits = match goes_by_logits(self.classes.saturating_sub(1)) {
            true => 4.0 * n * classes * w,
            false => 0.0,
        };
        let product = 4.0 * n * p + through_logits;
        let rounds = if self.certified { ROUNDS } else { 1.0 };
        let certificate = rounds * self.in_double(product);
        let solving = match method {
            Method::Direct | Method::Auto => {
                let curvatures = w.min(e * e) * classes * w * n;
                let factor = w * (w + 1.0) / 2.0 * e * e * n + p.powi(3) / 3.0;
                // The residual of a certificate takes the place of the solver's.
                let on_host = self.device_memory.is_none();
                let by_matrix =
                    on_host && are_residuals_by_matrix(self.train, p as usize, self.precision());
                let residual = match (self.certified, by_matrix) {
                    (true, _) => certificate,
                    (false, true) => 2.0 * p * p,
                    (false, false) => product,
                };
                curvatures + factor + solves * (rounds * 2.0 * p * p + residual)
            }
            Method::Cg => {
                let block = strong_parameters(p as usize) as f64;
                let prepared = n * block * block / 2.0 + block.powi(3) / 3.0;
                let iteration = product + 2.0 * block * block;
                let solve = ITERATIONS * iteration + product;
                let residual = match self.certified {
                    true => certificate,
                    false => 0.0,
                };
                prepared + solves * (rounds * solve + residual)
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
            Method::Direct | Method::Auto | Method::Identity if !self.is_in_f64_too() => 0.0,
            _ => n * e * e + 10.0 * e.powi(3),
        };
        let turning = 2.0 * (n + queries) * e * e;
        let scorings = if solved == "test" { rounds } else { 1.0 };
        axes + turning + solving + scorings * score * n * queries
    }

    fn precision(&self) -> DType {
        match self.double {
            true => DType::F64,
            false => DType::F32,
        }
    }

    /// Operations in f64 by the time that they take, in operations of the run's precision.
    fn in_double(&self, operations: f64) -> f64 {
        match self.double {
            true => operations,
            false => DOUBLE * operations,
        }
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
        let (path, path_operations) = self.path(method, memory)?;
        let operations = self.operations(method) + path_operations;
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
            bytes: self.peak(method, blocks, path),
        };
        Ok((plan, blocks))
    }

    /// Whether both sides are wanted in f64 too, in Kronecker axes.
    fn is_in_f64_too(&self) -> bool {
        self.certified || self.path_queries.is_some()
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
}
