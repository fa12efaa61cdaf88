//! Scores and rankings of a head: against oracles, of whole groups, of small and large sets, and by `ascribe rank`.

mod agreement;
mod archives;
mod certificates;
mod command;
mod head_scores;
mod influence_oracle;
mod measurement;
mod scale;
mod singular;
mod small_sets;
mod train_groups;

pub(crate) use crate::run_record::scores;
