//! The block loop: right-hand sides solved in blocks, each block multiplied with the gradients of the other side.
//!
//! A⁻¹ is symmetric, so that a score is (A⁻¹∇m)·∇ℓ or ∇m·(A⁻¹∇ℓ): [`Scoring::by_training`] solves for the training images,
//! once for every set of queries, and [`Scoring::by_queries`] for the queries; the fewer solves, the better.
//!
//! A gradient is r ⊗ a, so that it is made again for each solved block rather than kept: that costs one number written
//! for every 2·k multiplied, k the rows of the block.

mod extremes;
mod set;

use super::checkpoint::Checkpoint;
use super::side_by_side::{LANES, side_by_side};
use super::{Examples, Normalise, Provenance, ScoreSink};
use crate::operator::Vectors;
use crate::product::tensor_product;
use crate::solve::{Inverse, Outcome, Report};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
pub(super) use extremes::shared;
pub use extremes::{Chosen, Kept};
use ndarray::Array2;
use set::Block;
pub(super) use set::Set;
use std::ops::Range;

/// Numbers in one block of gradients: 64 MiB in f32.
const BLOCK_ELEMENTS: usize = 1 << 24;
/// Numbers in one block of solutions: 128 MiB in f32. Larger than a block of gradients, since every block of solutions
/// goes through the whole other side.
const SOLVED_ELEMENTS: usize = 1 << 25;

/// Scores in one block: 48 MiB as products in f32 and scores in f64.
const SCORES: usize = 1 << 22;

/// The same on a device: 128 MiB and 256 MiB.
const DEVICE_BLOCK_ELEMENTS: usize = 1 << 25;
const DEVICE_SOLVED_ELEMENTS: usize = 1 << 26;
/// Fewer right-hand sides are solved together: reading the factor is most of their work.
const APART: usize = 64;

/// How many rows go through one step; scores depend on it by rounding only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizes {
    /// Right-hand sides solved together.
    pub solved: usize,
    /// Gradients of the other side held at once.
    pub gradients: usize,
}

impl BlockSizes {
    /// The blocks for `parameter_count` parameters where nothing limits them; larger ones on a device, which needs large
    /// products to be busy.
    pub fn usual(parameter_count: usize, on_device: bool) -> Self {
        if !on_device {
            return Self::for_parameters(parameter_count);
        }
        let rows = |elements: usize| (elements / parameter_count.max(1)).clamp(16, 1 << 14);
        Self {
            solved: rows(DEVICE_SOLVED_ELEMENTS),
            gradients: rows(DEVICE_BLOCK_ELEMENTS),
        }
    }

    /// Blocks of about 128 and 64 MiB for `parameter_count` parameters, and fewer gradients where there would be more than 4 million
    /// scores.
    fn for_parameters(parameter_count: usize) -> Self {
        let rows = |elements: usize| (elements / parameter_count.max(1)).clamp(16, 4096);
        let solved = rows(SOLVED_ELEMENTS);
        Self {
            solved,
            gradients: rows(BLOCK_ELEMENTS).min(SCORES / solved),
        }
    }
}

/// A set of queries and where its scores go.
pub struct Queries<'a, 'b> {
    /// The queries.
    pub examples: &'a Examples,
    /// Every block goes to each of them.
    pub sinks: &'a mut [&'b mut dyn ScoreSink],
}

/// What scores are made with: the inverse of the (damped) curvature of the training images, in their precision and
/// coordinates.
pub struct Scoring<'a> {
    /// A⁻¹.
    pub inverse: &'a dyn Inverse,
    /// The training images.
    pub training: &'a Examples,
    /// What scores are divided by.
    pub normalise: Normalise,
    /// Rows in a step.
    pub blocks: BlockSizes,
    /// Where the scores come from.
    pub provenance: &'a Provenance,
}

