//! What a run through the blocks asks of the fine-tuned part, wherever that is computed.

use super::NetworkOptions;
use super::scoring::{PairScores, ScoringPlan};
use crate::Result;
use crate::data::Dataset;
use crate::derivative::network::{Keeping, ParameterSpace, TrainingDerivatives, WrittenGradients};
use crate::model::{Blocks, ResNet};
use crate::operator::{LinearOperator, Vectors};
use crate::solve::Method;
use candle_core::{Device, Tensor};

/// The fine-tuned part of a model, with its derivatives.
pub trait FineTunedPart: WrittenGradients + Sized {
    /// The same in training mode, for the way back through training.
    type InTraining: TrainingDerivatives;

    /// Images on which a plan is measured.
    const MEASURED: usize;
    /// What a product costs for each query and iteration of a solve, in words, of a gradient over the same images.
    const PRODUCT_COST: &str;

    /// The last `blocks` blocks and the head of a model, for inputs of the shape of `examples`.
    ///
    /// # Errors
    /// More blocks than the model has, or inputs too small for a kernel.
    fn new(model: &ResNet, blocks: Blocks, examples: &Self::Examples) -> Result<Self>;

    /// What enters these blocks of the images `ids` of a data set, on `device`.
    ///
    /// # Errors
    /// Images that cannot be read, or a place for them that cannot be written.
    fn examples(
        of: (&ResNet, Blocks, &Device),
        dataset: &Dataset,
        ids: &[usize],
        keeping: &Keeping,
    ) -> Result<Self::Examples>;

    /// What a batch of so many images takes of the machine's memory at most on its way to [`FineTunedPart::examples`].
    ///
    /// # Errors
    /// More blocks than the model has.
    fn batch_bytes(of: (&ResNet, Blocks), images: usize, keeping: &Keeping) -> Result<u64>;

    /// Refuses options that it has nothing for.
    ///
    /// # Errors
    /// Names the option.
    fn check(options: &NetworkOptions) -> Result<()>;

    /// Where it is computed, as a resumed run must compute it again; nothing for the processor.
    fn place(&self) -> String;

    /// The trained tensors in the order of a parameter vector.
    fn space(&self) -> &ParameterSpace;

    /// θ, `[p]`, on the host.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn parameters(&self) -> Result<Tensor>;

    /// The images' labels, by position.
    fn labels(examples: &Self::Examples) -> &[usize];

    /// Σ ∇ℓ over the images at `positions`, `[p]`, where it is computed.
    ///
    /// # Errors
    /// As [`WrittenGradients::outputs`], or no positions.
    fn gradient(&self, examples: &Self::Examples, positions: &[u32]) -> Result<Tensor>;

    /// ∇ℓ of the images at `positions`, `[k, p]`.
    ///
    /// # Errors
    /// As [`WrittenGradients::outputs`].
    fn example_gradients(&self, examples: &Self::Examples, positions: &[u32]) -> Result<Vectors>;

    /// That of the mean loss over `examples` that `options` ask for, with the L2 term `l2`.
    ///
    /// # Errors
    /// As the operator's.
    fn curvature<'a>(
        &'a self,
        examples: &'a Self::Examples,
        options: &NetworkOptions,
        l2: f64,
    ) -> Result<Box<dyn LinearOperator + 'a>>;

    /// The images of `examples` against `solutions` `[k, p]`, divided by their number.
    ///
    /// # Errors
    /// As [`WrittenGradients::outputs`].
    fn scores(
        &self,
        examples: &Self::Examples,
        solutions: &Vectors,
        query_rank: Option<usize>,
    ) -> Result<PairScores>;

    /// What `auto` stands for with so many training images and queries.
    fn auto_method(&self, options: &NetworkOptions, counts: (usize, usize)) -> Method;

    /// How `queries` solutions at once meet the training images, where there is a choice.
    fn scoring_plan(&self, queries: usize, query_rank: Option<usize>) -> Option<ScoringPlan>;

    /// The most rows of the low rank that conjugate gradients divide by.
    ///
    /// # Errors
    /// A device does not say how much is free.
    fn low_rank_rows(&self, options: &NetworkOptions) -> Result<usize>;

    /// Queries that are solved and scored together, so that their solutions fit into memory; of options and machine alone, so
    /// that a resumed run has the same blocks.
    ///
    /// # Errors
    /// A device does not say how large it is.
    fn queries_at_once(&self, options: &NetworkOptions) -> Result<usize>;

    /// The last `blocks` blocks and the head of `model` in training mode, where it is computed.
    ///
    /// # Errors
    /// More blocks than the model has.
    fn in_training(&self, model: &ResNet, blocks: Blocks) -> Result<Self::InTraining>;

    /// Queries that go the way back through training together; of options and machine alone.
    ///
    /// # Errors
    /// A device does not say how large it is.
    fn ways_at_once(&self, options: &NetworkOptions) -> Result<usize>;

    /// What the way back of `queries` at once through batches of `images` takes of the machine's memory; none where that is the
    /// device's matter.
    fn way_back_bytes(&self, images: usize, queries: usize) -> Option<u64>;

    /// Refuses a way back through batches of so many images that has no room even for a single query.
    ///
    /// # Errors
    /// Says how much is needed, or a device does not say how much is free.
    fn check_way_back(&self, options: &NetworkOptions, images: usize) -> Result<()>;

    /// With passes that fit into the options' memory.
    #[must_use]
    fn within(self, options: &NetworkOptions) -> Self;

    /// What `examples` take of the machine's memory.
    fn bytes(examples: &Self::Examples) -> u64;

    /// Refuses a memory that a run over so many training images has no room in.
    ///
    /// # Errors
    /// Says how much is needed.
    fn check_memory(&self, options: &NetworkOptions, images: usize) -> Result<()>;

    /// What a run with so many training images and queries is reckoned to take of the machine's memory at most, beside what `options`
    /// leave out of account; none where that is the device's matter.
    fn peak_memory(&self, options: &NetworkOptions, counts: (usize, usize)) -> Option<u64>;
}

/// Most queries that go the way back through training together: enough that what a step's queries share is little, few enough that a
/// killed run loses little.
pub(super) const WAYS: usize = 16;
/// Vectors as long as θ that are alive for each of them.
pub(super) const VECTORS_OF_WAY: usize = 8;

/// The positions of `count` images.
pub(super) fn all(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
}

/// Solutions of `part` that `bytes` hold, at most `most` and no fewer than 1.
pub(super) fn solutions_within(part: &impl WrittenGradients, bytes: usize, most: usize) -> usize {
    let row = part.size() * part.dtype().size_in_bytes();
    (bytes / row.max(1)).clamp(1, most)
}
