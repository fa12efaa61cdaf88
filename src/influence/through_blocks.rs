//! Influence through the fine-tuned blocks: the same scores, with the parameters of the last blocks and the head.
//!
//! score(q, i) = (1/n) ∇ℓ_qᵀ (C + (l2 + λ)I)⁻¹ ∇ℓ_i with gradients and the curvature C (Gauss–Newton or Hessian) of
//! [`Network`]; Koh & Liang 2017, equation 2, with the sign of the other scores. One solve a query, whose cost is that of
//! products over all training images; then every training image meets the solutions of a block of queries ([`scoring`]).
//!
//! Influence of training images as queries is left out: it would take as many solves as there are training images.

mod outputs;
mod scoring;
mod shares;

pub use scoring::{RankError, ScoringPlan, ScoringRecord};
pub use shares::{SegmentShares, write_shares};

use super::checkpoint::{self, Checkpoint};
use super::{Images, Progress, Provenance, RankSummary, ScoreHeader, Solves, write_solves};
use crate::data::little_endian;
use crate::derivative::network::{Curvature, Examples, Network};
use crate::operator::{Damped, LinearOperator, NetworkCurvature, Vectors};
use crate::solve::{Inverse, Method, Outcome, Report, Settings, Solver, smallest_eigenvalue};
use crate::{Error, Result};
use outputs::Outputs;
use scoring::PairScores;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Bytes that the solutions of a block of queries may take: they are alive six times over while they are made.
const SOLUTION_BYTES: usize = 1 << 28;
/// Most queries in a block.
const QUERIES: usize = 64;

/// One side: what enters the fine-tuned blocks, and the images' ids in their data set.
#[derive(Clone, Copy)]
pub struct NetworkImages<'a> {
    /// Activations and labels.
    pub examples: &'a Examples,
    /// Ids in the data set, by position.
    pub ids: &'a [usize],
}

/// What decides the numbers, besides model and images.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Which matrix.
    pub curvature: Curvature,
    /// The L2 term of the fine-tuning, part of the curvature.
    pub l2: f64,
    /// λ, added to the curvature.
    pub damping: f64,
    /// How systems are solved.
    pub solver: Settings,
    /// Helpful images kept for each query.
    pub top: usize,
    /// Harmful images kept for each query.
    pub bottom: usize,
    /// Whether the full matrix is written too.
    pub scores: bool,
    /// Whether the shares of head and blocks in the ranked scores are written too.
    pub shares: bool,
    /// The rank to which solutions may be approximated where that makes scoring cheaper; none for exact products.
    pub query_rank: Option<usize>,
    /// Bytes for what products share between them.
    pub memory: u64,
    /// How long after finished queries were recorded, for a killed run to go on from, the next are; of no effect on numbers.
    pub record_every: Duration,
}

/// A run through the blocks.
pub struct NetworkJob<'a> {
    /// The fine-tuned part.
    pub network: &'a Network,
    /// The images it was fine-tuned on.
    pub train: NetworkImages<'a>,
    /// The images whose predictions are to be explained.
    pub test: NetworkImages<'a>,
    /// What decides the numbers.
    pub options: NetworkOptions,
    /// SHA-256 of what went in, by role.
    pub digests: BTreeMap<String, String>,
}

/// Losses and predictions of one side.
struct Seen {
    loss: f64,
    accuracy: f64,
    predictions: Vec<usize>,
}

impl NetworkOptions {
    /// Refuses what does not go together.
    ///
    /// # Errors
    /// Names the option.
    pub fn check(&self) -> Result<()> {
        if self.query_rank == Some(0) {
            let reason = "0 leaves nothing of a solution; give a number or leave it out";
            return Err(Error::config("query-rank", reason));
        }
        Ok(())
    }
}

