//! `ascribe evaluate`: refits against independent ones, the published numbers, and the command end to end.

mod command;
#[path = "../command_line/mod.rs"]
mod command_line;
#[path = "../feature_archive/mod.rs"]
mod feature_archive;
#[path = "../killed/mod.rs"]
mod killed;
mod mnist;
#[path = "../parquet_table/mod.rs"]
mod parquet_table;
mod published;
mod refits;
#[path = "../run_record/mod.rs"]
mod run_record;
mod scatter;
#[path = "../sets/mod.rs"]
mod sets;
mod through_blocks;
mod trained_again;

use ascribe::derivative::head::SoftmaxHead;
use ascribe::evaluate::Setting;
use sets::Set;
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
