//! What a run through the blocks asks of the fine-tuned part, wherever that is computed.

use super::scoring::{PairScores, ScoringPlan};
use crate::Result;
use crate::derivative::head::HeadOutputs;
use crate::derivative::network::{Curvature, Examples, Network, ParameterSpace};
use crate::operator::{LinearOperator, NetworkCurvature, Vectors};
use candle_core::{DType, Tensor};

/// The training images, or the queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Train,
    Test,
}

/// The fine-tuned part of a model with the images of both sides.
pub(super) trait Part {
    /// Where it is computed, as a resumed run must compute it again.
    fn place(&self) -> String;

    fn space(&self) -> &ParameterSpace;

    fn dtype(&self) -> DType;

    /// θ, `[p]`, on the host.
    fn parameters(&self) -> Result<Tensor>;

    fn labels(&self, side: Side) -> &[usize];

    fn outputs(&self, side: Side) -> Result<Vec<HeadOutputs>>;

    /// Σ ∇ℓ over the training images, `[p]`, on the host.
    fn training_gradient(&self) -> Result<Tensor>;

    /// ∇ℓ of the queries at `positions`, `[k, p]`.
    fn query_gradients(&self, positions: &[u32]) -> Result<Vectors>;

    /// That of the mean training loss, and the L2 term.
    fn curvature(&self, curvature: Curvature, l2: f64) -> Result<Box<dyn LinearOperator + '_>>;

    /// All training images against `solutions` `[k, p]`, divided by their number.
    fn scores(&self, solutions: &Vectors, query_rank: Option<usize>) -> Result<PairScores>;

    /// How `queries` solutions at once meet the training images, where there is a choice.
    fn scoring_plan(&self, queries: usize, query_rank: Option<usize>) -> Option<ScoringPlan>;
}

/// By the program of layers.
pub(super) struct OnProcessor<'a> {
    pub(super) network: &'a Network,
    pub(super) train: &'a Examples,
    pub(super) test: &'a Examples,
    /// Bytes for what products share between them.
    pub(super) memory: u64,
    pub(super) seed: u64,
}

impl OnProcessor<'_> {
    fn examples(&self, side: Side) -> &Examples {
        match side {
            Side::Train => self.train,
            Side::Test => self.test,
        }
    }
}

impl Part for OnProcessor<'_> {
    fn place(&self) -> String {
        String::new()
    }

    fn space(&self) -> &ParameterSpace {
        self.network.space()
    }

    fn dtype(&self) -> DType {
        self.network.dtype()
    }

    fn parameters(&self) -> Result<Tensor> {
        self.network.parameters()
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
        let (gradient, _) = self.network.gradient(self.train, &positions)?;
        Ok(gradient)
    }

    fn query_gradients(&self, positions: &[u32]) -> Result<Vectors> {
        Vectors::new(self.network.example_gradients(self.test, positions)?)
    }

    fn curvature(&self, curvature: Curvature, l2: f64) -> Result<Box<dyn LinearOperator + '_>> {
        let operator = NetworkCurvature::new(self.network, self.train, curvature, l2, self.memory)?;
        Ok(Box::new(operator.drawing_from(self.seed)))
    }

    fn scores(&self, solutions: &Vectors, query_rank: Option<usize>) -> Result<PairScores> {
        PairScores::of(self.network, self.train, solutions, query_rank)
    }

    fn scoring_plan(&self, queries: usize, query_rank: Option<usize>) -> Option<ScoringPlan> {
        Some(ScoringPlan::of(self.network, queries, query_rank))
    }
}

/// The positions of `count` images.
pub(super) fn all(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
}
