//! Scores with proven ranks: solves refined in f64 until the ranking is settled, not until a residual is small.
//!
//! |ŝ − s| ≤ (1/n)(‖∇q‖_{A⁻¹} ‖x − A⁻¹∇t‖_A + γ_p ‖∇q‖ ‖x‖) for the solution x of training image t (or, solved for the queries, the
//! same with the sides exchanged). With the bound u of ‖∇q‖_{A⁻¹} that [`Refinement::inverse_lengths`] gives, ‖∇q‖ ≤ u/κ: the
//! whole is u times a number of the training image.
//!
//! Refinement goes on while a sample of the queries has ranks that are not certified and bounds still fall.

use super::checkpoint::Checkpoint;
use super::scores::{Set, evenly_spaced, not_finite, ranges};
use super::{
    BlockSizes, CertifiedRanks, EqualImages, ErrorBounds, Examples, Provenance, Queries, ScoreSink,
};
use crate::Result;
use crate::operator::Vectors;
use crate::solve::{Bounded, Outcome, Refinement, Report};
use candle_core::Tensor;
use std::ops::Range;

/// Queries on which it is decided whether another round is worth it.
const SAMPLE: usize = 64;
/// Most rounds of refinement; each wins some five digits, of which f64 has sixteen.
const ROUNDS: usize = 5;

/// What certified scoring needs besides the examples.
pub struct Certification<'a> {
    /// Solver and bound.
    pub refinement: Refinement<'a>,
    /// Ranks of every query that are to be certified.
    pub ranks: usize,
    /// Which training images equal which.
    pub equal: EqualImages,
    /// Rows in a step.
    pub blocks: BlockSizes,
}

/// Solutions of one side and the numbers that bound their scores.
struct Solved {
    blocks: Vec<(Range<usize>, Bounded)>,
    /// Right-hand sides with their bound, row by row.
    errors: Vec<f64>,
}

