//! Models made: trained, attacked, transferred, or taken up as they are.

mod adopt;
mod attack;
#[path = "../command_line/mod.rs"]
mod command_line;
#[path = "../killed/mod.rs"]
mod killed;
#[path = "../pytorch_fixture/mod.rs"]
mod pytorch_fixture;
mod robust_training;
#[path = "../run_record/mod.rs"]
mod run_record;
mod transfer;

pub(crate) const DIGITS: &str = "--train builtin:digits-train --test builtin:digits-test";
