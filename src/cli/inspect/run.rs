//! What `run.json` says of a run, finished or not.

use super::Report;
use crate::Result;
use crate::artefact::{DIGESTS, RunRecord, Status, read_json};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// A run; as JSON, its `run.json`.
#[derive(Serialize)]
pub(super) struct Run {
    kind: &'static str,
    #[serde(flatten)]
    record: RunRecord,
}

/// Reads the `run.json` of a folder, or the record at a path that is no folder.
pub(super) fn read(path: &Path) -> Result<Run> {
    let file = if path.is_dir() {
        path.join("run.json")
    } else {
        path.to_path_buf()
    };
    let mut record: RunRecord = read_json(file)?;
    record.folder = path.to_path_buf();
    Ok(Run {
        kind: "run",
        record,
    })
}

impl Report for Run {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let record = &self.record;
        let status = match record.status {
            Status::Finished => "finished",
            Status::Running => "not finished: at work, or killed on the way",
        };
        let mut lines = vec![
            ("run", format!("{} ({status})", record.folder.display())),
            ("command", record.command_line()),
            ("typed in", record.directory.display().to_string()),
            ("version", record.ascribe.clone()),
            ("started", record.started_at.clone()),
            (
                "took",
                format!(
                    "{:.1} s on {}, {} threads",
                    record.seconds, record.device, record.threads
                ),
            ),
        ];
        for input in &record.inputs {
            let rows = input
                .rows
                .map_or_else(String::new, |rows| format!(", {rows} rows"));
            let (role, path, digest) = (&input.role, input.path.display(), &input.digest);
            lines.push(("input", format!("{role}: {path}{rows}, sha256 {digest}")));
        }
        if let Some(classes) = &record.classes {
            lines.push(("classes", short(&Value::from(classes.clone()))));
        }
        let options = record.options.iter().filter(|(_, value)| !value.is_null());
        lines.extend(options.map(|(name, value)| ("option", format!("{name}: {}", short(value)))));
        for stage in &record.stages {
            let memory = stage
                .peak_memory_bytes
                .map(|bytes| bytes as f64 / f64::from(1 << 30));
            let memory = memory.map_or_else(String::new, |gib| {
                format!(", {gib:.2} GiB at most until then")
            });
            lines.push((
                "stage",
                format!("{}: {:.1} s{memory}", stage.name, stage.seconds),
            ));
        }
        for (name, value) in &record.results {
            match (name.as_str(), value) {
                (DIGESTS, Value::Object(files)) => {
                    lines.extend((files.iter()).map(|(file, digest)| {
                        ("left", format!("{file}, sha256 {}", short(digest)))
                    }))
                }
                _ => lines.push(("result", format!("{name}: {}", short(value)))),
            }
        }
        lines
    }
}

/// A value in one line; long lists by their length.
fn short(value: &Value) -> String {
    const SHOWN: usize = 6;
    match value {
        Value::String(text) => text.clone(),
        Value::Array(elements) if elements.len() > SHOWN => {
            let first: Vec<String> = elements.iter().take(SHOWN).map(short).collect();
            format!("{} … ({} in all)", first.join(", "), elements.len())
        }
        Value::Array(elements) => elements.iter().map(short).collect::<Vec<_>>().join(", "),
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(name, value)| format!("{name} {}", short(value)));
            entries.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
