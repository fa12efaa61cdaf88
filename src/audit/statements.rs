//! Facts of a run, and how far to trust it, in plain words.

use super::measured::Measured;
use crate::artefact::RunRecord;
use crate::report::{Fact, Statement, Tone};
use serde_json::Value;

/// Above this share of the size of its parts a gradient is not small: the head is not at its minimum.
const SMALL_GRADIENT: f64 = 1e-3;

/// What a run's record says of model, data and scores.
pub(super) fn facts(record: &RunRecord) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| Fact {
            name: name.into(),
            value,
        }));
    };
    let number = |key: &str| record.results.get(key).and_then(Value::as_f64);
    let option = |key: &str| record.options.get(key).and_then(Value::as_f64);
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    fact("test accuracy", number("test_accuracy").map(percent));
    fact(
        "test loss",
        number("test_loss").map(|loss| format!("{loss:.4} nats")),
    );
    fact("training accuracy", number("train_accuracy").map(percent));
    fact(
        "training loss",
        number("train_loss").map(|loss| format!("{loss:.4} nats")),
    );
    fact("solver", method(record).map(str::to_owned));
    fact(
        "damping",
        option("damping").map(|damping| format!("{damping}")),
    );
    for role in ["train", "test"] {
        let path = record
            .input(role)
            .map(|input| input.path.display().to_string());
        fact(&format!("{role} images"), path);
    }
    facts
}

/// The solver that ran: what `auto` chose.
fn method(record: &RunRecord) -> Option<&str> {
    let planned = record
        .results
        .get("plan")
        .and_then(|plan| plan.get("method"));
    let given = record.options.get("solver");
    planned.or(given).and_then(Value::as_str)
}

/// What speaks for and against the scores.
pub(super) fn statements(record: &RunRecord, measured: Option<&Measured>) -> Vec<Statement> {
    let mut said = vec![of_solves(record), of_certificates(record)];
    said.extend(of_gradient(record));
    said.push(of_measurements(measured));
    said
}

fn statement(tone: Tone, text: String) -> Statement {
    Statement { tone, text }
}

fn of_solves(record: &RunRecord) -> Statement {
    let method = method(record).unwrap_or("unknown");
    if ["ekfac", "identity", "arnoldi", "pinv"].contains(&method) {
        let text = format!(
            "Scores are the approximation “{method}”, not those of the exact inverse curvature; direct or cg give these."
        );
        return statement(Tone::Warning, text);
    }
    let (mut all, mut failed, mut largest) = (0, 0, 0.0f64);
    let sets = record.results.get("solves").and_then(Value::as_object);
    for set in sets.into_iter().flat_map(|sets| sets.values()) {
        let residual = set.get("largest_residual").and_then(Value::as_f64);
        largest = largest.max(residual.unwrap_or(f64::NAN));
        let outcomes = set.get("outcomes").and_then(Value::as_object);
        for (name, count) in outcomes.into_iter().flatten() {
            let count = count.as_u64().unwrap_or_default();
            all += count;
            if !["converged", "direct"].contains(&name.as_str()) {
                failed += count;
            }
        }
    }
    match failed {
        0 => statement(
            Tone::Good,
            format!(
                "All {all} systems were solved ({method}); the largest relative residual is {largest:.0e}."
            ),
        ),
        failed => statement(
            Tone::Warning,
            format!(
                "{failed} of {all} solves ({method}) missed their tolerance; the largest relative residual is {largest:.0e}."
            ),
        ),
    }
}

fn of_certificates(record: &RunRecord) -> Statement {
    let certified = record
        .results
        .get("certified")
        .filter(|value| !value.is_null());
    let number = |key: &str| certified.and_then(|value| value.get(key)?.as_f64());
    match (number("ranks"), number("share_of_ranks")) {
        (Some(ranks), Some(share)) => statement(
            if share > 0.99 { Tone::Good } else { Tone::Note },
            format!(
                "{:.2} % of the first {ranks} ranks are proven against the errors of solver and rounding. The proof is of the linear algebra, not of what another training run would give.",
                100.0 * share
            ),
        ),
        _ => statement(
            Tone::Note,
            "No rank was proven; ascribe rank --certify K proves the first K.".into(),
        ),
    }
}

