//! Runs that were finished before: taken as they are, if their folders are as they were left.

use super::Job;
use super::run::{Outcome, folder};
use crate::artefact::{Condition, RunRecord, Status, csv_bytes, file_names, left_files, read_json};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;

const AGAIN: &str = "put back what was there, or remove the folder: its run is then done again";

/// The outcome of a run that is finished already; with its model, where models are kept.
///
/// # Errors
/// Its folder is not as it was left.
pub(super) fn finished(out: &Path, job: &Job, keep_models: bool) -> Result<Option<Outcome>> {
    let folder = folder(out, job);
    let file = folder.join("run.json");
    if !file.exists() {
        let files = if folder.exists() {
            file_names(&folder)?
        } else {
            BTreeSet::new()
        };
        return match files.first() {
            Some(name) => Err(altered(&folder, format!("holds {name} and no run.json"))),
            None => Ok(None),
        };
    }
    let record: RunRecord =
        read_json(&file).map_err(|_| altered(&folder, "holds a run.json that is damaged"))?;
    if record.status != Status::Finished {
        return Ok(None);
    }
    let outcome = Outcome {
        history: record.result("history")?,
        diverged: record.result("diverged")?,
        seconds: record.seconds,
    };
    check(&folder, &outcome)?;
    let wanted = keep_models && job.candidate.is_none() && outcome.diverged.is_none();
    let lacks_model = wanted && !folder.join("model.safetensors").exists();
    Ok((!lacks_model).then_some(outcome))
}

/// Files by the digests that were noted of them; the history, which has none, by the table that was written of it. A model may be gone.
fn check(folder: &Path, outcome: &Outcome) -> Result<()> {
    for file in left_files(&folder.join("run.json"))? {
        let reason = match file.condition {
            Condition::AsLeft => continue,
            Condition::Gone if file.name == "model.safetensors" => continue,
            Condition::Gone => "is gone",
            Condition::Changed => "is not what its run left",
        };
        return Err(altered(folder, format!("{} {reason}", file.name)));
    }
    let table = folder.join("training.csv");
    if outcome.diverged.is_none() && table.exists() {
        let text = std::fs::read(&table).map_err(Error::io(&table, "read"))?;
        if !csv_bytes(None, &outcome.history).is_ok_and(|expected| expected == text) {
            let reason = "run.json and training.csv tell different histories";
            return Err(altered(folder, reason));
        }
    }
    Ok(())
}

fn altered(folder: &Path, reason: impl Into<String>) -> Error {
    Error::conflict(folder, reason, AGAIN)
}