impl Scoring<'_> {
    /// Scores all `queries` by solving for them; how each query's solve ended comes back, row by row.
    ///
    /// # Errors
    /// A query whose solve diverged or a score that is not finite (the ids are named; nothing of it reaches a sink), scores
    /// divided by solutions for the training images, or what a sink refuses.
    pub fn by_queries(&self, queries: Queries) -> Result<Vec<Report>> {
        self.resume_by_queries(queries, &mut Checkpoint::none())
    }

    /// The same from where the checkpoint is, which records the blocks.
    pub(super) fn resume_by_queries(
        &self,
        queries: Queries,
        checkpoint: &mut Checkpoint,
    ) -> Result<Vec<Report>> {
        if self.normalise.needs_training_solves() {
            let reason = "divides by solutions for the training images: solve for these";
            return Err(Error::config("normalise", reason));
        }
        let divided = self.normalise.training(self.training)?;
        let asked = self.normalise.queries(queries.examples)?;
        let scoring = Scoring {
            training: divided.as_ref().unwrap_or(self.training),
            ..*self
        };
        let queries = Queries {
            examples: asked.as_ref().unwrap_or(queries.examples),
            sinks: queries.sinks,
        };
        scoring.query_blocks(queries, checkpoint)
    }

    /// Solves for the queries and scores all training images against them.
    fn query_blocks(&self, queries: Queries, checkpoint: &mut Checkpoint) -> Result<Vec<Report>> {
        let training = self.training;
        let mut set = Set::begin(training, queries, self.provenance)?;
        let examples = set.queries.examples;
        let mut reports = Vec::with_capacity(examples.count());
        let done = checkpoint.resume(&mut set, &mut reports)?;
        for rows in ranges(examples.count(), self.blocks.solved) {
            if rows.start < done {
                continue;
            }
            let solved = self.solve(examples, rows.clone(), "query")?;
            reports.extend(solved.reports.iter().copied());
            let columns = ranges(training.count(), self.blocks.gradients);
            let blocks = columns.map(|columns| Block {
                rows: rows.clone(),
                columns,
            });
            set.score(blocks.collect(), solved.device(), |block| {
                self.products(&solved.value, examples, block)
            })?;
            checkpoint.block_is_done(&mut set, rows.end, &reports)?;
        }
        set.finish()?;
        Ok(reports)
    }

    /// Scores several sets of queries by solving for the training images; how each training image's solve ended comes
    /// back, row by row.
    ///
    /// # Errors
    /// As for [`Scoring::by_queries`].
    pub fn by_training(&self, sets: Vec<Queries>) -> Result<Vec<Report>> {
        self.resume_by_training(sets, &mut Checkpoint::none())
    }

    /// The same from where the checkpoint is, which records the blocks.
    pub(super) fn resume_by_training(
        &self,
        sets: Vec<Queries>,
        checkpoint: &mut Checkpoint,
    ) -> Result<Vec<Report>> {
        let divided = self.normalise.training(self.training)?;
        let asked = sets.iter().map(|set| self.normalise.queries(set.examples));
        let asked = asked.collect::<Result<Vec<_>>>()?;
        let scoring = Scoring {
            training: divided.as_ref().unwrap_or(self.training),
            ..*self
        };
        let sets = sets.into_iter().zip(&asked).map(|(set, asked)| Queries {
            examples: asked.as_ref().unwrap_or(set.examples),
            sinks: set.sinks,
        });
        scoring.training_blocks(sets.collect(), checkpoint)
    }

    /// Solves for the training images and scores every set of queries against them.
    fn training_blocks(
        &self,
        sets: Vec<Queries>,
        checkpoint: &mut Checkpoint,
    ) -> Result<Vec<Report>> {
        let training = self.training;
        let mut sets = sets
            .into_iter()
            .map(|queries| Set::begin(training, queries, self.provenance))
            .collect::<Result<Vec<_>>>()?;
        let mut reports = Vec::with_capacity(training.count());
        let done = checkpoint.resume(&mut sets[..], &mut reports)?;
        for columns in ranges(training.count(), self.blocks.solved) {
            if columns.start < done {
                continue;
            }
            self.training_block(&mut sets, columns.clone(), &mut reports)?;
            checkpoint.block_is_done(&mut sets[..], columns.end, &reports)?;
        }
        sets.iter_mut().try_for_each(Set::finish)?;
        Ok(reports)
    }

    /// Whether scores are gradient dot products and nothing else, so that no gradient need be written out.
    fn is_plain_product(&self) -> bool {
        self.inverse.is_identity() && !self.normalise.needs_training_solves()
    }

    /// Products of solved queries with the training gradients in `columns`.
    fn products(
        &self,
        solved: &Vectors,
        queries: &Examples,
        Block { rows, columns }: &Block,
    ) -> Result<Tensor> {
        let training = self.training;
        if self.is_plain_product() {
            return queries.gradient_products(rows.clone(), training, columns.clone());
        }
        let gradients = training.gradients(columns.clone())?;
        tensor_product(solved.tensor(), &gradients.t()?)
    }

    /// Solves for the training images in `columns` and scores every query against them.
    fn training_block(
        &self,
        sets: &mut [Set],
        columns: Range<usize>,
        reports: &mut Vec<Report>,
    ) -> Result<()> {
        let solved = self.solve(self.training, columns.clone(), "training image")?;
        reports.extend(solved.reports.iter().copied());
        for set in sets {
            let queries = set.queries.examples;
            let rows = ranges(queries.count(), self.blocks.gradients);
            let blocks = rows.map(|rows| Block {
                rows,
                columns: columns.clone(),
            });
            set.score(blocks.collect(), solved.device(), |block| {
                self.products_of_queries(queries, block, &solved.value)
            })?;
        }
        Ok(())
    }

    /// Products of the queries' gradients with solved training images.
    fn products_of_queries(
        &self,
        queries: &Examples,
        Block { rows, columns }: &Block,
        solved: &Vectors,
    ) -> Result<Tensor> {
        if self.is_plain_product() {
            return queries.gradient_products(rows.clone(), self.training, columns.clone());
        }
        let gradients = queries.gradients(rows.clone())?;
        tensor_product(&gradients, &solved.tensor().t()?)
    }

    /// A⁻¹ times the gradients of the rows in `range`, divided by what scores are divided by.
    fn solve(&self, examples: &Examples, range: Range<usize>, what: &str) -> Result<Solved> {
        let device = examples.residuals().device();
        let size = match device.is_cpu() && range.len() >= APART {
            true => range.len().div_ceil(LANES),
            false => range.len(),
        };
        let parts = side_by_side(parts(range, size), device, |part: Range<usize>| {
            let gradients = Vectors::new(examples.gradients(part.clone())?)?;
            let solution = self.inverse.solve(&gradients)?;
            let ids = &examples.ids()[part];
            check_solved(&solution.reports, |row| format!("{what} {}", ids[row]))?;
            let count = self.training.count();
            let factors = (self.normalise).factors(&gradients, &solution.value, count)?;
            Ok(Solved {
                value: match factors {
                    Some(factors) => solution.value.scaled(&factors)?,
                    None => solution.value,
                },
                reports: solution.reports,
            })
        })?;
        Solved::concatenated(parts)
    }
}

