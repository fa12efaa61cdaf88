//! How much of an audit is measured, and the transfers that are trained again for it.

use crate::audit::{
    Lists, MeasureOptions, Subject, Through, Trainings, is_unrolled, worth_measuring,
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

/// The transfer behind the run `at` this place, to be trained again for some of `queries`, in the batches that it had; nothing of a run
/// whose head is fitted again, where none is asked for, or where it cannot be had, which is told.
pub(super) fn trainings(
    subjects: &[Subject],
    at: usize,
    (asked, queries): (Option<usize>, &BTreeSet<usize>),
) -> Option<Trainings> {
    let subject = &subjects[at];
    let usual = match subject.through {
        Through::Blocks { .. } if is_unrolled(subject.record) => BY_TRAINING,
        _ => 0,
    };
    let count = asked.unwrap_or(usual);
    if count == 0 || matches!(subject.through, Through::Head) {
        return None;
    }
    let queries = worth_measuring(subjects, queries, count);
    let queries: Vec<usize> = queries.into_iter().collect();
    let images = (subject.job.train.ids, &queries[..]);
    match transfer_behind(subject.record, images, 1, "measure") {
        Ok(transfer) => {
            let counting = Mutex::new(Counting::new("trained again", "times"));
            Some(Trainings {
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
            })
        }
        Err(reason) => {
            note!(
                "ascribe: nothing is measured of {}, whose transfer cannot be trained again: {reason}",
                subject.name
            );
            None
        }
    }
}
