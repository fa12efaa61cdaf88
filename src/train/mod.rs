//! Training: source models (natural, adversarial) and transfer to a target set.

mod adversarial;
mod adversary;
mod attack;
mod checkpoint;
mod feed;
mod fit;
mod frozen_prefix;
mod guard;
mod history;
mod learner;
mod measure;
mod recipe;
mod schedule;
mod session;
mod sgd;
mod state;
#[cfg(test)]
mod tests;

pub use adversarial::{AdversarialTraining, Fast, Free};
pub use adversary::{Adversary, Norm, Start};
pub use attack::{Attack, Attacked};
pub use fit::{Observer, fit, remove_checkpoint};
pub use guard::Check;
pub use history::{Epoch, write_history};
pub use measure::Performance;
pub use recipe::{FrozenStatistics, Recipe};
pub use schedule::Schedule;
pub use sgd::Sgd;
