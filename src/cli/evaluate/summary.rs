//! What came out, in a few lines or as JSON.

use super::work::LEAVE_GROUP_OUT;
use crate::artefact::RunRecord;
use serde_json::{Value, json};

/// Prints the record of a finished evaluation.
pub(super) fn print(record: &RunRecord, as_json: bool) {
    if as_json {
        say!(
            "{}",
            json!({ "out": record.folder, "results": record.results })
        );
        return;
    }
    for (name, title) in [
        ("leave_one_out", "leave-one-out"),
        ("lds", "LDS"),
        (LEAVE_GROUP_OUT, "leave-group-out"),
    ] {
        if let Some(comparison) = record.results.get(name) {
            agreements(title, comparison);
            seeds(&record.results, name);
        }
    }
    groups(&record.results);
    list(record, "mislabels", |row| {
        let recall = |at: usize| number(&row["recall"][at]["value"], 2);
        let title = row["ranker"].as_str().unwrap_or_default();
        format!(
            "{title}: AUC {}, recall {} in 10 %, {} in 20 %",
            interval(&row["auc"]),
            recall(0),
            recall(1)
        )
    });
    list(record, "removal", |row| {
        let last = row["points"].as_array().and_then(|points| points.last());
        let last = last.unwrap_or(&Value::Null);
        format!(
            "{} of {} by {}: loss rises by {} nats, {} right",
            row["side"].as_str().unwrap_or_default(),
            last["images"],
            row["method"].as_str().unwrap_or_default(),
            interval(&last["rise"]),
            number(&last["correct"]["value"], 2),
        )
    });
    map(record, "duplicates", |row| {
        format!("copy ranked first {}", interval(&row["first"]))
    });
    if let Some(checks) = record.results.get("randomise").and_then(Value::as_object) {
        for (check, found) in checks {
            say!("same ranking at {check} (near 1: the model plays no part):");
            for (name, same) in found.as_object().into_iter().flatten() {
                say!("  {name}: {}", interval(same));
            }
        }
    }
    if let Some(found) = record
        .results
        .get("classes")
        .and_then(|classes| classes["own_class"].as_object())
    {
        say!("own class, of which the head was not told:");
        for (name, row) in found {
            say!("  {name}: most helpful image {}", interval(&row["first"]));
        }
    }
    say!("results in {}", record.folder.display());
}

fn agreements(title: &str, comparison: &Value) {
    say!(
        "{title}: {} retrainings, {} queries; with 95 % intervals",
        comparison["retrainings"],
        comparison["queries"]
    );
    for row in comparison["rows"].as_array().into_iter().flatten() {
        let agreement = &row["agreement"];
        let difference = match &row["minus_first"] {
            Value::Null => String::new(),
            found => format!(
                "; minus run {} (p {})",
                interval(&found["spearman"]),
                number(&found["p"], 3)
            ),
        };
        say!(
            "  {}: Spearman {}, Pearson {}, slope {}; {} s{difference}",
            row["name"].as_str().unwrap_or_default(),
            interval(&agreement["spearman"]),
            interval(&agreement["pearson"]),
            interval(&agreement["slope"]),
            number(&row["seconds"], 2),
        );
    }
}

/// What no estimator can be expected to surpass.
fn seeds(results: &std::collections::BTreeMap<String, Value>, name: &str) {
    if let Some(found) = results
        .get(&format!("{name}_seeds"))
        .filter(|found| !found.is_null())
    {
        say!(
            "  one seed with another: Spearman {}; the true effects would reach {} with the mean of {}",
            number(&found["one_with_another"], 3),
            number(&found["most_to_expect"], 3),
            found["seeds"],
        );
    }
}

/// What happens without each group.
fn groups(results: &std::collections::BTreeMap<String, Value>) {
    let Some(found) = results.get("groups_left_out") else {
        return;
    };
    say!(
        "without a group of training images, means of {} queries (right with all: {}):",
        found["queries"],
        number(&found["correct"]["value"], 3),
    );
    for group in found["groups"].as_array().into_iter().flatten() {
        say!(
            "  {} ({} images): loss rises by {} nats, predicted {}; right {}, change {}",
            group["group"].as_str().unwrap_or_default(),
            group["images"],
            interval(&group["actual"]),
            number(&group["predicted"]["run"], 3),
            number(&group["correct"]["value"], 3),
            interval(&group["correct_change"]),
        );
    }
}

fn list(record: &RunRecord, key: &str, line: impl Fn(&Value) -> String) {
    if let Some(rows) = record.results.get(key).and_then(Value::as_array) {
        say!("{key}:");
        rows.iter().for_each(|row| say!("  {}", line(row)));
    }
}

fn map(record: &RunRecord, key: &str, line: impl Fn(&Value) -> String) {
    if let Some(rows) = record.results.get(key).and_then(Value::as_object) {
        say!("{key}:");
        rows.iter()
            .for_each(|(name, row)| say!("  {name}: {}", line(row)));
    }
}

fn number(value: &Value, digits: usize) -> String {
    value
        .as_f64()
        .map_or_else(|| "–".into(), |value| format!("{value:.digits$}"))
}

fn interval(value: &Value) -> String {
    let [middle, low, high] = ["value", "low", "high"].map(|key| number(&value[key], 3));
    format!("{middle} [{low}, {high}]")
}
