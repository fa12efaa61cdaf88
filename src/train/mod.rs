//! Training: source models (natural, adversarial) and transfer to a target set.

mod adversarial;
mod adversary;
mod attack;
mod checkpoint;
mod crew;
mod feed;
mod fit;
mod frozen_prefix;
mod guard;
mod history;
mod learner;
mod measure;
mod options;
mod radius;
mod recipe;
mod running_tally;
mod schedule;
mod session;
mod sgd;
mod state;
#[cfg(test)]
mod tests;
mod trajectory;
mod transfer;
mod waypoints;

pub use adversarial::{AdversarialTraining, Fast, Free};
pub use adversary::{Adversary, Norm, Start};
pub(crate) use attack::judged;
pub use attack::{Attack, Attacked};
pub use crew::Crew;
pub(crate) use fit::check_last_batch;
pub use fit::{Observer, Unobserved, fit, remove_checkpoint};
pub use guard::Check;
pub use history::Epoch;
pub use measure::Performance;
pub(crate) use options::usual_memory_bytes;
pub use options::{AugmentationName, RecipeOptions, TrainingPrecision, TransferOptions};
pub(crate) use radius::{check_epsilon, read_radius};
pub use recipe::{FrozenStatistics, Recipe};
pub use schedule::Schedule;
pub use sgd::Sgd;
pub use trajectory::{TrainingStep, Trajectory};
pub use transfer::{Transferred, transfer};
pub(crate) use waypoints::Waypoints;
