//! Scores and rankings of a head: against oracles, of whole groups, of small and large sets, and by `ascribe rank`.

mod certificates;
mod command;
mod influence_oracle;
#[path = "../killed_run/mod.rs"]
mod killed_run;
mod measurement;
mod scale;
mod small_sets;
mod train_groups;
