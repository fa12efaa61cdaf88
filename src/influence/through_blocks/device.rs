//! The same run on a device: products, solves and scores by graphs of tensors.
//!
//! Conjugate gradients divide by a low rank of the curvature as on the processor, made of products; scores are exact products,
//! one pass over all training images for a block of queries. What needs gradients written out layer by layer (EK-FAC, ranks of
//! solutions, shares by segment) is for the processor.

use super::NetworkOptions;
use super::part::{Part, Side, all};
use super::run::Run;
use super::scoring::{PairScores, ScoringPlan};
use crate::derivative::head::HeadOutputs;
use crate::derivative::network::{Curvature, DeviceExamples, DeviceNetwork, ParameterSpace};
use crate::influence::{Progress, RankSummary};
use crate::operator::{DeviceCurvature, LinearOperator, Vectors};
use crate::solve::Method;
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
        let method = options.solver.method;
        let name = format!("--solver {method}");
        let solver = matches!(method, Method::Auto | Method::Cg | Method::Identity);
        let refused = [
            (!solver, name.as_str()),
            (options.query_rank.is_some(), "--query-rank"),
            (options.shares, "--shares"),
        ];
        match refused.iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, what)) => Err(Error::Unsupported {
                what: format!("{what} through blocks on a CUDA device"),
                instead: match solver {
                    true => "leave it out, or use --device cpu".into(),
                    false => "choose cg or identity, or use --device cpu".into(),
                },
            }),
        }
    }

    /// Does what [`NetworkJob::run`](super::NetworkJob::run) does, but for shares.
    ///
    /// # Errors
    /// As there, or what [`DeviceJob::check`] refuses.
    pub fn run(&self, folder: &Path, progress: &mut dyn Progress) -> Result<RankSummary> {
        Self::check(&self.options)?;
        let part = OnDevice {
            network: self.network,
            train: self.train.examples,
            test: self.test.examples,
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
        Ok(Box::new(operator))
    }

    fn scores(&self, solutions: &Vectors, _: Option<usize>) -> Result<PairScores> {
        let positions = all(self.train.count());
        let products =
            (self.network).example_products(self.train, &positions, solutions.tensor())?;
        PairScores::exact(&products)
    }

    fn scoring_plan(&self, _: usize, _: Option<usize>) -> Option<ScoringPlan> {
        None
    }
}
