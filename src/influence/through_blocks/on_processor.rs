//! By the program of layers.

use super::NetworkOptions;
use super::part::{FineTunedPart, all, solutions_within};
use super::scoring::{PairScores, ScoringPlan};
use crate::Result;
use crate::data::Dataset;
use crate::derivative::network::{Examples, Keeping, Network, ParameterSpace};
use crate::model::{Blocks, ResNet};
use crate::operator::{LinearOperator, NetworkCurvature, Vectors};
use crate::solve::Method;
use candle_core::{Device, Tensor};

/// Bytes that the solutions of a block of queries may take: they are alive six times over while they are made.
const SOLUTION_BYTES: usize = 1 << 28;
/// Most queries in a block.
const QUERIES: usize = 64;
/// How many times as many where the rows of a root are made anew for each block.
const BY_ROWS: usize = 2;

impl FineTunedPart for Network {
    const MEASURED: usize = 64;
    const PRODUCT_COST: &str = "up to twice that";

    fn new(model: &ResNet, blocks: Blocks, examples: &Examples) -> Result<Self> {
        Self::new(model, blocks, examples)
    }

    fn examples(
        (model, blocks, _): (&ResNet, Blocks, &Device),
        dataset: &Dataset,
        ids: &[usize],
        keeping: &Keeping,
    ) -> Result<Examples> {
        Examples::compute((model, blocks), dataset, ids, keeping, &mut |_| {})
    }

    fn check(_: &NetworkOptions) -> Result<()> {
        Ok(())
    }

    fn place(&self) -> String {
        String::new()
    }

    fn space(&self) -> &ParameterSpace {
        self.space()
    }

    fn parameters(&self) -> Result<Tensor> {
        self.parameters()
    }

    fn labels(examples: &Examples) -> &[usize] {
        examples.labels()
    }

    fn gradient(&self, examples: &Examples) -> Result<Tensor> {
        let (gradient, _) = self.gradient(examples, &all(examples.count()))?;
        Ok(gradient)
    }

    fn example_gradients(&self, examples: &Examples, positions: &[u32]) -> Result<Vectors> {
        Vectors::new(self.example_gradients(examples, positions)?)
    }

    fn curvature<'a>(
        &'a self,
        examples: &'a Examples,
        options: &NetworkOptions,
        l2: f64,
    ) -> Result<Box<dyn LinearOperator + 'a>> {
        let (curvature, memory) = (options.curvature, options.memory);
        let operator = NetworkCurvature::new(self, examples, curvature, l2, memory)?;
        Ok(Box::new(operator.drawing_from(options.solver.seed)))
    }

    fn scores(
        &self,
        examples: &Examples,
        solutions: &Vectors,
        query_rank: Option<usize>,
    ) -> Result<PairScores> {
        PairScores::of(self, examples, solutions, query_rank)
    }

    fn scoring_plan(&self, queries: usize, query_rank: Option<usize>) -> Option<ScoringPlan> {
        Some(ScoringPlan::of(self, queries, query_rank))
    }

    fn low_rank_rows(&self, options: &NetworkOptions) -> Result<usize> {
        Ok(NetworkCurvature::low_rank_rows(self, options.memory))
    }

    fn queries_at_once(&self, options: &NetworkOptions) -> Result<usize> {
        let times = match options.solver.method {
            Method::Direct => BY_ROWS,
            _ => 1,
        };
        let (bytes, most) = (times * SOLUTION_BYTES, times * QUERIES);
        Ok(solutions_within(self, bytes, most))
    }
}