/// Some rows of one side, solved.
struct Solved {
    /// `[k, p]`
    value: Vectors,
    reports: Vec<Report>,
}

impl Solved {
    fn device(&self) -> &Device {
        self.value.tensor().device()
    }

    fn concatenated(mut parts: Vec<Self>) -> Result<Self> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let values: Vec<Vectors> = parts.iter().map(|part| part.value.clone()).collect();
        Ok(Self {
            value: Vectors::concatenate(&values)?,
            reports: parts.into_iter().flat_map(|part| part.reports).collect(),
        })
    }
}

/// Scores `[k, columns]` of `solutions` `[k, p]` with the training images in `columns`.
pub(super) fn against(
    solutions: &Vectors,
    training: &Examples,
    columns: Range<usize>,
) -> Result<Array2<f64>> {
    let gradients = training.gradients(columns)?;
    let products = tensor_product(solutions.tensor(), &gradients.t()?)?;
    let products = (products.to_dtype(DType::F64)? / training.count() as f64)?;
    let values = products.flatten_all()?.to_vec1::<f64>()?;
    Ok(Array2::from_shape_vec(products.dims2()?, values)
        .map_err(ndarray_linalg::error::LinalgError::from)?)
}

/// Refuses solves of which one diverged, as that of what `of` says its row was.
pub(super) fn check_solved(reports: &[Report], of: impl Fn(usize) -> String) -> Result<()> {
    let diverged = |report: &Report| report.outcome == Outcome::Diverged;
    let Some(row) = reports.iter().position(diverged) else {
        return Ok(());
    };
    Err(Error::mismatch(
        format!("the solve of {}", of(row)),
        "one that settles",
        "one that diverged",
        Outcome::Diverged.remedy(),
    ))
}

pub(super) fn not_finite(place: String) -> Error {
    Error::non_finite("influence", place, Outcome::Diverged.remedy())
}

/// Of `count` rows as few ranges of at most `size` as there can be, of about the same size: a small last one would cost as much
/// as the others where most of the work is reading a factor.
pub(super) fn ranges(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = count.div_ceil(size.max(1)).max(1);
    let size = count.div_ceil(parts).max(1);
    (0..count)
        .step_by(size)
        .map(move |start| start..count.min(start + size))
}

/// [`ranges`] within a range.
pub(super) fn parts(range: Range<usize>, size: usize) -> Vec<Range<usize>> {
    (ranges(range.len(), size))
        .map(|part| range.start + part.start..range.start + part.end)
        .collect()
}
