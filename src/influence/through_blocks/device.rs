//! The same run on a device: products, solves and scores by graphs of tensors.
//!
//! What is not a product with vectors is made of gradients written out layer by layer: the low rank that conjugate gradients
//! divide by, EK-FAC, and scores, one pass over all training images for a block of queries. Approximating solutions by a rank
//! saves nothing there, and is for the processor.

use super::NetworkOptions;
use super::part::{Part, Side, all};
use super::run::Run;
use super::scoring::{PairScores, ScoringPlan};
use crate::derivative::head::HeadOutputs;
use crate::derivative::network::{Curvature, DeviceExamples, DeviceNetwork, ParameterSpace};
use crate::influence::{Progress, RankSummary};
use crate::operator::{DeviceCurvature, LinearOperator, Vectors};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes that the solutions of a block of queries may take.
const SOLUTION_BYTES: usize = 1 << 30;
/// Most queries in a block.
const QUERIES: usize = 64;

/// One side: what enters the fine-tuned blocks, and the images' ids in their data set.
#[derive(Clone, Copy)]
pub struct DeviceImages<'a> {
    /// Activations and labels.
    pub examples: &'a DeviceExamples,
    /// Ids in the data set, by position.
    pub ids: &'a [usize],
}

/// A run through the blocks on a device.
pub struct DeviceJob<'a> {
    /// The fine-tuned part.
    pub network: &'a DeviceNetwork,
    /// The images it was fine-tuned on.
    pub train: DeviceImages<'a>,
    /// The images whose predictions are to be explained.
    pub test: DeviceImages<'a>,
    /// What decides the numbers.
    pub options: NetworkOptions,
    /// SHA-256 of what went in, by role.
    pub digests: BTreeMap<String, String>,
}

impl DeviceJob<'_> {
    /// Refuses what is for the processor alone.
    ///
    /// # Errors
    /// Names it.
    pub fn check(options: &NetworkOptions) -> Result<()> {
        options.check()?;
        if options.query_rank.is_none() {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: "--query-rank through blocks on a CUDA device".into(),
            instead: "leave it out, or use --device cpu".into(),
        })
    }

    /// Does what [`NetworkJob::run`](super::NetworkJob::run) does.
    ///
    /// # Errors
    /// As there, or what [`DeviceJob::check`] refuses.
    pub fn run(&self, folder: &Path, progress: &mut dyn Progress) -> Result<RankSummary> {
        Self::check(&self.options)?;
        let part = OnDevice {
            network: self.network,
            train: self.train.examples,
            test: self.test.examples,
            seed: self.options.solver.seed,
        };
        let run = Run {
            part: &part,
            train: self.train.ids,
            test: self.test.ids,
            options: &self.options,
            digests: &self.digests,
            queries: device_queries_at_once(self.network),
        };
        run.run(folder, progress)
    }
}

/// Queries that are solved and scored together, so that their solutions fit into memory.
pub fn device_queries_at_once(network: &DeviceNetwork) -> usize {
    let row = network.size() * network.dtype().size_in_bytes();
    (SOLUTION_BYTES / row.max(1)).clamp(1, QUERIES)
}

/// By graphs of tensors.
struct OnDevice<'a> {
    network: &'a DeviceNetwork,
    train: &'a DeviceExamples,
    test: &'a DeviceExamples,
    seed: u64,
}

impl OnDevice<'_> {
    fn examples(&self, side: Side) -> &DeviceExamples {
        match side {
            Side::Train => self.train,
            Side::Test => self.test,
        }
    }
}

impl Part for OnDevice<'_> {
    fn place(&self) -> String {
        format!(" on {:?}", self.network.device().location())
    }

    fn space(&self) -> &ParameterSpace {
        self.network.space()
    }

    fn dtype(&self) -> DType {
        self.network.dtype()
    }

    fn parameters(&self) -> Result<Tensor> {
        Ok(self.network.parameters().to_device(&Device::Cpu)?)
    }

    fn labels(&self, side: Side) -> &[usize] {
        self.examples(side).labels()
    }

    fn outputs(&self, side: Side) -> Result<Vec<HeadOutputs>> {
        let examples = self.examples(side);
        self.network.outputs(examples, &all(examples.count()))
    }

    fn training_gradient(&self) -> Result<Tensor> {
        let positions = all(self.train.count());
        let gradient = self.network.gradient(self.train, &positions)?;
        Ok(gradient.to_device(&Device::Cpu)?)
    }

    fn query_gradients(&self, positions: &[u32]) -> Result<Vectors> {
        Vectors::new(self.network.example_gradients(self.test, positions)?)
    }

    fn curvature(&self, curvature: Curvature, l2: f64) -> Result<Box<dyn LinearOperator + '_>> {
        let operator = DeviceCurvature::new(self.network, self.train, curvature, l2)?;
        Ok(Box::new(operator.drawing_from(self.seed)))
    }

    fn scores(&self, solutions: &Vectors, _: Option<usize>) -> Result<PairScores> {
        let positions = all(self.train.count());
        let products =
            (self.network).segment_products(self.train, &positions, solutions.tensor())?;
        PairScores::of_products(&products)
    }

    fn scoring_plan(&self, _: usize, _: Option<usize>) -> Option<ScoringPlan> {
        None
    }
}
