//! Models made: trained, attacked, transferred, or taken up as they are.

mod adopt;
mod attack;
mod robust_training;
mod transfer;

pub(crate) const DIGITS: &str = "--train builtin:digits-train --test builtin:digits-test";
