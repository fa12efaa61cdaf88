//! The options of an earlier run, read again as if they were typed.

use crate::artefact::RunRecord;
use crate::{Error, Result};
use clap::Parser;
use serde_json::Value;

/// What the options of `run.json` are as those of a command, but for the ones that `aside` names; `--out` is given and means nothing.
pub(super) fn parsed<T: Parser>(record: &RunRecord, aside: impl Fn(&str) -> bool) -> Result<T> {
    let mut words = vec![record.command.clone(), "--out=none".to_owned()];
    let given = record
        .options
        .iter()
        .filter(|(name, _)| name.as_str() != "out" && !aside(name));
    words.extend(given.filter_map(|(name, value)| word(name, value)));
    T::try_parse_from(words).map_err(|reason| {
        let text = reason.to_string();
        let found = text.lines().next().unwrap_or_default().to_owned();
        let path = record.folder.join("run.json");
        let expected = format!("options of ascribe {} of this version", record.command);
        let remedy = format!("run ascribe {} again", record.command);
        Error::format(&path, "options", expected, found, remedy)
    })
}

fn word(name: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::Null | Value::Bool(false) => return None,
        Value::Bool(true) => return Some(format!("--{name}")),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        other => text(other),
    };
    Some(format!("--{name}={text}"))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
