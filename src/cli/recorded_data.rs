//! The images and the model that an earlier run was made from, where they are unchanged; images with the labels it gave them.

use crate::artefact::{Input, RunRecord, digest_file};
use crate::data::{Dataset, NewLabels, RELABELLED};
use crate::model::{ResNet, read_model};
use crate::{Error, Result};
use candle_core::Device;

/// The data set of that role, `train` or `test`.
pub(super) fn recorded_data(record: &RunRecord, role: &str) -> Result<Dataset> {
    let input = recorded(record, role)?;
    let images = Dataset::open(&input.path)?;
    if images.digest() != input.digest {
        return Err(changed(record, input));
    }
    match role {
        "train" => images.relabelled(&relabelled(record)?),
        _ => Ok(images),
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
