//! How far to trust a run, in plain words.

use super::facts::{is_damped, method};
use super::measured::Measured;
use super::solves::RecordedSolves;
use super::through::Through;
use super::through_blocks;
use crate::artefact::RunRecord;
use crate::evaluate::Work;
use crate::influence::{Measurement, Normalise};
use crate::report::{Statement, Tone};

/// Above this share of the size of its parts a gradient is not small: the head is not at its minimum.
const SMALL_GRADIENT: f64 = 1e-3;
/// Of the damping that stands for a training, the multiples that still do (`analysis/stopped-heads`).
const STANDS_FOR: std::ops::RangeInclusive<f64> = 0.5..=3.0;

/// What speaks for and against the scores.
pub(super) fn statements(
    record: &RunRecord,
    through: &Through,
    measured: Option<&Measured>,
) -> Vec<Statement> {
    let mut said = vec![of_solves(record, through)];
    said.extend(of_predictions(record));
    match through {
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
            said.extend(through_blocks::of_what_is_left_out());
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
    if ["ekfac", "identity", "arnoldi", "pinv"].contains(&method) {
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

fn of_gradient(record: &RunRecord, through: &Through) -> Option<Statement> {
    let norm = record.results.get("gradient_norm")?.as_f64()?;
    // A head has one best value, a network does not.
    let (what, minimum) = match through {
        Through::Head => ("The head", "the minimum of its"),
        Through::Blocks { .. } => ("What was fine-tuned", "a minimum of its"),
    };
    let size = plain(norm);
    if let Some((trained, damping)) = stopped(record, through).filter(|_| norm > SMALL_GRADIENT) {
        let stopped =
            format!("{what} stopped short of {minimum} training loss (gradient norm {size})");
        return Some(match STANDS_FOR.contains(&(damping / trained)) {
            true => statement(
                Tone::Good,
                format!(
                    "{stopped}; the damping, {damping:.1e}, stands for that. Measured rises are of heads fitted on to their minimum, another question."
                ),
            ),
            false => statement(
                Tone::Note,
                format!(
                    "{stopped}, where influence assumes it is. ascribe rank --damping trained ({trained:.1e}) has the scores of a training that stops there."
                ),
            ),
        });
    }
    Some(match norm <= SMALL_GRADIENT {
        true => statement(
            Tone::Good,
            format!(
                "{what} is at {minimum} training loss (gradient norm {norm:.0e}), as influence assumes."
            ),
        ),
        false => statement(
            Tone::Note,
            format!(
                "{what} is not quite at {minimum} training loss (gradient norm {size}), which influence assumes it is."
            ),
        ),
    })
}

/// The damping that stands for the training of a head, and that of the run, where both are known and matter to the scores.
fn stopped(record: &RunRecord, through: &Through) -> Option<(f64, f64)> {
    let trained = 1.0 / record.results.get("training_time")?.as_f64()?;
    let of = |name: &str| record.options.get(name)?.as_f64();
    (trained > of("l2")? && is_damped(record, through)).then_some((trained, of("damping")?))
}

/// A number as it is read most easily.
pub(super) fn plain(value: f64) -> String {
    match (0.1..1000.0).contains(&value.abs()) {
        true => format!("{value:.2}"),
        false => format!("{value:.1e}"),
    }
}

fn of_measurements(record: &RunRecord, measured: Option<&Measured>) -> Statement {
    let normalise = record
        .options
        .get("normalise")
        .and_then(|value| value.as_str());
    if let Some(name) = normalise.filter(|&name| name != "none") {
        return statement(
            Tone::Note,
            format!(
                "Nothing was measured, and no mean scores were computed: scores that were divided (--normalise {name}) rank training images, but predict no rise of the loss."
            ),
        );
    }
    let Some(measured) = measured.filter(|measured| measured.refits > 0) else {
        return statement(
            Tone::Note,
            "Nothing was measured: no refit was asked for (--measure), or the head has no minimum to be fitted to (no L2 term, or too small a one).".into(),
        );
    };
    let pairs: Vec<(f64, f64)> = (measured.removals.values())
        .filter(|removal| removal.converged)
        .map(|removal| (removal.predicted, removal.measured))
        .collect();
    let Some(correlation) = correlation(&pairs) else {
        return statement(
            Tone::Note,
            format!(
                "Too little was measured for a correlation of predicted and measured rises: it takes three test images with different rises whose refit converged, here {} of {}. What was measured stands with its test image.",
                pairs.len(),
                measured.removals.len()
            ),
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

/// Refits for measured values that did not get to their minimum, where there are such.
fn of_refits(measured: &Measured) -> Option<Statement> {
    let (missed, refits) = (measured.missed(), measured.refits);
    (missed > 0).then(|| {
        statement(
            Tone::Warning,
            format!(
                "{missed} of {refits} refits behind measured values did not converge: their test images say so, and they count in no comparison."
            ),
        )
    })
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
        let rough = record(json!({ "plan": { "method": "ekfac" } }));
        assert_eq!(
            statements(&rough, &Through::Head, None)[0].tone,
            Tone::Warning
        );
    }

    /// Damping 0.1 stands for a time of 10, not for a much shorter or longer one; less than l2 is nothing to speak of.
    #[test]
    fn a_head_that_stopped_short_is_told_with_the_damping_that_stands_for_it() {
        let of = |time: f64, l2: f64| {
            let mut record = record(json!({ "gradient_norm": 0.02, "training_time": time }));
            record.options.insert("l2".into(), json!(l2));
            of_gradient(&record, &Through::Head).unwrap()
        };
        let (stands, early) = (of(10.0, 5e-4), of(4.0, 5e-4));
        assert_eq!((stands.tone, early.tone), (Tone::Good, Tone::Note));
        assert!(stands.text.contains("the damping, 1.0e-1, stands for that"));
        assert!(
            early.text.contains("--damping trained (2.5e-1)"),
            "{}",
            early.text
        );
        assert!(of(10.0, 1.0).text.contains("not quite at the minimum"));
        assert_eq!(of(1e3, 5e-4).tone, Tone::Note);
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
                refits: 7,
                ..Measured::default()
            }
        };
        let (good, bad) = (
            of_measurements(&record(json!({})), Some(&measured(0.1))),
            of_measurements(&record(json!({})), Some(&measured(30.0))),
        );
        assert_eq!((good.tone, bad.tone), (Tone::Good, Tone::Warning));
        assert!(
            good.text.contains("7 test images") && good.text.contains("1.99 times")
                || good.text.contains("2.00 times"),
            "{good:?}"
        );
    }

    #[test]
    fn refits_that_did_not_converge_are_counted_and_told() {
        let removal = |at: usize, converged: bool| {
            let removal = crate::report::Removal {
                images: 10,
                predicted: at as f64,
                measured: 2.0 * at as f64,
                converged,
            };
            (at, removal)
        };
        let flip = |at: usize, unsettled: Option<usize>| {
            let flip = crate::report::Flip {
                images: Vec::new(),
                before: 0,
                prediction: 0,
                tried: 4,
                unsettled,
            };
            (at, flip)
        };
        let some = Measured {
            removals: [removal(1, true), removal(2, true), removal(3, false)].into(),
            flips: [flip(1, None), flip(2, Some(6))].into(),
            refits: 9,
        };
        let said = statements(&record(json!({})), &Through::Head, Some(&some));
        let told = |part: &str| said.iter().find(|said| said.text.contains(part));
        let missed = told("2 of 9 refits behind measured values did not converge").unwrap();
        assert_eq!(missed.tone, Tone::Warning);
        assert!(
            told("Too little was measured")
                .unwrap()
                .text
                .contains("here 2 of 3")
        );
        assert!(told("Nothing was measured").is_none(), "{said:?}");
        let none = statements(&record(json!({})), &Through::Head, None);
        assert!(
            none.iter()
                .any(|said| said.text.contains("Nothing was measured"))
        );
        assert!(!none.iter().any(|said| said.text.contains("refits behind")));
    }
}
