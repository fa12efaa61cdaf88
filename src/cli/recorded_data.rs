//! The images and the model that an earlier run was made from, where they are unchanged; images with the labels it gave them.

use super::rank::query_labels;
use crate::artefact::{Input, RunRecord, digest_file, leads_somewhere};
use crate::data::{Dataset, Features, NewLabels, RELABELLED, is_built_in};
use crate::influence::Measurement;
use crate::model::{ResNet, read_model};
use crate::{Error, Result};
use candle_core::Device;
use std::path::Path;

/// The data set of that role, `train` or `test`.
pub(super) fn recorded_data(record: &RunRecord, role: &str) -> Result<Dataset> {
    let input = recorded(record, role)?;
    check_there(record, &input.path)?;
    if Features::recognises(&input.path) {
        let features = input.path.display();
        let reason = format!("was made from features, {features}, and has no pictures");
        let remedy = "give a run that was made from images";
        return Err(Error::conflict(&record.folder, reason, remedy));
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
    Ok(record.result_if_any(RELABELLED)?.unwrap_or_default())
}

/// The model of a ranking, as it was.
pub(super) fn recorded_model(record: &RunRecord) -> Result<ResNet> {
    let input = recorded(record, "model")?;
    check_there(record, &input.path)?;
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

/// Refuses what the run was made from, by the path that leads there from here, where it is not there; what is built in is everywhere.
pub(super) fn check_there(record: &RunRecord, path: &Path) -> Result<()> {
    if is_built_in(path) || leads_somewhere(path) {
        return Ok(());
    }
    let (folder, directory) = (record.folder.display(), record.directory.display());
    let reason = format!("is not there any more: {folder} was made from it, in {directory}");
    let remedy = "put it back there, or say where it lies now: --moved OLD=NEW";
    Err(Error::conflict(path, reason, remedy))
}

/// The refusal of an input that is not what it was.
pub(super) fn changed(record: &RunRecord, input: &Input) -> Error {
    let (folder, command) = (record.folder.display(), &record.command);
    let reason = format!("has changed since {folder} was made");
    let remedy = format!("put the original back, or run ascribe {command} again");
    Error::conflict(&input.path, reason, remedy)
}
