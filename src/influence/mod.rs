//! Queries in, scores out.
//!
//! `score[query, train] = (1/n) ∇m(query)ᵀ (H + λI)⁻¹ ∇ℓ(train)` in nats, n the number of training images, ℓ the
//! cross-entropy at the given label, m the measurement (the query's own loss), H the curvature of the mean training
//! loss including its L2 term. **Positive = helpful**: leaving the training image out is predicted to raise the query's
//! loss by that much. It is −(1/n)·I_up,loss of Koh & Liang (2017, equation 2), and with [`Pinv`](crate::solve::Pinv) the entry
//! of `test_gradients @ H_inv @ train_gradients.T` of Utrera et al. (2020), whose H is the sum of which ours is the mean. ∇ℓ(train) is
//! the data term alone, so that the score is about leaving out one term of the mean loss, the L2 term staying as it is.
//!
//! [`Scoring`] streams the scores in blocks, addressed by (query range, training range), into [`ScoreSink`]s: the best
//! ranks, the full matrix on disk or in memory, the diagonal, sums over groups of training images. [`RankJob`] does a whole run.

mod certificate;
mod certified;
mod checkpoint;
mod damping_path;
mod diagonal;
mod examples;
mod faint;
mod group_scores;
mod groups;
mod job;
mod leverage;
mod matrix;
mod measurement;
mod normalise;
mod options;
mod pass;
mod placement;
mod plan;
mod prepared;
mod provenance;
mod query_group_scores;
mod query_groups;
mod rankings;
mod recorded_solves;
mod scores;
mod side_by_side;
mod sink;
mod solves;
mod stored;
mod stored_groups;
mod table;
#[cfg(test)]
mod tests;
mod through_blocks;
mod top;
mod undamped;

pub use certificate::{Certificate, Certified, CertifiedRanks, EqualImages};
pub use certified::{Certification, CertifiedScores, RankedQueries};
pub use damping_path::{
    AGREEMENT, CONVERGED, DampingPath, DampingPoint, PERSISTENCE, PathOptions, Suggestion, jaccard,
    rank_biased_overlap,
};
pub use diagonal::{Diagonal, read_self_influence, write_self_influence};
pub use examples::{Examples, FeatureSet};
pub use group_scores::{GroupScores, write_group_scores};
pub use groups::{Aside, Grouped, Grouping, Groups};
pub use job::{Progress, RankJob, RankSummary};
pub use leverage::corrected;
pub use matrix::{ScoreFile, ScoreMatrix};
pub use measurement::Measurement;
pub use normalise::Normalise;
pub use options::{Correction, RankOptions};
pub use pass::Certified as CertifiedShare;
pub use placement::placed;
pub use plan::{Plan, ProblemSize, product_rate, resident_limit};
pub use prepared::Prepared;
pub use provenance::{NATS, Provenance};
pub use query_group_scores::QueryGroupScores;
pub use query_groups::{GroupRanking, write_group_rankings};
pub use rankings::{Images, QueryRanking, RankedImage, read_rankings, write_rankings};
pub(crate) use recorded_solves::RecordedSolves;
pub use scores::{BlockSizes, Chosen, Kept, Queries, Scoring};
pub use sink::{
    ExtremeBlock, ExtremeSink, ORIENTATION, SIGN, ScoreBlock, ScoreHeader, ScoreSink, SinkState,
};
pub use solves::{Solves, write_solves};
pub use stored::StoredScores;
pub use stored_groups::{StoredGroup, StoredGroups};
pub use through_blocks::{
    FineTunedPart, LARGEST_WAY_BACK_GROWTH, NetworkImages, NetworkJob, NetworkOptions, ROUGH,
    RankError, ScoringPlan, ScoringRecord, SegmentShares, Unrolled, WAY_BACK_GROWTH,
    read_helpful_shares, write_shares,
};
pub use top::TopRanks;
