//! How the solves of a run ended, from its record.

use crate::artefact::RunRecord;
use crate::solve::Outcome;
use serde_json::Value;

/// Counts over all sets of right-hand sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RecordedSolves {
    /// All of them.
    pub(crate) all: u64,
    /// Those that missed their tolerance.
    pub(crate) failed: u64,
    /// The largest relative residual of those that were measured; nothing where none of a set is known.
    pub(crate) largest: Option<f64>,
}

impl RecordedSolves {
    /// Those that `record`, of `ascribe rank`, tells of.
    pub(crate) fn of(record: &RunRecord) -> Self {
        let mut told = Self {
            all: 0,
            failed: 0,
            largest: Some(0.0),
        };
        let succeeded = |name: &str| {
            (Outcome::ALL.iter()).any(|outcome| outcome.is_success() && outcome.name() == name)
        };
        let sets = record.results.get("solves").and_then(Value::as_object);
        for set in sets.into_iter().flat_map(|sets| sets.values()) {
            let residual = set.get("largest_residual").and_then(Value::as_f64);
            told.largest = (told.largest.zip(residual)).map(|(largest, found)| largest.max(found));
            let outcomes = set.get("outcomes").and_then(Value::as_object);
            for (name, count) in outcomes.into_iter().flatten() {
                let count = count.as_u64().unwrap_or_default();
                told.all += count;
                if !succeeded(name) {
                    told.failed += count;
                }
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(solves: Value) -> RecordedSolves {
        let record: RunRecord = serde_json::from_value(json!({
            "ascribe": "0", "command": "rank", "arguments": [], "options": {}, "inputs": [],
            "classes": null, "device": "cpu", "threads": 1, "stages": [], "status": "finished",
            "started_at": "", "seconds": 1.0, "results": { "solves": solves },
        }))
        .unwrap();
        RecordedSolves::of(&record)
    }

    #[test]
    fn a_residual_that_is_not_known_is_not_told_as_none() {
        let set = |residual: Value| json!({ "outcomes": {}, "largest_residual": residual });
        let largest = |train, test| of(json!({ "train": set(train), "test": set(test) })).largest;
        assert_eq!(largest(json!(0.1), json!(0.3)), Some(0.3));
        assert_eq!(largest(json!(0.1), Value::Null), None);
        assert_eq!(largest(Value::Null, json!(0.1)), None);
    }

    #[test]
    fn what_succeeded_is_not_told_as_missed() {
        for outcome in Outcome::ALL {
            let told = of(json!({ "test": { "outcomes": { outcome.name(): 3 } } }));
            let failed = if outcome.is_success() { 0 } else { 3 };
            assert_eq!((told.all, told.failed), (3, failed), "{outcome:?}");
        }
    }
}
