//! How much of an audit is measured, and the transfers that are trained again for it.

use super::open::Opened;
use crate::audit::{
    Lists, MeasureOptions, Retraining, Subject, Through, Trainings, is_unrolled, worth_measuring,
};
use crate::cli::counting::Counting;
use crate::cli::transfer::transfer_behind;
use crate::evaluate::TransferAgain;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Test images that the head is fitted again for, where no other number is asked for.
const BY_REFITS: usize = 50;
/// Those that an unrolled transfer is trained again for: a few of the ways back that the run took, at two trainings each.
const BY_TRAINING: usize = 8;
/// Groups of training images that heads are fitted without at most.
const GROUPS: usize = 20;

/// The number of test images that takes effect, to be recorded: none where runs have different ones.
pub(super) fn recorded(asked: Option<usize>, runs: &[Opened]) -> Option<usize> {
    let all_heads = runs.iter().all(|run| run.recorded.through_blocks.is_none());
    asked.or(all_heads.then_some(BY_REFITS))
}

/// What `--measure`, `--removed` and `--skip-held-out` ask for; nothing of groups where no run scored any.
pub(super) fn options(
    (asked, removed, skip_held_out): (Option<usize>, usize, bool),
    subjects: &[Subject],
    lists: &Lists,
) -> MeasureOptions {
    let count = asked.unwrap_or(BY_REFITS);
    let all = lists.queries.iter().map(|image| image.id).collect();
    let has_groups = subjects.iter().any(|subject| subject.groups.is_some());
    MeasureOptions {
        queries: worth_measuring(subjects, &all, count),
        removed,
        held_out: !skip_held_out,
        groups: if has_groups && count > 0 { GROUPS } else { 0 },
    }
}

/// The transfer behind the run `at` this place, to be trained again for some of `queries`, in the batches that it had, where that is asked
/// for; where it cannot be had, that is told. Heads are fitted again.
pub(super) fn retraining(
    subjects: &[Subject],
    at: usize,
    (asked, queries): (Option<usize>, &BTreeSet<usize>),
) -> Retraining {
    let subject = &subjects[at];
    let usual = match subject.through {
        Through::Blocks { .. } if is_unrolled(subject.record) => BY_TRAINING,
        _ => 0,
    };
    let count = asked.unwrap_or(usual);
    if count == 0 || matches!(subject.through, Through::Head) {
        return Retraining::NotAskedFor;
    }
    let queries = worth_measuring(subjects, queries, count);
    let queries: Vec<usize> = queries.into_iter().collect();
    let images = (subject.job.train.ids, &queries[..]);
    match transfer_behind(subject.record, images, 1, "measure") {
        Ok(transfer) => {
            let counting = Mutex::new(Counting::new("trained again", "times"));
            Retraining::Of(Box::new(Trainings {
                transfer: TransferAgain {
                    keep_batches: true,
                    ..transfer
                },
                name: format!("trained-{at}"),
                done: Box::new(move |done, total| {
                    let counting = counting.lock();
                    let mut counting = counting.unwrap_or_else(|broken| broken.into_inner());
                    counting.show(done, total);
                }),
            }))
        }
        Err(reason) => {
            note!(
                "ascribe: nothing is measured of {}, whose transfer cannot be trained again: {reason}",
                subject.name
            );
            Retraining::Impossible(reason.to_string())
        }
    }
}
