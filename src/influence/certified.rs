//! Scores with proven ranks: solves refined in f64 until the ranking is settled, not until a residual is small.
//!
//! |ŝ − s| ≤ (1/n)(‖∇q‖_{A⁻¹} ‖x̂ − A⁻¹∇t‖_A + rounding) for the solution x̂ of training image t (or, solved for the queries, the
//! same with the sides exchanged); [`Refinement`] bounds both norms. Rounding is that of products, and of the logits before them.
//!
//! - Refinement goes on while a sample of each set of queries (solved for the queries: any query of the block) has ranks that are not
//!   certified, or rounding of the solver leaves a residual above the tolerance, and bounds still fall.
//! - Where the samples are proven, queries beyond them that are not are solved for themselves, in as many rounds as those take.
//! - All scores are then computed roughly, in the precision of the solver, and again in f64 for those images that may be among
//!   the wanted ranks.

mod fetched;
mod input_error;
mod on_device;
mod ranking;
mod scaling;
mod scorer;
mod solved;

use super::certificate::Certified;
use super::checkpoint::Checkpoint;
use super::scores::{Set, check_solved, parts, ranges};
use super::side_by_side::{LANES, side_by_side};
use super::{BlockSizes, CertifiedRanks, EqualImages, Examples, Provenance, Queries};
use crate::Result;
use crate::data::evenly_spaced;
use crate::derivative::head::CoordinateError;
use crate::operator::Vectors;
use crate::solve::{Refinement, Report};
use input_error::{InputError, Reach};
use ranking::{certified, rank_gradients, rank_solutions};
use rayon::prelude::*;
use scorer::{GradientBounds, Rough, Scorer, Side};
use solved::Solved;
use std::ops::Range;

/// Queries on which it is decided whether another round is worth it.
const SAMPLE: usize = 64;
/// Most rounds of refinement; each wins some five digits, of which f64 has sixteen.
const ROUNDS: usize = 5;
/// Scores that are held at once: 64 MiB.
const SCORES: usize = 1 << 23;
/// The same where a device computes them: 512 MiB.
const DEVICE_SCORES: usize = 1 << 26;

/// What certified scoring needs besides the examples.
pub struct Certification<'a> {
    /// Solver and bound.
    pub refinement: Refinement<'a>,
    /// Ranks of every query that are to be certified.
    pub ranks: usize,
    /// Which training images equal which.
    pub equal: EqualImages,
    /// The longest ‖W_c‖ of the head, see [`SoftmaxHead::longest_row`](crate::derivative::head::SoftmaxHead::longest_row).
    pub weights: f64,
    /// How far the coordinates of all examples may be off.
    pub coordinates: CoordinateError,
    /// Rows in a step.
    pub blocks: BlockSizes,
}

/// Queries, and how many ranks of each are kept.
pub struct RankedQueries<'a, 'b> {
    /// The queries; sinks get the rough scores.
    pub queries: Queries<'a, 'b>,
    /// Ranks of every query.
    pub kept: usize,
}

/// Queries of a block that were solved for.
struct Proven {
    /// Of all training images.
    rough: Rough,
    /// Query by query.
    ranks: Vec<Vec<Certified>>,
    reports: Vec<Report>,
}

/// What came of it.
pub struct CertifiedScores {
    /// How the solves ended, row by row.
    pub reports: Vec<Report>,
    /// The ranks of each set of queries.
    pub ranks: Vec<CertifiedRanks>,
}

