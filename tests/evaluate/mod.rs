//! `ascribe evaluate`: refits against independent ones, the published numbers, and the command end to end.

mod command;
mod kept_batches;
mod mnist;
mod published;
mod refits;
mod scatter;
mod through_blocks;
mod trained_again;

use crate::sets::Set;
use ascribe::derivative::head::SoftmaxHead;
use ascribe::evaluate::Setting;
use std::path::Path;

pub(crate) fn setting<'a>(
    train: &'a Set,
    queries: &'a Set,
    head: &'a SoftmaxHead,
    l2: f64,
    scratch: &'a Path,
) -> Setting<'a> {
    Setting {
        train: train.set(),
        queries: queries.set(),
        head,
        l2,
        scratch,
    }
}
