//! A finished transfer, to be had again on fewer images.

use super::Transfer;
use crate::artefact::{RunFolder, RunRecord};
use crate::cli::recorded_data::{changed, check_there, recorded, recorded_data};
use crate::cli::recorded_options::parsed;
use crate::data::{Dataset, Pixels, Transform};
use crate::evaluate::TransferAgain;
use crate::{Error, Result};
use clap::Parser;
use std::path::Path;

/// Options that say which images were trained on, which the record's results say too.
const LEFT_ASIDE: [&str; 4] = ["images", "exclude", "relabel", "flip-labels"];

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    transfer: Transfer,
}

/// The transfer behind a finished run of `ascribe rank` on the images `train`, measured at its test images `queries`; `option` asks for
/// it.
///
/// # Errors
/// A run of features, a model that was trained elsewhere, a source or data that have changed or gone, or a
/// device that is not there.
pub(in crate::cli) fn transfer_behind(
    record: &RunRecord,
    (train, queries): (&[usize], &[usize]),
    seeds: usize,
    option: &'static str,
) -> Result<TransferAgain> {
    let Some(model) = record.input("model") else {
        let reason = "the run is of features, whose model is not known here; give a run of a transferred model (ascribe rank --model), or leave it out";
        return Err(Error::config(option, reason));
    };
    let transfer = RunFolder::read(model.path.parent().unwrap_or(Path::new(".")))?;
    if transfer.command != "transfer" {
        let reason =
            "the run's model was trained elsewhere, and cannot be trained again here; leave it out";
        return Err(Error::config(option, reason));
    }
    let (transferred, ranked) = (recorded(&transfer, "train")?, recorded(record, "train")?);
    if transferred.digest != ranked.digest {
        return Err(changed(record, transferred));
    }
    // The queries may be others than the transfer's test images.
    let test = recorded_data(record, "test")?;
    let again = transfer_again(&transfer, (&test, queries), seeds)?;
    again.options.recipe.device.open()?;
    match again.train.ids() == train {
        true => Ok(again),
        false => Err(changed(record, model)),
    }
}

/// The transfer of this record, whose source and data must be as they were; to be trained with `seeds` seeds and measured at
/// images of `test`, the queries.
pub(in crate::cli) fn transfer_again(
    record: &RunRecord,
    (test, queries): (&Dataset, &[usize]),
    seeds: usize,
) -> Result<TransferAgain> {
    let mut transfer = parsed::<Words>(record, |name| LEFT_ASIDE.contains(&name))?.transfer;
    transfer.source.locate(record);
    let known = recorded(record, "source")?;
    check_there(record, &known.path)?;
    let source = transfer.source.backbone()?;
    if known.digest != source.input.digest {
        return Err(changed(record, known));
    }
    let train = recorded_data(record, "train")?;
    let ids: Vec<usize> = record.result("train_ids")?;
    let framing = source.model.framing();
    // The other half is for what frozen layers give.
    let quarter = transfer.options.recipe.memory_bytes() / 4;
    let pixels =
        |set, ids: &[usize]| Pixels::within(set, ids, Transform::default(), framing, quarter);
    Ok(TransferAgain {
        classes: train.classes().to_vec(),
        options: transfer.options,
        train: pixels(&train, &ids)?,
        queries: pixels(test, queries)?,
        source: source.model,
        seeds,
        keep_batches: false,
    })
}