impl Certification<'_> {
    /// Scores several sets of queries by solving for the training images; `training` and the queries in f64.
    ///
    /// # Errors
    /// As for [`super::Scoring::by_queries`].
    pub fn score_by_training(
        &self,
        training: &Examples,
        sets: Vec<RankedQueries>,
        provenance: &Provenance,
    ) -> Result<CertifiedScores> {
        self.resume_by_training(training, sets, provenance, &mut Checkpoint::none())
    }

    /// The same; scored queries are recorded, while the solves, which come before all scores, are made again.
    pub(super) fn resume_by_training(
        &self,
        training: &Examples,
        sets: Vec<RankedQueries>,
        provenance: &Provenance,
        checkpoint: &mut Checkpoint,
    ) -> Result<CertifiedScores> {
        let begin = |RankedQueries { queries, kept }| {
            let set = Set::begin(training, queries, provenance)?;
            let ranks = self.ranks(training, set.queries.examples.count(), kept);
            Ok((set, ranks))
        };
        let mut sets = (sets.into_iter().map(begin)).collect::<Result<Vec<_>>>()?;
        let inputs = self.input_error(training)?;
        let mut solved = self.solve(training, 0..training.count(), inputs, "training image")?;
        let mut only_sampled = false;
        for _ in 1..ROUNDS {
            let queries = sets.iter().map(|(set, _)| set.queries.examples);
            only_sampled = !solved.at_floor()
                && !solved.is_stalled()
                && self.samples_are_certified(training, &solved, inputs, queries)?;
            if only_sampled || solved.at_floor() || !self.improve(training, &mut solved)? {
                break;
            }
        }
        solved.blocks_mut().for_each(|(_, block)| block.settle());
        let scorer = Scorer::new(&self.refinement, &solved, inputs, training.count())?;
        let device = self.refinement.device();
        let done = checkpoint.resume(&mut sets[..], &mut Vec::new())?;
        let mut before = 0;
        for place in 0..sets.len() {
            let examples = sets[place].0.queries.examples;
            let blocks = ranges(examples.count(), self.rows_of_scores(training.count()));
            let open: Vec<Range<usize>> = blocks.filter(|rows| before + rows.end > done).collect();
            for group in open.chunks(LANES) {
                let ranks = &sets[place].1;
                let found = side_by_side(group.to_vec(), &device, |rows| {
                    self.rank_queries(&scorer, examples, rows, ranks)
                })?;
                for (rows, (scores, found)) in group.iter().cloned().zip(found) {
                    let (set, ranks) = &mut sets[place];
                    let end = before + rows.end;
                    set.write_scores(rows.clone(), 0..training.count(), &scores)?;
                    (rows.zip(found)).for_each(|(row, found)| ranks.keep(row, found));
                    checkpoint.block_is_done(&mut sets[..], end, &[])?;
                }
            }
            before += examples.count();
        }
        drop(scorer);
        let reports = solved.reports();
        drop(solved);
        for (set, ranks) in &mut sets {
            if only_sampled {
                self.prove_the_rest(training, set.queries.examples, inputs, ranks)?;
            }
            set.finish()?;
        }
        Ok(CertifiedScores {
            reports,
            ranks: sets.into_iter().map(|(_, ranks)| ranks).collect(),
        })
    }

    /// Scores one set of queries by solving for them, block by block, each until its own ranks are certified.
    ///
    /// # Errors
    /// As for [`super::Scoring::by_queries`].
    pub fn score_by_queries(
        &self,
        training: &Examples,
        queries: RankedQueries,
        provenance: &Provenance,
    ) -> Result<CertifiedScores> {
        self.resume_by_queries(training, queries, provenance, &mut Checkpoint::none())
    }

    /// The same from where the checkpoint is, which records the blocks.
    pub(super) fn resume_by_queries(
        &self,
        training: &Examples,
        RankedQueries { queries, kept }: RankedQueries,
        provenance: &Provenance,
        checkpoint: &mut Checkpoint,
    ) -> Result<CertifiedScores> {
        let set = Set::begin(training, queries, provenance)?;
        let examples = set.queries.examples;
        let ranks = self.ranks(training, examples.count(), kept);
        let mut ranked = (set, ranks);
        let mut reports = Vec::with_capacity(examples.count());
        let done = checkpoint.resume(&mut ranked, &mut reports)?;
        let inputs = self.input_error(training)?;
        for rows in ranges(examples.count(), self.queries_at_once(training)) {
            if rows.start < done {
                continue;
            }
            let (set, ranks) = &mut ranked;
            let proven = self.prove(training, examples, rows.clone(), inputs, ranks)?;
            let scores = &proven.rough.scores;
            set.write_scores(rows.clone(), 0..training.count(), scores)?;
            (rows.clone().zip(proven.ranks)).for_each(|(row, found)| ranks.keep(row, found));
            reports.extend(proven.reports);
            checkpoint.block_is_done(&mut ranked, rows.end, &reports)?;
        }
        let (mut set, ranks) = ranked;
        set.finish()?;
        Ok(CertifiedScores {
            reports,
            ranks: vec![ranks],
        })
    }

    /// Solves for the queries in `rows` until their own ranks are certified.
    fn prove(
        &self,
        training: &Examples,
        queries: &Examples,
        rows: Range<usize>,
        inputs: InputError,
        ranks: &CertifiedRanks,
    ) -> Result<Proven> {
        let mut solved = self.solve(queries, rows.clone(), inputs, "query")?;
        let mut round = 1;
        loop {
            let scorer = Scorer::new(&self.refinement, &solved, inputs, training.count())?;
            let rough = self.rough_by_queries(&scorer, training, rows.len())?;
            let found = rank_solutions(&scorer, training, &rough, ranks)?;
            drop(scorer);
            round += 1;
            let proven = (found.iter()).all(|found| certified(found, self.ranks));
            let settled = proven && !solved.is_stalled();
            if settled || round > ROUNDS || !self.improve(queries, &mut solved)? {
                return Ok(Proven {
                    rough,
                    ranks: found,
                    reports: solved.reports(),
                });
            }
        }
    }

    /// Solved for the training images: proves what ranks of the queries are not yet, by solving for those queries too.
    fn prove_the_rest(
        &self,
        training: &Examples,
        queries: &Examples,
        inputs: InputError,
        ranks: &mut CertifiedRanks,
    ) -> Result<()> {
        let is_open = |&query: &usize| !ranks.is_certified(query, self.ranks);
        let open: Vec<usize> = (0..queries.count()).filter(is_open).collect();
        for open in open.chunks(self.queries_at_once(training)) {
            let queries = queries.at(open)?;
            let proven = self.prove(training, &queries, 0..open.len(), inputs, ranks)?;
            for (&query, found) in open.iter().zip(proven.ranks) {
                if certified(&found, self.ranks) {
                    ranks.keep(query, found);
                }
            }
        }
        Ok(())
    }

    /// How many queries are solved for at once.
    fn queries_at_once(&self, training: &Examples) -> usize {
        let scores = self.rows_of_scores(training.count());
        self.blocks.solved.min(scores)
    }

    fn ranks(&self, training: &Examples, queries: usize, kept: usize) -> CertifiedRanks {
        CertifiedRanks::new(kept.max(self.ranks), queries, training.ids(), &self.equal)
    }

    fn rows_of_scores(&self, columns: usize) -> usize {
        let scores = match self.refinement.device().is_cpu() {
            true => SCORES,
            false => DEVICE_SCORES,
        };
        (scores / columns.max(1)).clamp(1, self.rows_in_lane())
    }

    /// Rows that are held at once of each block under way.
    fn rows_in_lane(&self) -> usize {
        let lanes = if self.refinement.device().is_cpu() {
            LANES
        } else {
            1
        };
        self.blocks.gradients.div_ceil(lanes).max(1)
    }

    fn input_error(&self, training: &Examples) -> Result<InputError> {
        let blocks = ranges(training.count(), self.rows_in_lane());
        let errors = (self.weights, self.coordinates);
        InputError::new(errors, &self.refinement, training, blocks)
    }

    fn solve(
        &self,
        examples: &Examples,
        range: Range<usize>,
        inputs: InputError,
        what: &str,
    ) -> Result<Solved> {
        let parts = parts(range, self.rows_in_lane());
        let mut reach = Reach::default();
        for part in &parts {
            reach.append(inputs.reach(&self.refinement, examples.factors(part.clone())?)?);
        }
        let device = self.refinement.device();
        let blocks = side_by_side(parts, &device, |part: Range<usize>| {
            let gradients = Vectors::new(examples.gradients(part.clone())?)?;
            let bounded = self.refinement.solve(&gradients)?;
            let ids = &examples.ids()[part.clone()];
            check_solved(&bounded.reports, |row| format!("{what} {}", ids[row]))?;
            Ok((part, bounded))
        })?;
        Ok(Solved::new(blocks, reach))
    }

    fn improve(&self, examples: &Examples, solved: &mut Solved) -> Result<bool> {
        let open = solved.blocks_mut().filter(|(_, block)| !block.at_floor);
        let device = self.refinement.device();
        let improved = side_by_side(open.collect(), &device, |(range, bounded)| {
            let gradients = Vectors::new(examples.gradients(range.clone())?)?;
            self.refinement.improve(&gradients, bounded)
        })?;
        Ok(improved.contains(&true))
    }

    /// Solved for the training images: the rough scores and the ranks of the queries in `rows`.
    fn rank_queries(
        &self,
        scorer: &Scorer,
        examples: &Examples,
        rows: Range<usize>,
        ranks: &CertifiedRanks,
    ) -> Result<(Vec<f64>, Vec<Vec<Certified>>)> {
        let factors = examples.factors(rows.clone())?;
        let rough = scorer.rough(&self.refinement, factors, Side::Training)?;
        let positions: Vec<u32> = rows.map(|row| row as u32).collect();
        let found = rank_gradients(scorer, examples, &positions, &rough, ranks)?;
        Ok((rough.scores, found))
    }

    /// Whether the ranks of a few queries of each set are.
    fn samples_are_certified<'a>(
        &self,
        training: &Examples,
        solved: &Solved,
        inputs: InputError,
        sets: impl Iterator<Item = &'a Examples>,
    ) -> Result<bool> {
        let scorer = Scorer::new(&self.refinement, solved, inputs, training.count())?;
        for queries in sets {
            let positions = evenly_spaced(queries.count(), SAMPLE);
            let positions: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
            let rough = scorer.rough(
                &self.refinement,
                queries.factors_at(&positions)?,
                Side::Training,
            )?;
            let ranks = self.ranks(training, positions.len(), self.ranks);
            let found = rank_gradients(&scorer, queries, &positions, &rough, &ranks)?;
            if !(found.iter()).all(|found| certified(found, self.ranks)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `[rows, n]`
    fn rough_by_queries(&self, scorer: &Scorer, training: &Examples, rows: usize) -> Result<Rough> {
        let count = training.count();
        let mut all = Rough {
            scores: vec![0.0; rows * count],
            gradients: GradientBounds::default(),
        };
        for columns in ranges(count, self.blocks.gradients) {
            let part = scorer.rough(
                &self.refinement,
                training.factors(columns.clone())?,
                Side::Queries,
            )?;
            (all.scores.par_chunks_exact_mut(count))
                .zip(part.scores.par_chunks_exact(columns.len()))
                .for_each(|(row, part)| row[columns.clone()].copy_from_slice(part));
            all.gradients.append(part.gradients);
        }
        Ok(all)
    }
}
