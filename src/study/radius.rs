//! The radius that a source is robust within, as the spec has it and as its training recorded it.

use super::{SourceSpec, Spec};
use crate::artefact::{DIGESTS, Input, RunFolder, RunRecord, folder_of};
use crate::train::Norm;
use crate::{Error, Result};
use serde_json::Value;

/// Holds the ε of a source to that which `ascribe train` made it robust within, where its folder says so.
pub(super) fn check_radius(spec: &Spec, source: &SourceSpec, input: &Input) -> Result<()> {
    let folder = folder_of(&input.path);
    // What lies beside weights from elsewhere may be anything.
    let record = RunFolder::read(folder).ok();
    let name = input.path.file_name().unwrap_or_default().to_string_lossy();
    let left_it = |record: &RunRecord| {
        let left = record
            .results
            .get(DIGESTS)
            .and_then(|files| files.get(&*name));
        record.command == "train" && left.and_then(Value::as_str) == Some(&input.digest)
    };
    let Some(record) = record.filter(left_it) else {
        return Ok(());
    };
    let norm = record.options.get("adversary").cloned();
    let norm: Option<Norm> = norm.and_then(|norm| serde_json::from_value(norm).ok());
    let epsilon = record.options.get("epsilon").and_then(Value::as_f64);
    let trained = norm.zip(epsilon);
    let given = source.norm.map(|norm| (norm, source.epsilon));
    let same = match (trained, given) {
        (Some((norm, epsilon)), Some((other, radius))) => {
            norm == other && (epsilon - radius).abs() <= 0.01 * epsilon
        }
        (trained, given) => trained.is_none() && given.is_none(),
    };
    if same {
        return Ok(());
    }
    let words = |radius: Option<(Norm, f64)>| match radius {
        None => "epsilon 0, natural".to_owned(),
        Some((norm, epsilon)) => format!("epsilon {epsilon} in {norm}"),
    };
    let place = format!("source.{}.epsilon", source.name);
    let expected = format!("{}, as in {}", words(trained), folder.display());
    Err(Error::format(
        &spec.file,
        place,
        expected,
        words(given),
        "correct the spec",
    ))
}
