//! What is said of the scores of a run through residual blocks, beside what is said of all.

use super::statements::{plain, statement};
use crate::artefact::RunRecord;
use crate::median::median;
use crate::report::{Statement, Tone};
use crate::solve::Method;
use clap::ValueEnum;
use serde_json::Value;

/// Errors of approximated scores, as a share of the largest score, up to which they are small.
const SMALL_ERROR: f64 = 0.01;
/// Those beyond which ranks are in doubt.
const LARGE_ERROR: f64 = 0.1;

/// Whether the damped Hessian is that of a minimum, and how sure that is, where a bound was found; nothing to be said of a Gauss–Newton
/// matrix, which cannot be another's.
pub(super) fn of_curvature(record: &RunRecord) -> Option<Statement> {
    let notes = record.results.get("solver")?;
    let number = |key: &str| notes.get(key).and_then(Value::as_f64);
    let smallest = number("smallest_eigenvalue")?;
    let missing = number("missing_damping").unwrap_or_default();
    let near = plain(smallest);
    let solver = record.options.get("solver").and_then(Value::as_str);
    let is_damped = |name| Method::from_str(name, false).is_ok_and(Method::is_damped);
    let raise = match solver.is_some_and(is_damped) {
        true => format!("raise --damping by {}, or ", plain(missing)),
        false => String::new(),
    };
    let mut said = match (missing > 0.0, smallest > 0.0) {
        (true, _) => statement(
            Tone::Warning,
            format!(
                "The damped Hessian has negative eigenvalues (the smallest near {near}), so that scores are not those of a minimum: {raise}choose --curvature gauss-newton."
            ),
        ),
        (false, true) => statement(
            Tone::Good,
            format!(
                "No negative eigenvalue of the damped Hessian was found (the smallest is near {near}), as influence assumes."
            ),
        ),
        (false, false) => statement(
            Tone::Note,
            format!(
                "The smallest eigenvalue of the damped Hessian is near {near} and may be negative, which influence assumes it is not."
            ),
        ),
    };
    if let Some(bound) = number("smallest_eigenvalue_at_least") {
        let least = plain(bound);
        said.text.push_str(&match bound > 0.0 {
            true => format!(
                " It is positive definite but for a chance of 2 in a million: no eigenvalue is below {least}."
            ),
            false => format!(" Eigenvalues down to {least} are not ruled out."),
        });
    }
    Some(said)
}

/// What `--query-rank` did to the scores.
pub(super) fn of_query_rank(record: &RunRecord) -> Option<Statement> {
    let rank = record.options.get("query-rank")?.as_u64()?;
    let errors = record.results.get("scoring")?.get("rank_errors")?;
    let errors = errors.as_array()?.iter();
    let mut errors: Vec<f64> = errors
        .filter_map(|error| error.get("scores")?.as_f64())
        .collect();
    let median = median(&mut errors)?;
    let most = *errors.last()?;
    if most == 0.0 {
        let text = format!(
            "Scores are exact products: --query-rank {rank} would have saved nothing in any layer."
        );
        return Some(statement(Tone::Good, text));
    }
    let tone = match most {
        most if most <= SMALL_ERROR => Tone::Good,
        most if most <= LARGE_ERROR => Tone::Note,
        _ => Tone::Warning,
    };
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    Some(statement(
        tone,
        format!(
            "Scores are approximated at rank {rank} (--query-rank): on a sample of the training images they are off by up to {} of a test image’s largest score ({} in the median). That is measured, not bounded.",
            percent(most),
            percent(median)
        ),
    ))
}

/// Proofs, which are for the head.
pub(super) fn of_certificates() -> Statement {
    let text = "No rank was proven: certificates are for the head alone.";
    statement(Tone::Note, text.into())
}

