//! A whole run for the head: every test image and every training image as a query, and the files that a run leaves.

use super::{
    BlockSizes, Diagonal, Examples, FeatureSet, QueryRanking, ScoreBlock, ScoreFile, ScoreHeader,
    ScoreSink, Solves, TopRanks, score, write_rankings, write_self_influence, write_solves,
};
use crate::Result;
use crate::derivative::head::SoftmaxHead;
use crate::operator::{Damped, HeadHessian};
use crate::solve::{Cg, Direct, Inverse, Method, Solver};
use candle_core::DType;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that decides a run's numbers, besides data and head.
#[derive(Debug, Clone)]
pub struct RankOptions {
    /// The L2 term the head was trained with, part of the curvature.
    pub l2: f64,
    /// λ, added to the curvature.
    pub damping: f64,
    /// How systems are solved.
    pub method: Method,
    /// Relative true residual at which `cg` stops; 1e-5 in f32 and 1e-10 in f64 where not given.
    pub tolerance: Option<f64>,
    /// Most iterations of `cg` for a query.
    pub iterations: usize,
    /// Precision of features, products and scores: f32 or f64.
    pub precision: DType,
    /// Helpful images kept for each query.
    pub top: usize,
    /// Harmful images kept for each query.
    pub bottom: usize,
    /// Whether the full matrix of the test queries is written too.
    pub scores: bool,
    /// Whether the training images are queries too (self-influence, train-on-train rankings).
    pub train_queries: bool,
    /// Rows in a step; about 32 MiB where not given.
    pub blocks: Option<BlockSizes>,
}

impl Default for RankOptions {
    fn default() -> Self {
        Self {
            l2: 0.0,
            damping: 1e-3,
            method: Method::Direct,
            tolerance: None,
            iterations: 1000,
            precision: DType::F32,
            top: 100,
            bottom: 0,
            scores: false,
            train_queries: true,
            blocks: None,
        }
    }
}

impl RankOptions {
    /// The tolerance in effect.
    pub fn effective_tolerance(&self) -> f64 {
        self.tolerance.unwrap_or(if self.precision == DType::F32 {
            1e-5
        } else {
            1e-10
        })
    }

    fn solver(&self) -> Box<dyn Solver> {
        match self.method {
            Method::Direct => Box::new(Direct),
            Method::Cg => Box::new(Cg {
                tolerance: self.effective_tolerance(),
                iterations: self.iterations,
            }),
        }
    }
}

/// Training images, queries and head of one run.
pub struct RankJob<'a> {
    /// The images the head was trained on.
    pub train: FeatureSet<'a>,
    /// The images whose predictions are to be explained.
    pub test: FeatureSet<'a>,
    /// The head at which everything is evaluated.
    pub head: &'a SoftmaxHead,
    /// What decides the numbers.
    pub options: RankOptions,
    /// SHA-256 of what went in, by role.
    pub digests: BTreeMap<String, String>,
}

/// Told of progress: which images are the queries (`test` or `train`), how many are scored, how many there are.
pub type Progress<'a> = dyn FnMut(&str, usize, usize) + 'a;

/// What a run says about itself.
#[derive(Debug)]
pub struct RankSummary {
    /// Mean loss of the training images in nats, without the L2 term.
    pub train_loss: f64,
    /// Share of training images predicted right.
    pub train_accuracy: f64,
    /// Mean loss of the test images in nats.
    pub test_loss: f64,
    /// Share of test images predicted right.
    pub test_accuracy: f64,
    /// ‖∇‖ of the training objective at the head: influence assumes that it is small.
    pub gradient_norm: f64,
    /// How the solves ended: the test queries, then the training images where they are queries too.
    pub solves: Vec<Solves>,
}