impl Certification<'_> {
    /// Scores several sets of queries by solving for the training images; `training` and the queries in f64.
    ///
    /// # Errors
    /// As for [`super::Scoring::by_queries`].
    pub fn score_by_training(
        &self,
        training: &Examples,
        sets: Vec<Queries>,
        provenance: &Provenance,
    ) -> Result<Vec<Report>> {
        self.resume_by_training(training, sets, provenance, &mut Checkpoint::none())
    }

    /// The same; scored queries are recorded, while the solves, which come before all scores, are made again.
    pub(super) fn resume_by_training(
        &self,
        training: &Examples,
        sets: Vec<Queries>,
        provenance: &Provenance,
        checkpoint: &mut Checkpoint,
    ) -> Result<Vec<Report>> {
        let mut sets = sets
            .into_iter()
            .map(|queries| Set::begin(training, queries, provenance))
            .collect::<Result<Vec<_>>>()?;
        let mut solved = self.solve(training, 0..training.count(), "training image")?;
        for _ in 1..ROUNDS {
            if self.sample_is_certified(training, &solved, sets[0].queries.examples)?
                || !self.improve(training, &mut solved)?
            {
                break;
            }
        }
        solved.errors = self.errors(&solved, training.count());
        let done = checkpoint.resume(&mut sets, &mut Vec::new())?;
        let mut before = 0;
        for place in 0..sets.len() {
            let examples = sets[place].queries.examples;
            for rows in ranges(examples.count(), self.blocks.gradients) {
                let end = before + rows.end;
                if end <= done {
                    continue;
                }
                let gradients = Vectors::new(examples.gradients(rows.clone())?)?;
                let products = solved.products(gradients.tensor())?;
                let errors = ErrorBounds {
                    queries: &self.refinement.inverse_lengths(&gradients)?,
                    training: &solved.errors,
                };
                sets[place].write(rows, 0..training.count(), &products, Some(errors))?;
                checkpoint.block_is_done(&mut sets, end, &[])?;
            }
            before += examples.count();
        }
        sets.iter_mut().try_for_each(Set::finish)?;
        Ok(solved.reports())
    }

    /// Scores one set of queries by solving for them, block by block, each until its own ranks are certified.
    ///
    /// # Errors
    /// As for [`super::Scoring::by_queries`].
    pub fn score_by_queries(
        &self,
        training: &Examples,
        queries: Queries,
        provenance: &Provenance,
    ) -> Result<Vec<Report>> {
        self.resume_by_queries(training, queries, provenance, &mut Checkpoint::none())
    }

    /// The same from where the checkpoint is, which records the blocks.
    pub(super) fn resume_by_queries(
        &self,
        training: &Examples,
        queries: Queries,
        provenance: &Provenance,
        checkpoint: &mut Checkpoint,
    ) -> Result<Vec<Report>> {
        let mut set = Set::begin(training, queries, provenance)?;
        let examples = set.queries.examples;
        let norms = self.lengths(training)?;
        let mut reports = Vec::with_capacity(examples.count());
        let done = checkpoint.resume(std::slice::from_mut(&mut set), &mut reports)?;
        for rows in ranges(examples.count(), self.blocks.solved) {
            if rows.start < done {
                continue;
            }
            let mut solved = self.solve(examples, rows.clone(), "query")?;
            let mut round = 1;
            let products = loop {
                solved.errors = self.errors(&solved, training.count());
                let products = solved.scores(training, self.blocks.gradients)?;
                round += 1;
                let errors = (&solved.errors[..], &norms[..]);
                if round > ROUNDS
                    || self.is_certified(training, examples, rows.clone(), &products, errors)?
                    || !self.improve(examples, &mut solved)?
                {
                    break products;
                }
            };
            // The last improvement, if any, was not scored: bounds and products belong together.
            let errors = ErrorBounds {
                queries: &solved.errors,
                training: &norms,
            };
            set.write(rows.clone(), 0..training.count(), &products, Some(errors))?;
            reports.extend(solved.reports());
            checkpoint.block_is_done(std::slice::from_mut(&mut set), rows.end, &reports)?;
        }
        set.finish()?;
        Ok(reports)
    }

    fn solve(&self, examples: &Examples, range: Range<usize>, what: &str) -> Result<Solved> {
        let mut blocks = Vec::new();
        for part in ranges(range.len(), self.blocks.gradients) {
            let part = range.start + part.start..range.start + part.end;
            let gradients = Vectors::new(examples.gradients(part.clone())?)?;
            let bounded = self.refinement.solve(&gradients)?;
            let diverged = |report: &Report| report.outcome == Outcome::Diverged;
            if let Some(row) = bounded.reports.iter().position(diverged) {
                let id = examples.ids()[part.start + row];
                return Err(not_finite(format!("the solve of {what} {id}")));
            }
            blocks.push((part, bounded));
        }
        Ok(Solved {
            blocks,
            errors: Vec::new(),
        })
    }

    fn improve(&self, examples: &Examples, solved: &mut Solved) -> Result<bool> {
        let mut improved = false;
        let open = (solved.blocks.iter_mut()).filter(|(_, bounded)| !bounded.at_floor);
        for (range, bounded) in open {
            let gradients = Vectors::new(examples.gradients(range.clone())?)?;
            improved |= self.refinement.improve(&gradients, bounded)?;
        }
        Ok(improved)
    }

    /// The factors of the solved side: (error + γ_p‖x‖/κ)/n. The other side's are the bounds of its gradients in A⁻¹.
    fn errors(&self, solved: &Solved, training_count: usize) -> Vec<f64> {
        let parameters = solved
            .blocks
            .first()
            .map_or(0, |(_, bounded)| bounded.value.size());
        let chain = (parameters + 8) as f64 * f64::EPSILON / 2.0;
        let gamma = chain / (1.0 - chain);
        let blocks = solved.blocks.iter();
        let rows = blocks.flat_map(|(_, bounded)| bounded.errors.iter().zip(&bounded.lengths));
        rows.map(|(error, length)| {
            (error + gamma * length / self.refinement.least_factor()) * (1.0 + 1e-12)
                / training_count as f64
        })
        .collect()
    }

    /// Bounds of all gradients in A⁻¹.
    fn lengths(&self, examples: &Examples) -> Result<Vec<f64>> {
        let mut lengths = Vec::with_capacity(examples.count());
        for range in ranges(examples.count(), self.blocks.gradients) {
            let gradients = Vectors::new(examples.gradients(range)?)?;
            lengths.extend(self.refinement.inverse_lengths(&gradients)?);
        }
        Ok(lengths)
    }

    fn sample_is_certified(
        &self,
        training: &Examples,
        solved: &Solved,
        queries: &Examples,
    ) -> Result<bool> {
        let positions = evenly_spaced(queries.count(), SAMPLE);
        let count = positions.len();
        let positions: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
        let gradients = Vectors::new(queries.gradients_at(&positions)?)?;
        let products = solved.products(gradients.tensor())?;
        let errors = self.errors(solved, training.count());
        let lengths = self.refinement.inverse_lengths(&gradients)?;
        let errors = (&lengths[..], &errors[..]);
        self.is_certified(training, queries, 0..count, &products, errors)
    }

    /// Whether all wanted ranks of the queries in `products` `[rows.len(), n]` are certified.
    fn is_certified(
        &self,
        training: &Examples,
        queries: &Examples,
        rows: Range<usize>,
        products: &Tensor,
        (row_errors, column_errors): (&[f64], &[f64]),
    ) -> Result<bool> {
        let mut ranks = CertifiedRanks::new(self.ranks, &self.equal);
        let mut sinks: [&mut dyn ScoreSink; 1] = [&mut ranks];
        let none = Provenance::default();
        let mut set = Set::begin(
            training,
            Queries {
                examples: queries,
                sinks: &mut sinks,
            },
            &none,
        )?;
        let errors = ErrorBounds {
            queries: row_errors,
            training: column_errors,
        };
        set.write(rows.clone(), 0..training.count(), products, Some(errors))?;
        Ok(rows
            .into_iter()
            .all(|row| ranks.is_certified(row, self.ranks)))
    }
}

impl Solved {
    /// G Xᵀ `[k, rows]` for the solutions X and gradients G `[k, p]`.
    fn products(&self, gradients: &Tensor) -> Result<Tensor> {
        let parts = self.blocks.iter().map(|(_, bounded)| {
            let solutions = bounded.value.tensor().t()?;
            Ok(gradients.matmul(&solutions)?)
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?)
    }

    /// X Gᵀ `[rows, n]` for the gradients G of all training images.
    fn scores(&self, training: &Examples, block: usize) -> Result<Tensor> {
        let columns = ranges(training.count(), block)
            .map(|columns| self.products(&training.gradients(columns)?));
        Ok(Tensor::cat(&columns.collect::<Result<Vec<_>>>()?, 0)?
            .t()?
            .contiguous()?)
    }

    fn reports(&self) -> Vec<Report> {
        let blocks = self.blocks.iter();
        blocks
            .flat_map(|(_, bounded)| bounded.reports.clone())
            .collect()
    }
}