/// Of scores that nothing was held against.
pub(super) fn of_nothing_measured() -> Statement {
    let text = "Nothing was measured here: the head fitted again would not be what these scores predict. ascribe audit --measure N trains the blocks again for N test images, and ascribe evaluate RUN --lds N --retrain SEEDS on subsets and with other seeds, for a run with --scores.";
    statement(Tone::Note, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Through;
    use crate::audit::statements::statements;
    use crate::model::Blocks;
    use serde_json::json;

    fn record(curvature: &str, query_rank: Value, results: Value) -> RunRecord {
        serde_json::from_value(json!({
            "ascribe": "0", "command": "rank", "arguments": [],
            "options": { "solver": "auto", "damping": 0.1, "curvature": curvature, "query-rank": query_rank },
            "inputs": [], "classes": null, "device": "cpu", "threads": 1, "stages": [], "results": results,
            "status": "finished", "started_at": "", "seconds": 1.0,
        }))
        .unwrap()
    }

    fn said(record: &RunRecord) -> Vec<Statement> {
        let through = Through::Blocks {
            blocks: Blocks::Last(2),
            scores: None,
        };
        statements(record, &through, None)
    }

    #[test]
    fn a_hessian_that_is_no_minimums_is_a_warning() {
        let of = |smallest: f64, missing: f64| {
            let notes = json!({ "smallest_eigenvalue": smallest, "missing_damping": missing });
            of_curvature(&record("hessian", Value::Null, json!({ "solver": notes }))).unwrap()
        };
        let (bad, good, doubtful) = (of(-0.02, 0.03), of(0.05, 0.0), of(-1e-4, 0.0));
        assert_eq!(
            [bad.tone, good.tone, doubtful.tone],
            [Tone::Warning, Tone::Good, Tone::Note]
        );
        assert!(bad.text.contains("--damping by 3.0e-2"), "{bad:?}");
        assert!(good.text.ends_with("as influence assumes."), "{good:?}");
        for (bound, expected) in [
            (
                0.04,
                "It is positive definite but for a chance of 2 in a million: no eigenvalue is below 4.0e-2.",
            ),
            (-0.2, "Eigenvalues down to -0.20 are not ruled out."),
        ] {
            let notes = json!({ "smallest_eigenvalue": 0.05, "missing_damping": 0.0, "smallest_eigenvalue_at_least": bound });
            let record = record("hessian", Value::Null, json!({ "solver": notes }));
            let bounded = of_curvature(&record).unwrap();
            assert_eq!(bounded.tone, Tone::Good);
            assert_eq!(bounded.text, format!("{} {expected}", good.text));
        }
        let notes = json!({ "smallest_eigenvalue": -0.02, "missing_damping": 0.03 });
        let mut undamped = record("hessian", Value::Null, json!({ "solver": notes }));
        undamped.options.insert("solver".into(), json!("pinv"));
        let text = of_curvature(&undamped).unwrap().text;
        assert!(
            text.ends_with("a minimum: choose --curvature gauss-newton."),
            "{text}"
        );
        let other = record("gauss-newton", Value::Null, json!({ "solver": {} }));
        assert_eq!(of_curvature(&other), None);
    }

    #[test]
    fn approximated_scores_are_said_to_be() {
        let of = |errors: [f64; 3]| {
            let errors = errors.map(|error| json!({ "solution": 0.1, "scores": error }));
            let results = json!({ "scoring": { "rank_errors": errors } });
            of_query_rank(&record("gauss-newton", json!(4), results)).unwrap()
        };
        assert_eq!(of([0.0; 3]).tone, Tone::Good);
        assert_eq!(of([0.003, 0.001, 0.002]).tone, Tone::Good);
        assert_eq!(of([0.01, 0.3, 0.02]).tone, Tone::Warning);
        let text = of([0.01, 0.05, 0.02]).text;
        assert!(
            text.contains("up to 5.00 %") && text.contains("2.00 % in the median"),
            "{text}"
        );
        let exact = json!({ "scoring": { "rank_errors": [] } });
        assert_eq!(
            of_query_rank(&record("gauss-newton", Value::Null, exact)),
            None
        );
    }

    #[test]
    fn what_is_missing_comes_with_a_remedy() {
        let results = json!({ "gradient_norm": 0.02,
            "solves": { "test": { "outcomes": { "converged": 5 }, "largest_residual": 3e-4 } } });
        let said = said(&record("gauss-newton", Value::Null, results));
        assert!(said[0].text.contains("All 5") && said[0].text.contains("(cg)"));
        let text: Vec<&str> = said.iter().map(|said| said.text.as_str()).collect();
        let text = text.join(" ");
        for part in [
            "not quite at a minimum",
            "--retrain SEEDS",
            "rank again with --scores.",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
