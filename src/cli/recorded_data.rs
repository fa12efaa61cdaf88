//! The images and the model that an earlier run was made from, where they are unchanged; images with the labels it gave them.

use super::rank::query_labels;
use crate::artefact::{Input, RunRecord, digest_file, leads_somewhere};
use crate::data::{Dataset, Features, NewLabels, RELABELLED};
use crate::influence::Measurement;
use crate::model::{ResNet, read_model};
use crate::{Error, Result};
use candle_core::Device;

/// The data set of that role, `train` or `test`.
pub(super) fn recorded_data(record: &RunRecord, role: &str) -> Result<Dataset> {
    let input = recorded(record, role)?;
    check_there(record, input)?;
    if Features::recognises(&input.path) {
        return Err(Error::Conflict {
            path: record.folder.clone(),
            reason: format!(
                "was made from features, {}, and has no pictures",
                input.path.display()
            ),
            remedy: "give a run that was made from images".into(),
        });
    }
    let given = (record.options.get("test")).is_some_and(|path| !path.is_null());
    let images = match Measurement::of(record) {
        Measurement::Prediction if role == "test" && given => {
            let classes = record.classes.as_deref().unwrap_or_default();
            Dataset::open_unlabelled(&input.path, classes)?
        }
        _ => Dataset::open(&input.path)?,
    };
    if images.digest() != input.digest {
        return Err(changed(record, input));
    }
    match role {
        "train" => images.relabelled(&relabelled(record)?),
        _ => images.relabelled(&query_labels(record)?),
    }
}

/// Labels other than those of the training file, by id; none where the run gave no others.
pub(super) fn relabelled(record: &RunRecord) -> Result<NewLabels> {
    match record.results.contains_key(RELABELLED) {
        true => record.result(RELABELLED),
        false => Ok(NewLabels::new()),
    }
}

/// The model of a ranking, as it was.
pub(super) fn recorded_model(record: &RunRecord) -> Result<ResNet> {
    let input = recorded(record, "model")?;
    check_there(record, input)?;
    if digest_file(&input.path)? != input.digest {
        return Err(changed(record, input));
    }
    read_model(&input.path, &Device::Cpu)
}

/// What the run says of an input.
pub(super) fn recorded<'a>(record: &'a RunRecord, role: &str) -> Result<&'a Input> {
    record.input(role).ok_or_else(|| {
        let file = record.folder.join("run.json");
        let place = format!("inputs, role {role}");
        let remedy = format!("run ascribe {} again", record.command);
        Error::format(&file, place, "a path", "none", remedy)
    })
}

/// Refuses an input that is not where it was; built-in ones are everywhere.
fn check_there(record: &RunRecord, input: &Input) -> Result<()> {
    let is_built_in = (input.path.to_str()).is_some_and(|path| path.starts_with("builtin:"));
    if is_built_in || leads_somewhere(&input.path) {
        return Ok(());
    }
    Err(Error::Conflict {
        path: input.path.clone(),
        reason: format!(
            "is not there any more: {} was made from it, in {}",
            record.folder.display(),
            record.directory.display()
        ),
        remedy: "put it back there, or say where it lies now: --moved OLD=NEW".into(),
    })
}

/// The refusal of an input that is not what it was.
pub(super) fn changed(record: &RunRecord, input: &Input) -> Error {
    Error::Conflict {
        path: input.path.clone(),
        reason: format!("has changed since {} was made", record.folder.display()),
        remedy: format!(
            "put the original back, or run ascribe {} again",
            record.command
        ),
    }
}