fn of_gradient(record: &RunRecord) -> Option<Statement> {
    let norm = record.results.get("gradient_norm")?.as_f64()?;
    Some(match norm <= SMALL_GRADIENT {
        true => statement(
            Tone::Good,
            format!(
                "The head is at the minimum of its training loss (gradient norm {norm:.0e}), as influence assumes."
            ),
        ),
        false => statement(
            Tone::Note,
            format!(
                "The head is not quite at the minimum of its training loss (gradient norm {norm:.1e}), which influence assumes it is."
            ),
        ),
    })
}

fn of_measurements(measured: Option<&Measured>) -> Statement {
    let pairs: Vec<(f64, f64)> = measured
        .iter()
        .flat_map(|measured| measured.removals.values())
        .filter(|removal| removal.converged)
        .map(|removal| (removal.predicted, removal.measured))
        .collect();
    let Some(correlation) = correlation(&pairs) else {
        return statement(
            Tone::Note,
            "Nothing was measured: no refit was asked for, or the head has no L2 term.".into(),
        );
    };
    let ratio =
        pairs.iter().map(|pair| pair.1).sum::<f64>() / pairs.iter().map(|pair| pair.0).sum::<f64>();
    statement(
        if correlation > 0.9 {
            Tone::Good
        } else {
            Tone::Warning
        },
        format!(
            "Held against refits of the head without the most helpful images of {} test images: predicted and measured rise correlate at {correlation:.3}, and the measured one is {ratio:.2} times the predicted.",
            pairs.len()
        ),
    )
}

/// Pearson's; `None` for fewer than three pairs, or where one side does not vary.
fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 3 {
        return None;
    }
    let count = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        pairs.iter().map(|pair| of(pair.0 - x, pair.1 - y)).sum()
    };
    let spread = sum(&|a, _| a * a) * sum(&|_, b| b * b);
    (spread > 0.0).then(|| sum(&|a, b| a * b) / spread.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(results: Value) -> RunRecord {
        serde_json::from_value(json!({
            "ascribe": "0", "command": "rank", "arguments": [], "options": { "solver": "auto", "damping": 0.1 },
            "inputs": [], "classes": null, "device": "cpu", "threads": 1, "stages": [], "results": results,
            "status": "finished", "started_at": "", "seconds": 1.0,
        }))
        .unwrap()
    }

    #[test]
    fn what_went_wrong_is_said_first() {
        let fine = record(json!({ "plan": { "method": "cg" }, "gradient_norm": 1e-9,
            "solves": { "test": { "outcomes": { "converged": 5 }, "largest_residual": 3e-6 } } }));
        let said = statements(&fine, None);
        assert_eq!(said[0].tone, Tone::Good);
        assert!(
            said[0].text.contains("All 5") && said[0].text.contains("3e-6"),
            "{said:?}"
        );
        assert_eq!(said[2].tone, Tone::Good);
        let missed = record(json!({ "plan": { "method": "cg" }, "gradient_norm": 0.3,
            "solves": { "test": { "outcomes": { "converged": 5, "limit reached": 2 }, "largest_residual": 0.1 } } }));
        let said = statements(&missed, None);
        assert_eq!((said[0].tone, said[2].tone), (Tone::Warning, Tone::Note));
        assert!(said[0].text.contains("2 of 7"), "{said:?}");
        let rough = record(json!({ "plan": { "method": "ekfac" } }));
        assert_eq!(statements(&rough, None)[0].tone, Tone::Warning);
    }

    #[test]
    fn measurements_speak_for_or_against() {
        let measured = |noise: f64| {
            let removal = |at: usize| crate::report::Removal {
                images: 10,
                predicted: at as f64,
                measured: 2.0 * at as f64 + noise * [1.0, -1.0][at % 2],
                converged: true,
            };
            Measured {
                removals: (1..8).map(|at| (at, removal(at))).collect(),
                ..Measured::default()
            }
        };
        let (good, bad) = (
            of_measurements(Some(&measured(0.1))),
            of_measurements(Some(&measured(30.0))),
        );
        assert_eq!((good.tone, bad.tone), (Tone::Good, Tone::Warning));
        assert!(
            good.text.contains("7 test images") && good.text.contains("1.99 times")
                || good.text.contains("2.00 times"),
            "{good:?}"
        );
    }
}
