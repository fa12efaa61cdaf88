//! Predictions held against training again: scores through residual blocks, and by the way back through training.
//!
//! What fitting a head again is to scores of the head, training the transfer again is to these: the scores of a query's most helpful images
//! add up to the predicted rise of its loss, and the same training without their losses gives the measured one. Batches, their moments,
//! order, augmentation and the first head stay, so that one training says what the images did in the transfer itself and no other order
//! stands between ([`TransferAgain::keep_batches`]).

use super::measured::{Measured, Taken, most_helpful};
use super::subject::Subject;
use crate::Result;
use crate::evaluate::{Kept, TransferAgain};
use crate::report::Removal;
use std::collections::HashMap;
use std::path::Path;

/// The transfer behind a run, to be trained again.
pub struct Trainings {
    /// The transfer, the run's training images in their order, and the queries that are measured.
    pub transfer: TransferAgain,
    /// What files of finished trainings are called, which a killed audit goes on after.
    pub name: String,
    /// Is told how many trainings, of how many, are done.
    pub done: Box<dyn Fn(usize, usize) + Sync>,
}

/// Trains once on all images, and once for each query without the losses of its `removed` most helpful images; nothing where no query has
/// helpful images.
pub(super) fn measure(
    subject: &Subject,
    trainings: &Trainings,
    removed: usize,
    folder: &Path,
) -> Result<Option<Measured>> {
    let (queries, training) = (trainings.transfer.queries.ids(), subject.job.train.ids);
    let taken = most_helpful(subject.rankings, (queries, training), removed)?;
    if taken.is_empty() {
        return Ok(None);
    }
    let without = |taken: &Taken| Kept::without(training.len(), &taken.images);
    let kept: Vec<Kept> = taken.iter().map(without).collect();
    let Trainings {
        transfer,
        name,
        done,
    } = trainings;
    let table = transfer.table(folder, name, &kept, done)?.retrained;
    let positions: HashMap<usize, usize> = subject.job.test.ids.iter().copied().zip(0..).collect();
    let removal = |(index, taken): (usize, &Taken)| {
        let row = taken.query;
        let removal = Removal {
            images: taken.images.len(),
            predicted: taken.predicted,
            measured: table.losses[[index, row]] - table.before[row],
            converged: true,
            trained: true,
        };
        (positions[&queries[row]], removal)
    };
    Ok(Some(Measured {
        removals: taken.iter().enumerate().map(removal).collect(),
        refits: kept.len(),
        ..Measured::default()
    }))
}
