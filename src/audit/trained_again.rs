//! Predictions held against training again: scores through residual blocks, and by the way back through training.
//!
//! What fitting a head again is to scores of the head, training the transfer again is to these: the scores of a query's most helpful images
//! add up to the predicted rise of its loss, and the same training without their losses gives the measured one. Batches, their moments,
//! order, augmentation and the first head stay, so that one training says what the images did in the transfer itself and no other order
//! stands between ([`TransferAgain::keep_batches`]).

use super::measured::{Measured, Taken, most_helpful};
use super::subject::Subject;
use crate::evaluate::{Kept, TransferAgain};
use crate::report::Removal;
use crate::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Whether the transfer behind a run is trained again.
pub enum Retraining {
    /// It is not asked for.
    NotAskedFor,
    /// It cannot be had, for this reason.
    Impossible(String),
    /// It is.
    Of(Box<Trainings>),
}

/// The transfer behind a run, to be trained again.
pub struct Trainings {
    /// The transfer, the run's training images in their order, and the queries that are measured.
    pub transfer: TransferAgain,
    /// What files of finished trainings are called, which a killed audit goes on after.
    pub name: String,
    /// Is told how many trainings, of how many, are done.
    pub done: Box<dyn Fn(usize, usize) + Sync>,
}

/// Trains once on all images, and once for each query without the losses of its `removed` most helpful images; nothing where that is not
/// asked for. What stands in the way, a training that diverges too, is a finding: such runs have a page as well.
pub(super) fn measure(
    subject: &Subject,
    retraining: &Retraining,
    removed: usize,
    folder: &Path,
) -> Result<Option<Measured>> {
    let failed = |reason| Measured {
        failed: Some(reason),
        ..Measured::default()
    };
    let trainings = match retraining {
        Retraining::NotAskedFor => return Ok(None),
        Retraining::Impossible(reason) => return Ok(Some(failed(reason.clone()))),
        Retraining::Of(trainings) => trainings,
    };
    let (queries, training) = (trainings.transfer.queries.ids(), subject.job.train.ids);
    let taken = most_helpful(subject.rankings, (queries, training), removed)?;
    if taken.is_empty() {
        let reason =
            "there are no helpful images to leave out (--removed, --top, or no positive score)";
        return Ok(Some(failed(reason.into())));
    }
    match trained(&taken, trainings, training.len(), folder) {
        Ok(rises) => Ok(Some(of_rises(subject, queries, &taken, &rises))),
        Err(diverged @ Error::Diverged { .. }) => Ok(Some(failed(diverged.to_string()))),
        Err(other) => Err(other),
    }
}

/// The rise of each query's loss, in nats.
fn trained(
    taken: &[Taken],
    trainings: &Trainings,
    images: usize,
    folder: &Path,
) -> Result<Vec<f64>> {
    let kept = taken
        .iter()
        .map(|taken| Kept::without(images, &taken.images));
    let kept: Vec<Kept> = kept.collect();
    let (name, done) = (&trainings.name, &trainings.done);
    let table = (trainings.transfer.table(folder, name, &kept, done)?).retrained;
    let rise = |(index, taken): (usize, &Taken)| {
        table.losses[[index, taken.query]] - table.before[taken.query]
    };
    Ok(taken.iter().enumerate().map(rise).collect())
}

fn of_rises(subject: &Subject, queries: &[usize], taken: &[Taken], rises: &[f64]) -> Measured {
    let positions: HashMap<usize, usize> = subject.job.test.ids.iter().copied().zip(0..).collect();
    let removal = |(taken, &measured): (&Taken, &f64)| {
        let removal = Removal {
            images: taken.images.len(),
            predicted: taken.predicted,
            measured,
            converged: None,
        };
        (positions[&queries[taken.query]], removal)
    };
    Measured {
        removals: taken.iter().zip(rises).map(removal).collect(),
        refits: taken.len(),
        ..Measured::default()
    }
}