impl NetworkJob<'_> {
    /// Scores all queries and writes `rankings.parquet`, `solves.parquet` and, as the options ask for them, `scores.npy` and
    /// `shares.parquet` into `folder`. A run that was killed goes on there after the last queries that it recorded.
    ///
    /// # Errors
    /// Input that does not fit, a solver that does not suit the curvature, a solve that diverged (by id), scores that are
    /// not finite, files that cannot be written. A solve that stops short of its tolerance is in the summary instead.
    pub fn run(&self, folder: &Path, progress: &mut dyn Progress) -> Result<RankSummary> {
        self.options.check()?;
        progress.stage("outputs")?;
        let (train, test) = (self.seen(self.train)?, self.seen(self.test)?);
        let mut summary = self.summary(&train, &test)?;
        progress.stage("solver")?;
        let curvature = NetworkCurvature::new(
            self.network,
            self.train.examples,
            self.options.curvature,
            self.options.l2,
            self.options.memory,
        )?
        .drawing_from(self.options.solver.seed);
        let damped = Damped::new(&curvature, self.options.damping)?;
        // The paper's estimator is of the data term alone.
        let data = NetworkCurvature::new(
            self.network,
            self.train.examples,
            self.options.curvature,
            0.0,
            self.options.memory,
        )?;
        let operator: &dyn LinearOperator = match self.options.solver.method {
            Method::Pinv => &data,
            _ => &damped,
        };
        let inverse = self.solver().prepare(operator)?;
        summary.notes = inverse.notes().into_iter().collect();
        progress.stage("scores")?;
        self.score(&*inverse, &mut summary, (folder, progress), (&train, &test))?;
        if self.options.curvature == Curvature::Hessian {
            progress.stage("smallest eigenvalue")?;
            let smallest = smallest_eigenvalue(&damped, self.options.solver.seed)?;
            let missing = match smallest.is_negative() {
                true => smallest.missing_damping(),
                false => 0.0,
            };
            (summary.notes).extend([
                ("smallest_eigenvalue", smallest.value),
                ("missing_damping", missing),
            ]);
        }
        checkpoint::remove(folder)?;
        Ok(summary)
    }

    fn solver(&self) -> Box<dyn Solver> {
        let settings = &self.options.solver;
        let method = match settings.method {
            Method::Auto => Method::Cg,
            method => method,
        };
        let settings = Settings {
            method,
            ..settings.clone()
        };
        settings.solver(self.network.dtype())
    }

    /// What the network says of one side.
    fn seen(&self, images: NetworkImages) -> Result<Seen> {
        let labels = images.examples.labels();
        let mut seen = Seen {
            loss: 0.0,
            accuracy: 0.0,
            predictions: Vec::with_capacity(labels.len()),
        };
        let count = labels.len() as f64;
        for outputs in self
            .network
            .outputs(images.examples, &positions(0..labels.len()))?
        {
            seen.loss += outputs.losses.iter().sum::<f64>() / count;
            seen.predictions.extend(outputs.predictions);
        }
        let right = (seen.predictions.iter().zip(labels)).filter(|(found, label)| found == label);
        seen.accuracy = right.count() as f64 / count;
        Ok(seen)
    }

    fn summary(&self, train: &Seen, test: &Seen) -> Result<RankSummary> {
        let count = self.train.ids.len();
        let (sum, _) = (self.network).gradient(self.train.examples, &positions(0..count))?;
        let mean = (sum.to_dtype(candle_core::DType::F64)? / count as f64)?;
        let parameters = self
            .network
            .parameters()?
            .to_dtype(candle_core::DType::F64)?;
        let gradient = (mean + (parameters * self.options.l2)?)?;
        Ok(RankSummary {
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            gradient_norm: gradient.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt(),
            unit: super::NATS,
            solves: Vec::new(),
            notes: BTreeMap::new(),
            resumed: 0,
            certified: None,
            damping_path: None,
            scoring: None,
        })
    }

    fn score(
        &self,
        inverse: &dyn Inverse,
        summary: &mut RankSummary,
        (folder, progress): (&Path, &mut dyn Progress),
        (train, test): (&Seen, &Seen),
    ) -> Result<()> {
        let header = ScoreHeader {
            queries: self.test.ids.to_vec(),
            training: self.train.ids.to_vec(),
            provenance: Provenance {
                digests: self.digests.clone(),
                unit: summary.unit,
            },
        };
        let provenance = header.provenance.clone();
        let progress = RefCell::new(progress);
        let say = |text: &str| progress.borrow_mut().note(text);
        let mut checkpoint = self.checkpoint(folder, &header, (train, test), &say)?;
        let mut outputs = Outputs::begin(self, header, folder)?;
        let count = self.test.ids.len();
        let done_of = |queries: usize| {
            let images = self.train.ids.len();
            (progress.borrow_mut()).scores("test", queries * images, count * images);
        };
        let mut reports: Vec<Report> = Vec::with_capacity(count);
        let done = checkpoint.resume(&mut outputs, &mut reports)?;
        done_of(done);
        let block = queries_at_once(self.network);
        for rows in super::scores::ranges(count, block).filter(|rows| rows.start >= done) {
            let solutions = self.solve(inverse, rows.clone(), &mut reports)?;
            let rank = self.options.query_rank;
            let pairs = PairScores::of(self.network, self.train.examples, &solutions, rank)?;
            drop(solutions);
            outputs.write(rows.clone(), &pairs)?;
            done_of(rows.end);
            checkpoint.block_is_done(&mut outputs, rows.end, &reports)?;
        }
        let sides = (images(self.train, train), images(self.test, test));
        summary.scoring = Some(ScoringRecord {
            plan: ScoringPlan::of(self.network, block.min(count), self.options.query_rank),
            rank_errors: outputs.finish(folder, sides)?,
        });
        summary.resumed = checkpoint.resumed;
        summary.solves.push(Solves {
            set: "test",
            ids: self.test.ids.to_vec(),
            reports,
        });
        let solves: Vec<&Solves> = summary.solves.iter().collect();
        write_solves(&folder.join("solves.parquet"), &solves, &provenance)
    }

    /// Records what is decided by options, parameters, images and what the network says of them.
    fn checkpoint<'a>(
        &self,
        folder: &Path,
        header: &ScoreHeader,
        (train, test): (&Seen, &Seen),
        say: &'a dyn Fn(&str),
    ) -> Result<Checkpoint<'a>> {
        let decisive = NetworkOptions {
            record_every: Duration::ZERO,
            ..self.options.clone()
        };
        let decisive = format!("through blocks {decisive:?}");
        let mut material = format!("{header:?}").into_bytes();
        material.extend(little_endian(&self.network.parameters()?)?);
        for (side, seen) in [(self.train, train), (self.test, test)] {
            let labels = side.examples.labels();
            material.extend(format!("{labels:?} {:?}", seen.loss).into_bytes());
        }
        let every = self.options.record_every;
        Ok(Checkpoint::keyed(folder, &decisive, &material, every, say))
    }

    /// A⁻¹∇ℓ of the queries in `rows`.
    fn solve(
        &self,
        inverse: &dyn Inverse,
        rows: std::ops::Range<usize>,
        reports: &mut Vec<Report>,
    ) -> Result<Vectors> {
        let gradients =
            (self.network).example_gradients(self.test.examples, &positions(rows.clone()))?;
        let solution = inverse.solve(&Vectors::new(gradients)?)?;
        let diverged = |report: &Report| report.outcome == Outcome::Diverged;
        if let Some(row) = solution.reports.iter().position(diverged) {
            let id = self.test.ids[rows.start + row];
            return Err(super::scores::not_finite(format!(
                "the solve of query {id}"
            )));
        }
        reports.extend(solution.reports);
        Ok(solution.value)
    }
}

/// Queries that are solved and scored together, so that their solutions fit into memory.
pub fn queries_at_once(network: &Network) -> usize {
    let row = network.size() * network.dtype().size_in_bytes();
    (SOLUTION_BYTES / row.max(1)).clamp(1, QUERIES)
}

fn images<'a>(side: NetworkImages<'a>, seen: &'a Seen) -> Images<'a> {
    Images {
        ids: side.ids,
        labels: side.examples.labels(),
        predictions: &seen.predictions,
    }
}

fn positions(range: std::ops::Range<usize>) -> Vec<u32> {
    range.map(|position| position as u32).collect()
}
