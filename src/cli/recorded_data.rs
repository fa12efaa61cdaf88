//! The images that an earlier run was made from, where they are unchanged, with the labels it gave them.

use crate::artefact::RunRecord;
use crate::data::{Dataset, NewLabels};
use crate::{Error, Result};

/// The result in `run.json` that holds labels other than those of the training file.
pub(super) const RELABELLED: &str = "relabelled";

/// The data set of that role, `train` or `test`.
pub(super) fn recorded_data(record: &RunRecord, role: &str) -> Result<Dataset> {
    let input = record.input(role).ok_or_else(|| {
        let file = record.folder.join("run.json");
        let place = format!("inputs, role {role}");
        let remedy = format!("run ascribe {} again", record.command);
        Error::format(&file, place, "a data set", "none", remedy)
    })?;
    let images = Dataset::open(&input.path)?;
    if images.digest() != input.digest {
        let reason = format!("has changed since {} was made", record.folder.display());
        let remedy = format!(
            "put the original back, or run ascribe {} again",
            record.command
        );
        return Err(Error::Conflict {
            path: input.path.clone(),
            reason,
            remedy,
        });
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
