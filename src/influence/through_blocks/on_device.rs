//! By graphs of tensors, on a device.
//!
//! What is not a product with vectors is made of gradients written out layer by layer: the low rank that conjugate gradients
//! divide by, EK-FAC, and scores, one pass over all training images for a block of queries. Approximating solutions by a rank
//! is for the processor.

use super::NetworkOptions;
use super::part::{FineTunedPart, VECTORS_OF_WAY, WAYS, all, solutions_within};
use super::scoring::{PairScores, ScoringPlan};
use crate::data::Dataset;
use crate::derivative::network::{
    DeviceExamples, DeviceNetwork, DeviceTrainingNetwork, Keeping, ParameterSpace,
};
use crate::device::total_memory;
use crate::model::{Blocks, ResNet};
use crate::operator::{DeviceCurvature, LinearOperator, Vectors};
use crate::solve::Method;
use crate::{Error, Result};
use candle_core::{Device, Tensor};

/// Bytes that the solutions of a block of queries may take, if that part of the device's memory allows it: they are alive ten times
/// over while they are made.
const SOLUTION_BYTES: usize = 1 << 30;
const SHARE: usize = 24;
/// Most queries in a block that takes iterations: it is recorded when all of them are done.
const QUERIES: usize = 64;
/// The same without iterations, where passes over the training images are what a block costs.
const QUERIES_WITHOUT_ITERATIONS: usize = 512;

impl FineTunedPart for DeviceNetwork {
    type InTraining = DeviceTrainingNetwork;

    const MEASURED: usize = 256;
    const PRODUCT_COST: &str = "1.3 times that (Gauss–Newton) to 2.3 times (Hessian)";

    fn new(model: &ResNet, blocks: Blocks, examples: &DeviceExamples) -> Result<Self> {
        Self::new(model, blocks, examples)
    }

    fn examples(
        of: (&ResNet, Blocks, &Device),
        dataset: &Dataset,
        ids: &[usize],
        keeping: &Keeping,
    ) -> Result<DeviceExamples> {
        DeviceExamples::compute(of, dataset, ids, keeping, &mut |_| {})
    }

    fn batch_bytes(_: (&ResNet, Blocks), _: usize, _: &Keeping) -> Result<u64> {
        Ok(0)
    }

    fn check(options: &NetworkOptions) -> Result<()> {
        match options.query_rank {
            None => Ok(()),
            Some(_) => Err(Error::unsupported(
                "--query-rank through blocks on a CUDA device",
                "leave it out, or use --device cpu",
            )),
        }
    }

    fn place(&self) -> String {
        format!(" on {:?}", self.device().location())
    }

    fn space(&self) -> &ParameterSpace {
        self.space()
    }

    fn parameters(&self) -> Result<Tensor> {
        Ok(self.parameters().to_device(&Device::Cpu)?)
    }

    fn labels(examples: &DeviceExamples) -> &[usize] {
        examples.labels()
    }

    fn gradient(&self, examples: &DeviceExamples, positions: &[u32]) -> Result<Tensor> {
        self.gradient(examples, positions)
    }

    fn example_gradients(&self, examples: &DeviceExamples, positions: &[u32]) -> Result<Vectors> {
        Vectors::new(self.example_gradients(examples, positions)?)
    }

    fn curvature<'a>(
        &'a self,
        examples: &'a DeviceExamples,
        options: &NetworkOptions,
        l2: f64,
    ) -> Result<Box<dyn LinearOperator + 'a>> {
        let operator = DeviceCurvature::new(self, examples, options.curvature, l2)?;
        Ok(Box::new(operator.drawing_from(options.solver.seed)))
    }

    fn scores(
        &self,
        examples: &DeviceExamples,
        solutions: &Vectors,
        _: Option<usize>,
    ) -> Result<PairScores> {
        let positions = all(examples.count());
        PairScores::of_products(&self.segment_products(examples, &positions, solutions.tensor())?)
    }

    fn auto_method(&self, _: &NetworkOptions, _: (usize, usize)) -> Method {
        Method::Cg
    }

    fn scoring_plan(&self, _: usize, _: Option<usize>) -> Option<ScoringPlan> {
        None
    }

    fn low_rank_rows(&self, _: &NetworkOptions) -> Result<usize> {
        DeviceCurvature::low_rank_rows(self)
    }

    fn queries_at_once(&self, options: &NetworkOptions) -> Result<usize> {
        let most = match options.solver.method {
            Method::Direct | Method::Ekfac | Method::Identity => QUERIES_WITHOUT_ITERATIONS,
            _ => QUERIES,
        };
        let total = total_memory(self.device())?;
        let bytes = total.map_or(SOLUTION_BYTES, |total| SOLUTION_BYTES.min(total / SHARE));
        Ok(solutions_within(self, bytes, most))
    }

    fn in_training(&self, model: &ResNet, blocks: Blocks) -> Result<DeviceTrainingNetwork> {
        DeviceTrainingNetwork::new(model, blocks, self.device())
    }

    fn ways_at_once(&self, options: &NetworkOptions) -> Result<usize> {
        // As much as a pass may take, beside what is kept of the images.
        let total = total_memory(self.device())?;
        let bytes = total.map_or(options.memory as usize / 2, |total| total / 8);
        Ok(solutions_within(self, bytes / VECTORS_OF_WAY, WAYS))
    }

    fn way_back_bytes(&self, _: usize, _: usize) -> Option<u64> {
        None
    }

    fn check_way_back(&self, _: &NetworkOptions, images: usize) -> Result<()> {
        self.check_training_room(images)
    }

    fn within(self, _: &NetworkOptions) -> Self {
        self
    }

    fn bytes(_: &DeviceExamples) -> u64 {
        0
    }

    fn check_memory(&self, _: &NetworkOptions, _: usize) -> Result<()> {
        Ok(())
    }

    fn peak_memory(&self, _: &NetworkOptions, _: (usize, usize)) -> Option<u64> {
        None
    }
}