impl RankJob<'_> {
    /// Scores everything and writes `rankings.parquet`, `solves.parquet` and, as the options ask for them,
    /// `scores.npy`, `self_influence.parquet` and `train_rankings.parquet` into `folder`.
    ///
    /// Train-on-train rankings hold one rank more than `top`, so that `top` are left when the image itself is passed over.
    ///
    /// # Errors
    /// Input that does not fit, a curvature that cannot be inverted, scores that are not finite, files that cannot be
    /// written. A solve that stops short of its tolerance is in the summary instead.
    pub fn run(&self, folder: &Path, progress: &mut Progress) -> Result<RankSummary> {
        let options = &self.options;
        let train = Examples::new(&self.train, self.head, options.precision)?;
        let test = Examples::new(&self.test, self.head, options.precision)?;
        let head = self.head.to_dtype(options.precision)?;
        let hessian = HeadHessian::new(&head, train.inputs(), options.l2)?;
        let curvature = Damped::new(&hessian, options.damping)?;
        let inverse = options.solver().prepare(&curvature)?;
        let gradient = head
            .objective(train.inputs(), options.l2)?
            .1
            .to_dtype(DType::F64)?;
        let mut summary = RankSummary {
            train_loss: train.outputs().mean_loss(),
            train_accuracy: train.outputs().accuracy(train.labels()),
            test_loss: test.outputs().mean_loss(),
            test_accuracy: test.outputs().accuracy(test.labels()),
            gradient_norm: gradient.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt(),
            solves: Vec::new(),
        };
        let sides = Sides {
            job: self,
            folder,
            inverse: &*inverse,
            train: &train,
        };
        summary.solves.push(sides.test_queries(&test, progress)?);
        if options.train_queries {
            summary.solves.push(sides.train_queries(progress)?);
        }
        let solves: Vec<&Solves> = summary.solves.iter().collect();
        write_solves(&folder.join("solves.parquet"), &solves, &self.digests)?;
        Ok(summary)
    }
}

/// What both passes share.
struct Sides<'a> {
    job: &'a RankJob<'a>,
    folder: &'a Path,
    inverse: &'a dyn Inverse,
    train: &'a Examples,
}

impl Sides<'_> {
    fn test_queries(&self, test: &Examples, progress: &mut Progress) -> Result<Solves> {
        let options = &self.job.options;
        let mut top = TopRanks::new(options.top, options.bottom);
        let mut file = ScoreFile::new(&self.folder.join("scores.npy"));
        let mut counted = Counted::new("test", progress);
        let mut sinks: Vec<&mut dyn ScoreSink> = vec![&mut top, &mut counted];
        if options.scores {
            sinks.push(&mut file);
        }
        let solves = self.score("test", test, &mut sinks)?;
        let rankings = QueryRanking::collect(&top, self.train, test);
        write_rankings(
            &self.folder.join("rankings.parquet"),
            &rankings,
            &self.job.digests,
        )?;
        Ok(solves)
    }

    fn train_queries(&self, progress: &mut Progress) -> Result<Solves> {
        let mut top = TopRanks::new(self.job.options.top + 1, self.job.options.bottom);
        let mut diagonal = Diagonal::default();
        let mut counted = Counted::new("train", progress);
        let solves = self.score(
            "train",
            self.train,
            &mut [&mut top, &mut diagonal, &mut counted],
        )?;
        let rankings = QueryRanking::collect(&top, self.train, self.train);
        write_rankings(
            &self.folder.join("train_rankings.parquet"),
            &rankings,
            &self.job.digests,
        )?;
        write_self_influence(
            &self.folder.join("self_influence.parquet"),
            self.train,
            &diagonal,
            &self.job.digests,
        )?;
        Ok(solves)
    }

    fn score(
        &self,
        set: &'static str,
        queries: &Examples,
        sinks: &mut [&mut dyn ScoreSink],
    ) -> Result<Solves> {
        let blocks = self
            .job
            .options
            .blocks
            .unwrap_or_else(|| BlockSizes::for_parameters(self.job.head.parameter_count()));
        let reports = score(
            self.inverse,
            self.train,
            queries,
            blocks,
            &self.job.digests,
            sinks,
        )?;
        Ok(Solves {
            set,
            queries: queries.ids().to_vec(),
            reports,
        })
    }
}

/// Counts the queries whose scores are complete.
struct Counted<'a, 'b> {
    set: &'static str,
    queries: usize,
    training: usize,
    progress: &'a mut Progress<'b>,
}

impl<'a, 'b> Counted<'a, 'b> {
    fn new(set: &'static str, progress: &'a mut Progress<'b>) -> Self {
        Self {
            set,
            queries: 0,
            training: 0,
            progress,
        }
    }
}

impl ScoreSink for Counted<'_, '_> {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        (self.queries, self.training) = (header.queries.len(), header.training.len());
        (self.progress)(self.set, 0, self.queries);
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        if block.training.end == self.training {
            (self.progress)(self.set, block.queries.end, self.queries);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
