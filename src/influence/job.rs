//! A whole run for the head: every test image and every training image as a query, and the files that a run leaves.

use super::{
    BlockSizes, Diagonal, Examples, FeatureSet, Queries, QueryRanking, ScoreBlock, ScoreFile,
    ScoreHeader, ScoreSink, Solves, TopRanks, score, score_by_training, write_rankings,
    write_self_influence, write_solves,
};
use crate::Result;
use crate::derivative::head::{HeadCoordinates, SoftmaxHead};
use crate::operator::{Damped, HeadHessian};
use crate::solve::{Arnoldi, Cg, Direct, Ekfac, Identity, Inverse, Lissa, Method, Pinv, Solver};
use candle_core::DType;
use std::cell::RefCell;
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
    /// Rows in a step; 256 MiB of solutions and 32 MiB of gradients where not given.
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
            Method::Ekfac => Box::new(Ekfac),
            Method::Identity => Box::new(Identity),
            Method::Cg => Box::new(Cg {
                tolerance: self.effective_tolerance(),
                iterations: self.iterations,
                preconditioned: true,
            }),
            Method::Lissa => Box::new(Lissa {
                tolerance: self.effective_tolerance(),
                ..Lissa::default()
            }),
            Method::Arnoldi => Box::new(Arnoldi::default()),
            // The paper's estimator is of the undamped curvature: with a damping above 0 this is another one.
            Method::Pinv => Box::new(Pinv::default()),
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

/// Told of progress: which images are the queries (`test` or `train`), how many scores are done, of how many.
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
    /// How the solves ended: those of the test queries, or of the training images where these are fewer or queries too.
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
        let coordinates = HeadCoordinates::of(train.inputs(), train.outputs())?;
        let gradient = self.gradient_norm(&train)?;
        let (train, test) = (
            train.in_coordinates(&coordinates)?,
            test.in_coordinates(&coordinates)?,
        );
        let hessian = HeadHessian::in_coordinates(
            &coordinates,
            train.axes_inputs(),
            train.outputs(),
            options.l2,
        )?;
        let curvature = Damped::new(&hessian, options.damping)?;
        let inverse = options.solver().prepare(&curvature)?;
        let mut summary = RankSummary {
            train_loss: train.outputs().mean_loss(),
            train_accuracy: train.outputs().accuracy(train.labels()),
            test_loss: test.outputs().mean_loss(),
            test_accuracy: test.outputs().accuracy(test.labels()),
            gradient_norm: gradient,
            solves: Vec::new(),
        };
        let sides = Sides {
            job: self,
            folder,
            inverse: &*inverse,
            train: &train,
            test: &test,
        };
        summary.solves.push(sides.score(progress)?);
        let solves: Vec<&Solves> = summary.solves.iter().collect();
        write_solves(&folder.join("solves.parquet"), &solves, &self.digests)?;
        Ok(summary)
    }

    /// ‖∇‖ of the training objective.
    fn gradient_norm(&self, train: &Examples) -> Result<f64> {
        let head = self.head.to_dtype(self.options.precision)?;
        let (_, gradient) = head.objective(train.inputs(), self.options.l2)?;
        let squares = gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?;
        Ok(squares.to_scalar::<f64>()?.sqrt())
    }
}

/// Both sides, and where their scores go.
struct Sides<'a> {
    job: &'a RankJob<'a>,
    folder: &'a Path,
    inverse: &'a dyn Inverse,
    train: &'a Examples,
    test: &'a Examples,
}

impl Sides<'_> {
    /// Scores all queries, by solving for whichever side takes fewer solves, and writes what came of it.
    fn score(&self, progress: &mut Progress) -> Result<Solves> {
        let options = &self.job.options;
        let progress = RefCell::new(progress);
        let mut top = TopRanks::new(options.top, options.bottom);
        let mut file = ScoreFile::new(&self.folder.join("scores.npy"));
        let mut counted = Counted::new("test", &progress);
        let mut sinks: Vec<&mut dyn ScoreSink> = vec![&mut top, &mut counted];
        if options.scores {
            sinks.push(&mut file);
        }
        let test = Queries {
            examples: self.test,
            sinks: &mut sinks,
        };
        let mut train_top = TopRanks::new(options.top + 1, options.bottom);
        let mut diagonal = Diagonal::default();
        let mut train_counted = Counted::new("train", &progress);
        let mut train_sinks: Vec<&mut dyn ScoreSink> =
            vec![&mut train_top, &mut diagonal, &mut train_counted];
        let train = options.train_queries.then_some(Queries {
            examples: self.train,
            sinks: &mut train_sinks,
        });
        let solves = self.solve(test, train)?;
        self.write_rankings("rankings.parquet", &top, self.test)?;
        if options.train_queries {
            self.write_rankings("train_rankings.parquet", &train_top, self.train)?;
            let path = self.folder.join("self_influence.parquet");
            write_self_influence(&path, self.train, &diagonal, &self.job.digests)?;
        }
        Ok(solves)
    }

    fn solve<'q, 's>(
        &self,
        test: Queries<'q, 's>,
        train: Option<Queries<'q, 's>>,
    ) -> Result<Solves> {
        let digests = &self.job.digests;
        let blocks = self
            .job
            .options
            .blocks
            .unwrap_or_else(|| BlockSizes::for_parameters(self.train.parameter_count()));
        if train.is_none() && self.test.count() < self.train.count() {
            let reports = score(self.inverse, self.train, test, blocks, digests)?;
            return Ok(Solves {
                set: "test",
                ids: self.test.ids().to_vec(),
                reports,
            });
        }
        let sets = std::iter::once(test).chain(train).collect();
        let reports = score_by_training(self.inverse, self.train, sets, blocks, digests)?;
        Ok(Solves {
            set: "train",
            ids: self.train.ids().to_vec(),
            reports,
        })
    }

    fn write_rankings(&self, name: &str, top: &TopRanks, queries: &Examples) -> Result<()> {
        let rankings = QueryRanking::collect(top, self.train, queries);
        write_rankings(&self.folder.join(name), &rankings, &self.job.digests)
    }
}

/// Counts scores.
struct Counted<'a, 'b> {
    set: &'static str,
    done: usize,
    total: usize,
    progress: &'a RefCell<&'a mut Progress<'b>>,
}

impl<'a, 'b> Counted<'a, 'b> {
    fn new(set: &'static str, progress: &'a RefCell<&'a mut Progress<'b>>) -> Self {
        Self {
            set,
            done: 0,
            total: 0,
            progress,
        }
    }
}

impl ScoreSink for Counted<'_, '_> {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        self.total = header.queries.len() * header.training.len();
        (self.progress.borrow_mut())(self.set, 0, self.total);
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        self.done += block.queries.len() * block.training.len();
        (self.progress.borrow_mut())(self.set, self.done, self.total);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
