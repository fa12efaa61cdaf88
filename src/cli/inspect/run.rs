//! What `run.json` says of a run, finished or not.

use super::Report;
use crate::Result;
use crate::artefact::{DIGESTS, GIB, RunRecord, Status, read_json};
use crate::cli::record_file::record_file;
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
    let mut record: RunRecord = read_json(record_file(path))?;
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
        if !record.processor.is_empty() {
            lines.push(("processor", record.processor.clone()));
        }
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
            let memory = stage.peak_memory_bytes.map_or_else(String::new, |bytes| {
                format!(", {:.2} GiB at most until then", bytes as f64 / GIB)
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
                _ => tell(name, value, &mut |line| lines.push(("result", line))),
            }
        }
        lines
    }
}

/// Names of an element of a list, by the first of which it is called.
const CALLED: [&str; 3] = ["name", "method", "ranker"];

/// A result in lines: one for an object, then one for each object and for each element of a list of objects in it.
fn tell(path: &str, value: &Value, say: &mut dyn FnMut(String)) {
    let Value::Object(entries) = value else {
        let Some(elements) = objects(value) else {
            return say(format!("{path}: {}", short(value)));
        };
        for (number, element) in elements.iter().enumerate() {
            let name = CALLED.iter().find_map(|key| element.get(key)?.as_str());
            let name = name.map_or_else(|| (number + 1).to_string(), str::to_owned);
            tell(&format!("{path}.{name}"), element, say);
        }
        return;
    };
    if interval(value).is_some() {
        return say(format!("{path}: {}", short(value)));
    }
    // Something for each of many images is told as a list is.
    if !entries.is_empty() && entries.keys().all(|id| id.parse::<usize>().is_ok()) {
        let by_id = entries
            .iter()
            .map(|(id, value)| format!("{id} {}", short(value)));
        return say(format!("{path}: {}", short(&by_id.collect())));
    }
    let (mut flat, mut deep) = (Vec::new(), Vec::new());
    for (name, value) in entries {
        // A list in a list is told by its length.
        let list = objects(value).filter(|_| path.contains('.'));
        if let Some(list) = list {
            flat.push(format!("{} {name}", list.len()));
        } else if objects(value).is_some() || value.is_object() && interval(value).is_none() {
            deep.push((name, value));
        } else if !CALLED.contains(&name.as_str()) {
            flat.push(format!("{name} {}", short(value)));
        }
    }
    if !flat.is_empty() {
        say(format!("{path}: {}", flat.join(", ")));
    }
    for (name, value) in deep {
        tell(&format!("{path}.{name}"), value, say);
    }
}

/// The elements of a list of objects.
fn objects(value: &Value) -> Option<&Vec<Value>> {
    let elements = value.as_array()?;
    (elements.first()?.is_object()).then_some(elements)
}

/// A value with the ends of its interval.
fn interval(value: &Value) -> Option<[f64; 3]> {
    let entries = value.as_object().filter(|entries| entries.len() == 3)?;
    let number = |key: &str| entries.get(key)?.as_f64();
    Some([number("value")?, number("low")?, number("high")?])
}

/// A value in one line; long lists by their length.
fn short(value: &Value) -> String {
    const SHOWN: usize = 6;
    if let Some([value, low, high]) = interval(value) {
        return format!("{} [{}, {}]", rounded(value), rounded(low), rounded(high));
    }
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
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), rounded)
        }
        other => other.to_string(),
    }
}

/// Six figures, without the zeros that say nothing.
fn rounded(value: f64) -> String {
    let scientific = format!("{value:.5e}");
    scientific
        .parse::<f64>()
        .map_or(scientific, |value| match value.abs() {
            size if size != 0.0 && !(1e-4..1e9).contains(&size) => format!("{value:e}"),
            _ => value.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn results_are_told_line_by_line() {
        let interval =
            |value: f64| json!({ "value": value, "low": 0.1, "high": 0.7780000000000001 });
        let rows = json!([
            { "name": "run", "agreement": { "by_query": [1.0, 2.0], "pearson": interval(0.5) }, "failures": 0 },
            { "name": "knn", "agreement": null, "points": [{ "images": 1 }, { "images": 2 }] },
        ]);
        let mut lines = Vec::new();
        let result = json!({ "queries": 5, "rows": rows, "slope": interval(2.0) });
        tell("lds", &result, &mut |line| lines.push(line));
        tell("loss", &json!(1.0 / 3e7), &mut |line| lines.push(line));
        tell("none", &json!([]), &mut |line| lines.push(line));
        assert_eq!(
            lines,
            [
                "lds: queries 5, slope 2 [0.1, 0.778]",
                "lds.rows.run: failures 0",
                "lds.rows.run.agreement: by_query 1, 2, pearson 0.5 [0.1, 0.778]",
                "lds.rows.knn: agreement null, 2 points",
                "loss: 3.33333e-8",
                "none: ",
            ]
        );
    }
}
