//! What refits of the head say of the scores.

use super::{OF_SIZE, plain, statement};
use crate::artefact::RunRecord;
use crate::audit::measured::Measured;
use crate::report::{Statement, Tone};

/// The correlation from which on predicted rises order test images as the measured ones do.
const CORRELATES: f64 = 0.9;

pub(super) fn of_measurements(record: &RunRecord, measured: Option<&Measured>) -> Statement {
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
        .filter(|removal| removal.converged == Some(true))
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
    let (tone, verdict) = match correlation > CORRELATES && ratio > 0.0 {
        false => (Tone::Warning, ""),
        true if OF_SIZE.contains(&ratio) => (Tone::Good, ""),
        true => (
            Tone::Note,
            " So their order holds, but their size does not: damping, an approximate solver, or leaving out much at once makes that.",
        ),
    };
    statement(
        tone,
        format!(
            "Held against refits of the head without the most helpful images of {} test images: predicted and measured rise correlate at {correlation:.3}, and the measured one is {} times the predicted.{verdict}",
            pairs.len(),
            plain(ratio)
        ),
    )
}

/// Refits for measured values that did not get to their minimum, where there are such.
pub(super) fn of_refits(measured: &Measured) -> Option<Statement> {
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
    use crate::audit::statements::statements;
    use crate::audit::statements::tests::record;
    use crate::audit::through::Through;
    use serde_json::json;

    #[test]
    fn measurements_speak_for_or_against() {
        let measured = |times: f64, noise: f64| {
            let removal = |at: usize| crate::report::Removal {
                images: 10,
                predicted: at as f64,
                measured: times * at as f64 + noise * [1.0, -1.0][at % 2],
                converged: Some(true),
            };
            Measured {
                removals: (1..8).map(|at| (at, removal(at))).collect(),
                refits: 7,
                ..Measured::default()
            }
        };
        let said = |times: f64, noise: f64| {
            of_measurements(&record(json!({})), Some(&measured(times, noise)))
        };
        let (good, bad) = (said(1.9, 0.1), said(1.9, 30.0));
        assert_eq!((good.tone, bad.tone), (Tone::Good, Tone::Warning));
        assert!(
            good.text.contains("7 test images") && good.text.ends_with("1.90 times the predicted."),
            "{good:?}"
        );
        for size in [28.5, 0.01] {
            let ordered = said(size, 1e-3);
            assert_eq!(ordered.tone, Tone::Note);
            assert!(ordered.text.contains("their size does not"), "{ordered:?}");
        }
        assert_eq!(said(-1.0, 0.0).tone, Tone::Warning);
    }

    #[test]
    fn refits_that_did_not_converge_are_counted_and_told() {
        let removal = |at: usize, converged: bool| {
            let removal = crate::report::Removal {
                images: 10,
                predicted: at as f64,
                measured: 2.0 * at as f64,
                converged: Some(converged),
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
            failed: None,
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
