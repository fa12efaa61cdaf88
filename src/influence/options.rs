//! What decides a run's numbers, besides data and head.

use super::{BlockSizes, Grouping, Groups, Normalise, PathOptions};
use crate::solve::{Method, Settings};
use crate::{Error, Result};
use candle_core::DType;
use std::time::Duration;

/// What takes the place of r in the gradient of an image that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Correction {
    /// Nothing: influence, to first order in the image's weight
    #[default]
    None,
    /// One exact Newton step without the image: its own curvature leaves with it
    Leverage,
}

/// Everything that decides a run's numbers, besides data and head.
#[derive(Debug, Clone)]
pub struct RankOptions {
    /// The L2 term the head was trained with, part of the curvature.
    pub l2: f64,
    /// λ, added to the curvature.
    pub damping: f64,
    /// How systems are solved.
    pub solver: Settings,
    /// Precision of features, products and scores: f32 or f64.
    pub precision: DType,
    /// Helpful images kept for each query.
    pub top: usize,
    /// Harmful images kept for each query.
    pub bottom: usize,
    /// Ranks of each query that are to be proven; the solves go on until they are.
    pub certify: Option<usize>,
    /// What scores are divided by.
    pub normalise: Normalise,
    /// Whether an image's own curvature leaves with it.
    pub correction: Correction,
    /// Groups of queries that are ranked too.
    pub query_groups: Option<Grouping>,
    /// Groups of training images that are scored as a whole too, by position.
    pub train_groups: Option<Groups>,
    /// Whether rankings at other dampings are compared too.
    pub damping_path: Option<PathOptions>,
    /// Whether the full matrix of the test queries is written too.
    pub scores: bool,
    /// Whether the training images are queries too (self-influence, train-on-train rankings).
    pub train_queries: bool,
    /// Rows in a step; 128 MiB of solutions and 64 MiB of gradients where not given.
    pub blocks: Option<BlockSizes>,
    /// How long after finished blocks were recorded, for a killed run to go on from, the next are; of no effect on numbers.
    pub record_every: Duration,
}

impl Default for RankOptions {
    fn default() -> Self {
        Self {
            l2: 0.0,
            damping: 1e-3,
            solver: Settings::default(),
            precision: DType::F32,
            top: 100,
            bottom: 0,
            certify: None,
            normalise: Normalise::None,
            correction: Correction::None,
            query_groups: None,
            train_groups: None,
            damping_path: None,
            scores: false,
            train_queries: true,
            blocks: None,
            record_every: Duration::from_secs(5),
        }
    }
}

impl RankOptions {
    /// Refuses what does not go together.
    ///
    /// # Errors
    /// Names the option.
    pub fn check(&self) -> Result<()> {
        self.solver.check()?;
        self.normalise.check(self.solver.method)?;
        self.damping_path.map_or(Ok(()), |path| path.check(self))?;
        let method = self.solver.method;
        let overshoots = matches!(method, Method::Identity | Method::Ekfac);
        if overshoots && self.correction == Correction::Leverage {
            let reason = format!(
                "leverage takes an image's own curvature out of the matrix that is inverted, and that of {method} does not hold it: choose --solver direct or cg"
            );
            return Err(Error::config("correction", reason));
        }
        if self.train_groups.is_some() && self.normalise != Normalise::None {
            let reason = "adds up scores in nats: leave --normalise out";
            return Err(Error::config("train-groups", reason));
        }
        let Some(ranks) = self.certify else {
            return Ok(());
        };
        let reason = if ranks == 0 {
            "0 ranks need no proof; give a number or leave it out"
        } else if !self.solver.method.is_exact() {
            "proves ranks of exact scores: choose --solver direct or cg"
        } else if self.normalise != Normalise::None || self.correction != Correction::None {
            "is of plain scores: leave --normalise and --correction out"
        } else if self.l2 + self.damping <= 0.0 {
            "needs --damping or --l2 above 0: without them nothing bounds the inverse"
        } else {
            return Ok(());
        };
        Err(Error::config("certify", reason))
    }
}
