//! The transfer behind the run, trained again on each subset (`--retrain`).

use super::Evaluate;
use super::subject::Subject;
use crate::artefact::RunFolder;
use crate::cli::recorded_data::{changed, recorded, recorded_data};
use crate::cli::transfer::transfer_again;
use crate::evaluate::TransferAgain;
use crate::{Error, Result};
use std::path::Path;

/// The transfer, with the run's training images and queries.
pub(super) fn open(evaluate: &Evaluate, subject: &Subject, seeds: usize) -> Result<TransferAgain> {
    let record = RunFolder::read(&evaluate.run)?;
    let Some(model) = record.input("model") else {
        let reason = "the run is of features, whose model is not known here; give a run of a transferred model (ascribe rank --model)";
        return Err(Error::config("retrain", reason));
    };
    let transfer = RunFolder::read(model.path.parent().unwrap_or(Path::new(".")))?;
    if transfer.command != "transfer" {
        let reason = "the run's model was trained elsewhere, and cannot be trained again here; leave it out, heads are fitted again instead";
        return Err(Error::config("retrain", reason));
    }
    let (transferred, ranked) = (recorded(&transfer, "train")?, recorded(&record, "train")?);
    if transferred.digest != ranked.digest {
        return Err(changed(&record, transferred));
    }
    // The queries may be others than the transfer's test images.
    let test = recorded_data(&record, "test")?;
    let mut again = transfer_again(&transfer, (&test, &subject.queries.ids), seeds)?;
    again.keep_batches = evaluate.asked.keep_batches;
    if again.train.ids() != subject.train.ids {
        return Err(changed(&record, model));
    }
    Ok(again)
}
