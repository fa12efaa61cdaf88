//! Training: source models (natural, adversarial) and transfer to a target set.

mod adversary;
mod checkpoint;
mod fit;
mod history;
mod measure;
mod options;
mod schedule;
mod sgd;
#[cfg(test)]
mod tests;
mod transfer;

pub use adversary::{Adversary, Norm};
pub use fit::{FrozenStatistics, Observer, Recipe, Unobserved, fit, remove_checkpoint};
pub use history::{Epoch, write_history};
pub use measure::{EVALUATION_BATCH, Performance};
pub use options::{AugmentationName, RecipeOptions, TransferOptions, effective};
pub use schedule::Schedule;
pub use sgd::Sgd;
pub use transfer::{Transferred, transfer};
