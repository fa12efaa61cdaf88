//! How far to trust a run, in plain words.

mod minimum;
mod refits;
mod trainings;

use super::facts::method;
use super::measured::Measured;
use super::through::Through;
use super::through_blocks;
use super::unrolled;
use crate::artefact::RunRecord;
use crate::evaluate::Work;
use crate::influence::{Measurement, Normalise, RecordedSolves};
use crate::report::{Statement, Tone};
use crate::solve::Method;
use clap::ValueEnum;
use minimum::of_gradient;
use refits::{of_measurements, of_refits};
use trainings::of_trainings;

/// What speaks for and against the scores.
pub(super) fn statements(
    record: &RunRecord,
    through: &Through,
    measured: Option<&Measured>,
) -> Vec<Statement> {
    let unrolled = unrolled::statements(record);
    let is_unrolled = unrolled.is_some();
    let mut said = unrolled.unwrap_or_else(|| vec![of_solves(record, through)]);
    said.extend(of_predictions(record));
    match through {
        Through::Blocks { .. } if is_unrolled => {
            said.push(unrolled::of_certificates());
            said.extend(unrolled::of_growth(
                record,
                measured.is_some_and(|it| it.refits > 0),
            ));
            said.push(of_trainings(measured).unwrap_or_else(unrolled::of_nothing_measured));
        }
        Through::Head => {
            said.push(of_certificates(record));
            said.extend(of_gradient(record, through));
            said.push(of_measurements(record, measured));
            said.extend(measured.and_then(of_refits));
        }
        Through::Blocks { .. } => {
            said.extend(through_blocks::of_curvature(record));
            said.extend(through_blocks::of_query_rank(record));
            said.extend(of_gradient(record, through));
            said.push(through_blocks::of_certificates());
            said.push(of_trainings(measured).unwrap_or_else(through_blocks::of_nothing_measured));
        }
    }
    // Self-influence that is absent is no matter of trust; of scores that were divided the measurements speak.
    let absences = through.absences(Normalise::None, true, true).into_iter();
    said.extend(absences.map(|absence| statement(Tone::Note, absence.reason)));
    said
}

pub(super) fn statement(tone: Tone, text: String) -> Statement {
    Statement { tone, text }
}

/// Of test images without labels.
fn of_predictions(record: &RunRecord) -> Option<Statement> {
    let text = "Test images have no labels here: each counts as one of the class that is predicted, and scores say what that prediction rests on, right or wrong.";
    (Measurement::of(record) == Measurement::Prediction).then(|| statement(Tone::Note, text.into()))
}

/// Of the solves that were made for the page.
pub(super) fn of_missed(missed: usize) -> Option<Statement> {
    let text = format!(
        "Mean scores (confusions, help and harm over all test images) and predicted flips are not to be trusted: {missed} of the solves behind them missed their tolerance; rank again with another --solver or more --iterations."
    );
    (missed > 0).then(|| statement(Tone::Warning, text))
}

fn of_solves(record: &RunRecord, through: &Through) -> Statement {
    let method = method(record, through).unwrap_or("unknown");
    if Method::from_str(method, false).is_ok_and(Method::is_approximation) {
        let exact = match through {
            Through::Head => "direct or cg give",
            Through::Blocks { .. } => "cg gives",
        };
        let text = format!(
            "Scores are the approximation “{method}”, not those of the exact inverse curvature; {exact} these."
        );
        return statement(Tone::Warning, text);
    }
    let RecordedSolves {
        all,
        failed,
        largest,
    } = RecordedSolves::of(record);
    let largest = largest.map_or_else(|| "not known".into(), |largest| format!("{largest:.0e}"));
    match failed {
        0 => statement(
            Tone::Good,
            format!(
                "All {all} systems were solved ({method}); the largest relative residual is {largest}."
            ),
        ),
        failed => statement(
            Tone::Warning,
            format!(
                "{failed} of {all} solves ({method}) missed their tolerance; the largest relative residual is {largest}."
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

/// Measured rises in predicted ones where these are of the right size.
const OF_SIZE: std::ops::RangeInclusive<f64> = 0.5..=2.0;

/// A number as it is read most easily.
pub(super) fn plain(value: f64) -> String {
    match (0.1..1000.0).contains(&value.abs()) {
        true => format!("{value:.2}"),
        false => format!("{value:.1e}"),
    }
}

/// Percentage points by which training images may be predicted better than test images before it is worth a word.
const GAP: f64 = 15.0;

/// What it means for the lists that the model predicts its training images better than new ones, where it does; accuracies in percent.
pub(super) fn of_overfitting(training: f64, test: f64) -> Option<Statement> {
    (training - test > GAP).then(|| {
        statement(
            Tone::Note,
            format!(
                "The model predicts its training images better than new ones: accuracy {training:.1} % against {test:.1} %. Wrong labels that it has learned by heart are late in the lists by loss and self-influence, earlier in the one by held-out loss. With few images a larger --l2 in training is worth trying."
            ),
        )
    })
}

/// Heads fitted without some of the training images that did not get to their minimum, where there are such.
pub(super) fn of_held_out(work: &Work) -> Option<Statement> {
    (work.not_converged > 0).then(|| {
        statement(
            Tone::Warning,
            format!(
                "{} of the {} heads fitted for held-out losses missed their tolerance (gradient norm {:.0e}): that list is approximate.",
                work.not_converged, work.refits, work.largest_gradient
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn fits_that_fell_short_and_models_that_learned_by_heart_are_told() {
        let work = |not_converged| Work {
            refits: 5,
            not_converged,
            largest_gradient: 3e-4,
            ..Work::default()
        };
        assert_eq!(of_held_out(&work(0)), None);
        let said = of_held_out(&work(2)).unwrap();
        assert_eq!(said.tone, Tone::Warning);
        assert!(said.text.starts_with("2 of the 5 heads") && said.text.contains("3e-4"));
        assert_eq!(of_overfitting(70.0, 55.0), None);
        let said = of_overfitting(73.4, 52.1).unwrap().text;
        assert!(said.contains("73.4 % against 52.1 %") && said.contains("--l2"));
    }

    /// A head's run with these results.
    pub(super) fn record(results: Value) -> RunRecord {
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
        let said = statements(&fine, &Through::Head, None);
        assert_eq!(said[0].tone, Tone::Good);
        assert!(
            said[0].text.contains("All 5") && said[0].text.contains("3e-6"),
            "{said:?}"
        );
        assert_eq!(said[2].tone, Tone::Good);
        let missed = record(json!({ "plan": { "method": "cg" }, "gradient_norm": 0.3,
            "solves": { "test": { "outcomes": { "converged": 5, "limit reached": 2 }, "largest_residual": 0.1 } } }));
        let said = statements(&missed, &Through::Head, None);
        assert_eq!((said[0].tone, said[2].tone), (Tone::Warning, Tone::Note));
        assert!(said[0].text.contains("2 of 7"), "{said:?}");
        let unknown = record(json!({ "plan": { "method": "cg" },
            "solves": { "test": { "outcomes": { "diverged": 1 }, "largest_residual": null } } }));
        let said = statements(&unknown, &Through::Head, None);
        assert!(said[0].text.ends_with("residual is not known."), "{said:?}");
        let rough = record(json!({ "plan": { "method": "ekfac" } }));
        assert_eq!(
            statements(&rough, &Through::Head, None)[0].tone,
            Tone::Warning
        );
    }
}
