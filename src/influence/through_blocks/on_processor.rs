//! By the program of layers.

use super::NetworkOptions;
use super::memory::{MemoryPlan, VECTORS_OF_QUERY};
use super::part::{FineTunedPart, VECTORS_OF_WAY, WAYS, solutions_within};
use super::scoring::{PairScores, ScoringPlan};
use crate::artefact::gib;
use crate::data::Dataset;
use crate::derivative::network::{
    Beside, Curvature, Examples, Keeping, Network, ParameterSpace, TrainingNetwork,
};
use crate::model::{Blocks, ResNet};
use crate::operator::{LinearOperator, NetworkCurvature, RootPasses, Vectors, root_rows};
use crate::solve::Method;
use crate::{Error, Result};
use candle_core::{Device, Tensor};

/// Bytes that the solutions of a block of queries take at most, each counted once.
const SOLUTION_BYTES: usize = 1 << 28;
/// Most queries in a block.
const QUERIES: usize = 64;
/// How many times as many where the rows of a root are made anew for each block.
const BY_ROWS: usize = 2;

/// Products that `cg` takes for a query with damping 1e-2, and those that making its low rank takes the time of: 40 in
/// `analysis/solvers`, 100 and 210 in `analysis/through-blocks/products`.
const ITERATIONS: f64 = 10.0;
const PREPARATION: f64 = 100.0;
/// What a multiplication of a product takes of the time of one between rows: vectors are brought into the kernels' form, and
/// gradients read (about 2 and 4 in `analysis/through-blocks/products`).
const OF_PRODUCT: f64 = 2.5;

impl FineTunedPart for Network {
    type InTraining = TrainingNetwork;

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

