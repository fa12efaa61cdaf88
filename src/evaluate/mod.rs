//! Is the ranking true? Scores held against the head fitted again without the images they speak of.
//!
//! | question | where |
//! |---|---|
//! | what happens without these images? | [`FullFit`], [`Retrainer`], [`TransferAgain`], [`Retrained`]: refits of the head, trainings, and tables of measurements |
//! | does the ranking predict it, image by image and for random halves? | [`Agreement`]: leave-one-out, LDS |
//! | what happens without a whole group of images? | [`GroupsLeftOut`] |
//! | what when the best are taken away, or alone are kept? | [`RemovalPlan`], [`RemovalCurve`] |
//! | does it find what was planted, and change when the model does? | [`Planted`], [`Detection`], [`Copies`], [`OwnClass`] |
//! | what do two models' rankings of the same queries have in common? | [`PairedRankings`] |
//! | is another method better? | [`Estimator`] and its implementations, [`Difference`] |
//!
//! Every number has a 95 % interval, by bootstrap or, of shares, by Wilson, and the number of retrainings behind it; the mean of one query has
//! none, nor has a randomisation, of one draw. Randomness comes from a seed and an index.

mod agreement;
mod bootstrap;
mod comparison;
mod detection;
mod estimator;
mod full_fit;
mod heads;
mod held_out;
mod left_out_groups;
mod own_curvature;
mod paired;
mod planted;
mod quasi_newton;
mod refit;
mod removal;
mod retrained;
mod retrained_file;
mod sanity;
mod share;
mod subsets;
mod table;
mod transfer_again;

pub use agreement::{Agreement, Difference};
pub use bootstrap::{Bootstrap, Interval};
pub use comparison::{ComparedEstimator, Comparison};
pub use detection::{BUDGETS, Detection};
pub use estimator::{
    Estimate, Estimator, FeatureCosine, Fixed, Measured, NearestNeighbours, Ranked,
    RepresenterPoints, Setting, TracIn, Trak, measured, self_influence,
};
pub use full_fit::FullFit;
pub use heads::Kept;
pub use held_out::HeldOut;
pub use left_out_groups::{GroupLeftOut, GroupsLeftOut};
pub use paired::{PairedRankings, Pairing};
pub use planted::{Planted, copied, flipped, merged_classes, shuffled_labels};
pub use refit::{Refit, RefitOptions, Refitting, Work};
pub use removal::{RemovalCurve, RemovalPlan, RemovalPoint, Side, random_scores, usual_counts};
pub use retrained::{RefitEnd, Retrained, Retrainer, forget_recorded};
pub use retrained_file::Ids;
pub use sanity::{Copies, OwnClass, same_ranking};
pub(crate) use share::wilson;
pub use subsets::{Choose, left_out_alone, random_subsets};
pub use transfer_again::{SeedAgreement, TrainedAgain, TransferAgain};

/// Above this the norm of a loss's gradient is not small: what was trained is not at its minimum.
pub(crate) const SMALL_GRADIENT: f64 = 1e-3;
