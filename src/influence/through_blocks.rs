//! Influence through the fine-tuned blocks: the same scores, with the parameters of the last blocks and the head.
//!
//! score(q, i) = (1/n) ∇ℓ_qᵀ (C + (l2 + λ)I)⁻¹ ∇ℓ_i with gradients and the curvature C (Gauss–Newton or Hessian) of
//! [`Network`]; Koh & Liang 2017, equation 2, with the sign of the other scores. One solve a query, whose cost is that of
//! products over all training images; then every training image meets the solutions of a block of queries ([`scoring`]).
//!
//! Influence of training images as queries is left out: it would take as many solves as there are training images.

mod scoring;
mod shares;

pub use shares::{SegmentShares, write_shares};

use super::{
    Images, Progress, Provenance, QueryRanking, RankSummary, ScoreFile, ScoreHeader, ScoreSink,
    Solves, TopRanks, write_rankings, write_solves,
};
use crate::Result;
use crate::derivative::network::{Curvature, Examples, Network};
use crate::operator::{Damped, LinearOperator, NetworkCurvature, Vectors};
use crate::solve::{Inverse, Method, Outcome, Report, Settings, Solver, smallest_eigenvalue};
use scoring::{PairScores, segments};
use std::collections::BTreeMap;
use std::path::Path;

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
    /// Bytes for what products share between them.
    pub memory: u64,
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

impl NetworkJob<'_> {
    /// Scores all queries and writes `rankings.parquet`, `solves.parquet` and, as the options ask for them, `scores.npy` and
    /// `shares.parquet` into `folder`.
    ///
    /// # Errors
    /// Input that does not fit, a solver that does not suit the curvature, a solve that diverged (by id), scores that are
    /// not finite, files that cannot be written. A solve that stops short of its tolerance is in the summary instead.
    pub fn run(&self, folder: &Path, progress: &mut dyn Progress) -> Result<RankSummary> {
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
        })
    }

    fn score(
        &self,
        inverse: &dyn Inverse,
        summary: &mut RankSummary,
        (folder, progress): (&Path, &mut dyn Progress),
        (train, test): (&Seen, &Seen),
    ) -> Result<()> {
        let provenance = Provenance {
            digests: self.digests.clone(),
            unit: summary.unit,
        };
        let header = ScoreHeader {
            queries: self.test.ids.to_vec(),
            training: self.train.ids.to_vec(),
            provenance: provenance.clone(),
        };
        let mut top = TopRanks::new(self.options.top, self.options.bottom);
        let mut file = (self.options.scores).then(|| ScoreFile::new(&folder.join("scores.npy")));
        let mut shares = (self.options.shares).then(|| SegmentShares::new(segments(self.network)));
        top.begin(&header)?;
        file.iter_mut().try_for_each(|file| file.begin(&header))?;
        let count = self.test.ids.len();
        let total = count * self.train.ids.len();
        let mut reports: Vec<Report> = Vec::with_capacity(count);
        progress.scores("test", 0, total);
        let size = SOLUTION_BYTES / (self.network.size() * self.network.dtype().size_in_bytes());
        for rows in super::scores::ranges(count, size.clamp(1, QUERIES)) {
            let solutions = self.solve(inverse, rows.clone(), &mut reports)?;
            let pairs = PairScores::of(
                self.network,
                self.train.examples,
                &solutions,
                self.options.shares,
            )?;
            drop(solutions);
            let mut sinks: Vec<&mut dyn ScoreSink> = vec![&mut top];
            sinks.extend(file.iter_mut().map(|file| file as _));
            pairs.write(&header, rows.clone(), &mut sinks)?;
            if let Some(shares) = &mut shares {
                for (row, query) in rows.clone().enumerate() {
                    let ranked = top.helpful(query).into_iter().chain(top.harmful(query));
                    shares.take(query, &pairs, row, ranked.map(|(image, _)| image));
                }
            }
            progress.scores("test", rows.end * self.train.ids.len(), total);
        }
        top.finish()?;
        file.iter_mut().try_for_each(ScoreSink::finish)?;
        let (train, test) = (images(self.train, train), images(self.test, test));
        let rankings = QueryRanking::collect(&top, None, train, test);
        write_rankings(&folder.join("rankings.parquet"), &rankings, &provenance)?;
        if let Some(shares) = &shares {
            write_shares(
                &folder.join("shares.parquet"),
                &rankings,
                (train, test),
                shares,
                &provenance,
            )?;
        }
        summary.solves.push(Solves {
            set: "test",
            ids: self.test.ids.to_vec(),
            reports,
        });
        let solves: Vec<&Solves> = summary.solves.iter().collect();
        write_solves(&folder.join("solves.parquet"), &solves, &provenance)
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