    fn batch_bytes(of: (&ResNet, Blocks), images: usize, keeping: &Keeping) -> Result<u64> {
        Examples::batch_bytes(of, images, keeping)
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

    fn gradient(&self, examples: &Examples, positions: &[u32]) -> Result<Tensor> {
        let (gradient, _) = self.gradient(examples, positions)?;
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
        let plan = MemoryPlan::of(self, options);
        let operator = NetworkCurvature::new(self, examples, options.curvature, l2, plan.kept)?;
        let operator = operator
            .with_bytes(plan.low_rank, plan.vectors)
            .drawing_from(options.solver.seed);
        Ok(Box::new(match options.solver.method {
            Method::Direct => operator.solved_by_rows(),
            _ => operator,
        }))
    }

    fn scores(
        &self,
        examples: &Examples,
        solutions: &Vectors,
        query_rank: Option<usize>,
    ) -> Result<PairScores> {
        PairScores::of(self, examples, solutions, query_rank)
    }

    /// `direct` where the matrix between the rows of all roots can be inverted, fits into memory, and is sooner made than `cg` is
    /// done.
    fn auto_method(&self, options: &NetworkOptions, (images, queries): (usize, usize)) -> Method {
        let definite = options.l2 + options.damping > 0.0
            && root_rows(images, self.class_count()) < self.size();
        let direct = options.solved_by(Method::Direct);
        let passes = RootPasses::within(self, images, MemoryPlan::of(self, &direct).kept);
        match passes.filter(|_| definite && options.curvature == Curvature::GaussNewton) {
            Some(RootPasses { held, .. })
                if is_sooner_direct((self, options), (images, queries), held) =>
            {
                Method::Direct
            }
            _ => Method::Cg,
        }
    }

    fn scoring_plan(&self, queries: usize, query_rank: Option<usize>) -> Option<ScoringPlan> {
        Some(ScoringPlan::of(self, queries, query_rank))
    }

    fn low_rank_rows(&self, options: &NetworkOptions) -> Result<usize> {
        let bytes = MemoryPlan::of(self, options).low_rank;
        Ok(NetworkCurvature::low_rank_rows(self, bytes))
    }

    fn queries_at_once(&self, options: &NetworkOptions) -> Result<usize> {
        let times = match options.solver.method {
            Method::Direct => BY_ROWS,
            _ => 1,
        };
        let planned = MemoryPlan::of(self, options).solutions / VECTORS_OF_QUERY;
        let bytes = planned.min((times * SOLUTION_BYTES) as u64);
        Ok(solutions_within(self, bytes as usize, times * QUERIES))
    }

    fn in_training(&self, model: &ResNet, blocks: Blocks) -> Result<TrainingNetwork> {
        TrainingNetwork::new(model, blocks, self.input())
    }

    fn ways_at_once(&self, options: &NetworkOptions) -> Result<usize> {
        let bytes = options.memory as usize / 2 / VECTORS_OF_WAY;
        Ok(solutions_within(self, bytes, WAYS))
    }

    fn way_back_bytes(&self, images: usize, queries: usize) -> Option<u64> {
        let vectors = queries * VECTORS_OF_WAY * self.size() * self.dtype().size_in_bytes();
        Some((images * self.image_bytes_beside(Beside::Gradients) + vectors) as u64)
    }

    fn check_way_back(&self, options: &NetworkOptions, images: usize) -> Result<()> {
        let needed = self.way_back_bytes(images, 1).unwrap_or(0);
        if options.memory >= needed {
            return Ok(());
        }
        let reason = format!(
            "the way back through batches of {images} images takes at least {} GiB, and {} are left for it; raise it, or transfer with a smaller \
             --batch-size or fewer --blocks",
            gib(needed as f64),
            gib(options.memory as f64)
        );
        Err(Error::config("memory", reason))
    }

    fn within(self, options: &NetworkOptions) -> Self {
        let bytes = MemoryPlan::of(&self, options).pass;
        self.with_pass_bytes(bytes)
    }

    fn bytes(examples: &Examples) -> u64 {
        examples.bytes()
    }

    fn check_memory(&self, options: &NetworkOptions, images: usize) -> Result<()> {
        MemoryPlan::check(self, options, images)
    }

    fn peak_memory(&self, options: &NetworkOptions, counts: (usize, usize)) -> Option<u64> {
        Some(MemoryPlan::peak(self, options, counts))
    }
}

/// By the multiplications of both, and what they take; `direct` holds the root gradients of `held` images.
fn is_sooner_direct(
    (network, options): (&Network, &NetworkOptions),
    (images, queries): (usize, usize),
    held: usize,
) -> bool {
    let rows = network.class_count() - 1;
    let direct = options.solved_by(Method::Direct);
    let blocks = queries.div_ceil(network.queries_at_once(&direct).unwrap_or(1));
    let all = images * network.linearisation_bytes(Beside::RootGradients);
    // Where root gradients are not kept `cg` has its products by tangents, which take twice as long.
    let kept_by_cg = MemoryPlan::of(network, &options.solved_by(Method::Cg)).kept;
    let product_of_cg = if all as u64 <= kept_by_cg { 1.0 } else { 2.0 };
    let sets = images.div_ceil(held) as f64;
    let [images, rows, queries, blocks, held] =
        [images, rows, queries, blocks, held].map(|count| count as f64);
    let (product, pair) = network.root_multiplications();
    let product = OF_PRODUCT * product;
    // Images that a set is held beside; and those that are not kept, for R v, Rᵀt and a residual of each block of queries. One
    // is a pass forward and one back for each row, half a product each.
    let made = images * (sets + 1.0) / 2.0 + 3.0 * blocks * (images - held);
    let made = made * (rows + 1.0) / 2.0 * product;
    let products = 2.0 * queries * images * product;
    // Half of all pairs; a factor in f64, which takes twice as long.
    let matrix = images * images / 2.0 * pair + (images * rows).powi(3) / 3.0;
    let iterations = PREPARATION + ITERATIONS * queries;
    matrix + made + products < iterations * images * product * product_of_cg
}
