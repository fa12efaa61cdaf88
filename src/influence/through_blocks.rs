//! Influence through the fine-tuned blocks: the same scores, with the parameters of the last blocks and the head.
//!
//! score(q, i) = (1/n) ∇ℓ_qᵀ (C + (l2 + λ)I)⁻¹ ∇ℓ_i with gradients and the curvature C (Gauss–Newton or Hessian) of
//! [`Network`]; Koh & Liang 2017, equation 2, with the sign of the other scores. One solve a query, or a group of queries where
//! nothing but groups is asked for, whose cost is that of products over all training images; then every training image meets the solutions of a block of queries ([`scoring`]).
//!
//! Influence of training images as queries is left out: it would take as many solves as there are training images.

mod asked;
mod memory;
mod on_device;
mod on_processor;
mod outputs;
mod part;
mod run;
mod scorer;
mod scoring;
mod shares;
mod unrolled;

pub use part::FineTunedPart;
pub use scoring::{RankError, ScoringPlan, ScoringRecord};
pub use shares::{SegmentShares, read_helpful_shares, write_shares};
pub use unrolled::{LARGEST_WAY_BACK_GROWTH, ROUGH, Unrolled, WAY_BACK_GROWTH};

use super::{Grouping, Groups, Progress, RankSummary};
use crate::derivative::network::Curvature;
use crate::solve::{Method, Settings};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// One side: what enters the fine-tuned blocks, and the images' ids in their data set.
pub struct NetworkImages<'a, E> {
    /// Activations and labels.
    pub examples: &'a E,
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
    /// Groups of queries that are ranked too, by the means of their scores.
    pub query_groups: Option<Grouping>,
    /// Whether nothing but these groups is ranked: a solve for each group in place of one for each query.
    pub groups_only: bool,
    /// Groups of training images that are scored as a whole too, by position.
    pub train_groups: Option<Groups>,
    /// Whether the full matrix is written too.
    pub scores: bool,
    /// Whether the shares of head and blocks in the ranked scores are written too.
    pub shares: bool,
    /// The rank to which solutions may be approximated where that makes scoring cheaper; none for exact products.
    pub query_rank: Option<usize>,
    /// Bytes that the work may take on the processor, beside program, model and images.
    pub memory: u64,
    /// How long after finished queries were recorded, for a killed run to go on from, the next are; of no effect on numbers.
    pub record_every: Duration,
}

/// A run through the blocks, on the processor with a [`Network`](crate::derivative::network::Network), on a device with a
/// [`DeviceNetwork`](crate::derivative::network::DeviceNetwork).
pub struct NetworkJob<'a, N: FineTunedPart> {
    /// The fine-tuned part.
    pub network: &'a N,
    /// The images it was fine-tuned on.
    pub train: NetworkImages<'a, N::Examples>,
    /// The images whose predictions are to be explained.
    pub test: NetworkImages<'a, N::Examples>,
    /// What decides the numbers.
    pub options: NetworkOptions,
    /// The classes' names, by which groups are called.
    pub classes: &'a [String],
    /// SHA-256 of what went in, by role.
    pub digests: BTreeMap<String, String>,
}

impl NetworkOptions {
    /// The same with another method.
    #[must_use]
    pub fn solved_by(&self, method: Method) -> Self {
        let mut options = self.clone();
        options.solver.method = method;
        options
    }

    /// The same with the method that `auto` stands for with so many training images and queries.
    #[must_use]
    pub fn resolved(&self, part: &impl FineTunedPart, counts: (usize, usize)) -> Self {
        match self.solver.method {
            Method::Auto => self.solved_by(part.auto_method(self, counts)),
            _ => self.clone(),
        }
    }

    /// Refuses what does not go together, or is not there where `N` is computed.
    ///
    /// # Errors
    /// Names the option.
    pub fn check<N: FineTunedPart>(&self) -> Result<()> {
        N::check(self)?;
        self.solver.check()?;
        if self.groups_only {
            let refused = [
                (
                    "query-groups",
                    self.query_groups.is_none(),
                    "says which groups --groups-only ranks: give all, class, confusion or a CSV file",
                ),
                (
                    "scores",
                    self.scores,
                    "are those of queries: leave out it or --groups-only",
                ),
                (
                    "shares",
                    self.shares,
                    "are of ranked scores of queries: leave out it or --groups-only",
                ),
            ];
            if let Some((option, _, reason)) = refused.into_iter().find(|(_, wrong, _)| *wrong) {
                return Err(Error::config(option, reason));
            }
        }
        if self.query_rank == Some(0) {
            let reason = "0 leaves nothing of a solution; give a number or leave it out";
            return Err(Error::config("query-rank", reason));
        }
        Ok(())
    }
}

impl<N: FineTunedPart> NetworkJob<'_, N> {
    /// Scores all queries, or all groups of them, and writes `rankings.parquet` (not of groups alone), `solves.parquet` and, as the options ask for them, `scores.npy`,
    /// `shares.parquet`, `group_rankings.parquet`, `train_group_rankings.parquet` and `train_groups.parquet` into `folder`. A run that
    /// was killed goes on there after the last queries that it recorded.
    ///
    /// # Errors
    /// Input that does not fit, a solver that does not suit the curvature, a solve that diverged (by id), scores that are
    /// not finite, files that cannot be written. A solve that stops short of its tolerance is in the summary instead.
    pub fn run(&self, folder: &Path, progress: &mut dyn Progress) -> Result<RankSummary> {
        self.options.check::<N>()?;
        self.run_checked(folder, progress)
    }

    /// The same scores by the way back through training in place of a curvature, its inverse and the options for them; there is no
    /// `solves.parquet`.
    ///
    /// # Errors
    /// As [`NetworkJob::run`]; a way back that grows beyond all numbers.
    pub fn run_unrolled(
        &self,
        unrolled: &mut Unrolled<N>,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<RankSummary> {
        self.options.check::<N>()?;
        self.run_unrolled_checked(unrolled, folder, progress)
    }
}
