//! The transfer behind the run, trained again on each subset (`--retrain`).

use super::Evaluate;
use super::subject::Subject;
use crate::Result;
use crate::artefact::RunFolder;
use crate::cli::transfer::transfer_behind;
use crate::evaluate::TransferAgain;

/// The transfer, with the run's training images and queries.
pub(super) fn open(evaluate: &Evaluate, subject: &Subject, seeds: usize) -> Result<TransferAgain> {
    let record = RunFolder::read(&evaluate.run)?;
    let images = (&subject.train.ids[..], &subject.queries.ids[..]);
    let mut again = transfer_behind(&record, images, seeds, "retrain")?;
    again.keep_batches = evaluate.asked.keep_batches;
    Ok(again)
}
