//! From right-hand sides to scores: what a run through blocks does for a block of queries.

use super::part::FineTunedPart;
use super::scoring::{PairScores, ScoringPlan};
use crate::Result;
use crate::influence::scores::check_solved;
use crate::operator::Vectors;
use crate::solve::{Inverse, Report};

/// What makes scores of the gradients of queries.
pub(super) trait Scorer {
    /// How many queries at once; of options and machine alone.
    fn at_once(&self) -> usize;

    /// What decides the scores beside options, parameters and images.
    fn place(&self) -> String;

    /// Whether there are solves to report of.
    fn solves(&self) -> bool;

    /// How so many queries at once meet the training images, where there is a choice.
    fn plan(&self, queries: usize) -> Option<ScoringPlan>;

    /// The scores of `gradients` `[k, p]`, and how their solves ended; `name` is what an error calls one of them, `done` hears of the
    /// share of the work that is done.
    fn scores(
        &mut self,
        gradients: Vectors,
        name: &dyn Fn(usize) -> String,
        done: &dyn Fn(f64),
    ) -> Result<(PairScores, Vec<Report>)>;
}

/// By a solve for each query, whose solution every training image's gradient is held against.
pub(super) struct BySolves<'a, N: FineTunedPart> {
    pub(super) inverse: &'a dyn Inverse,
    pub(super) network: &'a N,
    pub(super) training: &'a N::Examples,
    pub(super) query_rank: Option<usize>,
    pub(super) at_once: usize,
}

impl<N: FineTunedPart> Scorer for BySolves<'_, N> {
    fn at_once(&self) -> usize {
        self.at_once
    }

    fn place(&self) -> String {
        self.network.place()
    }

    fn solves(&self) -> bool {
        true
    }

    fn plan(&self, queries: usize) -> Option<ScoringPlan> {
        self.network.scoring_plan(queries, self.query_rank)
    }

    fn scores(
        &mut self,
        gradients: Vectors,
        name: &dyn Fn(usize) -> String,
        _: &dyn Fn(f64),
    ) -> Result<(PairScores, Vec<Report>)> {
        let solution = self.inverse.solve(&gradients)?;
        check_solved(&solution.reports, name)?;
        let pairs = (self.network).scores(self.training, &solution.value, self.query_rank)?;
        Ok((pairs, solution.reports))
    }
}
