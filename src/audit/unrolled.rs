//! What is said of scores by the way back through training.

use super::statements::{plain, statement};
use crate::artefact::RunRecord;
use crate::influence::{LARGEST_WAY_BACK_GROWTH, ROUGH, WAY_BACK_GROWTH};
use crate::report::{Statement, Tone};

/// What such a run calls its method.
pub(super) const UNROLLED: &str = "unrolled";
/// How far from the model, as a share of its size, a repeated training may end up and be taken for the same.
const SAME: f64 = 1e-3;

/// Whether a run's scores are those of the way back through training.
pub fn is_unrolled(record: &RunRecord) -> bool {
    let plan = record.results.get("plan");
    let method = plan.and_then(|plan| plan.get("method")?.as_str());
    method == Some(UNROLLED)
}

/// What the scores are, and whether the training that was differentiated is the model's; nothing of other runs.
pub(super) fn statements(record: &RunRecord) -> Option<Vec<Statement>> {
    if !is_unrolled(record) {
        return None;
    }
    let what = statement(
        Tone::Good,
        "Scores are derivatives of the training itself, step by step: nothing was damped, and no minimum is assumed. They are first-order: of one image, in the batches that it was in.".into(),
    );
    let off_by = record.results.get("repeated_off_by")?.as_f64()?;
    let same = match off_by {
        0.0 => statement(
            Tone::Good,
            "The training was repeated for that and ended at the very same model.".into(),
        ),
        off_by if off_by <= SAME => statement(
            Tone::Note,
            format!(
                "The training was repeated for that and ended {off_by:.1e} of its parameters’ size away from the model."
            ),
        ),
        off_by => statement(
            Tone::Warning,
            format!(
                "The training was repeated for that and ended {off_by:.1e} of its parameters’ size away from the model, as on another machine or device, or in another precision: scores are those of a model that is not quite this one."
            ),
        ),
    };
    Some(vec![what, same])
}

/// Proofs, which there are none of.
pub(super) fn of_certificates() -> Statement {
    let text = "No rank was proven: certificates are for scores by the curvature of a head.";
    statement(Tone::Note, text.into())
}

/// Of scores that nothing was held against.
pub(super) fn of_nothing_measured() -> Statement {
    let text = "Nothing was measured here, so that it is not known how far a first order carries in this training. ascribe audit --measure N trains again for N test images, and ascribe evaluate RUN --lds N --retrain SEEDS on subsets and with other seeds, for a run with --scores.";
    statement(Tone::Note, text.into())
}

/// Whether training amplified small changes; nothing of runs that did not note it, nor of little growth where it `is_measured` how far a
/// first order carries.
pub(super) fn of_growth(record: &RunRecord, is_measured: bool) -> Option<Statement> {
    let notes = record.results.get("solver")?;
    let number = |name: &str| notes.get(name)?.as_f64();
    let (growth, most) = (number(WAY_BACK_GROWTH)?, number(LARGEST_WAY_BACK_GROWTH)?);
    let times = format!(
        "{} times their length in the median, {} at most",
        plain(growth),
        plain(most)
    );
    match growth < ROUGH {
        true if is_measured => None,
        true => Some(statement(
            Tone::Note,
            format!(
                "On the way back derivatives grew to {times}, which shows nothing rough and proves nothing smooth."
            ),
        )),
        false => Some(statement(
            Tone::Warning,
            format!(
                "On the way back derivatives grew to {times}: training amplifies small changes, other seeds may say otherwise, and of many images left out at once the scores say little. A transfer with a lower --learning-rate or --head-deviation is smoother."
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Through;
    use crate::audit::measured::Measured;
    use crate::audit::statements::statements as all_statements;
    use crate::model::Blocks;
    use crate::report::Removal;
    use serde_json::json;

    fn record(off_by: f64, growth: f64) -> RunRecord {
        serde_json::from_value(json!({
            "ascribe": "0", "command": "rank", "arguments": [], "options": { "solver": "auto", "unrolled": true },
            "inputs": [], "classes": null, "device": "cpu", "threads": 1, "stages": [],
            "results": { "plan": { "method": "unrolled" }, "repeated_off_by": off_by, "gradient_norm": 0.4, "solves": {},
                "solver": { "way_back_growth": growth, "largest_way_back_growth": 9.5 } },
            "status": "finished", "started_at": "", "seconds": 1.0,
        }))
        .unwrap()
    }

    #[test]
    fn a_training_that_came_out_otherwise_is_told_and_solves_are_not() {
        let through = Through::Blocks {
            blocks: Blocks::Last(0),
            scores: None,
        };
        for (off_by, tone, part) in [
            (0.0, Tone::Good, "the very same model"),
            (2e-6, Tone::Note, "2.0e-6 of its parameters’ size"),
            (0.02, Tone::Warning, "not quite this one"),
        ] {
            let said = all_statements(&record(off_by, 1.0), &through, None);
            assert_eq!((said[0].tone, said[1].tone), (Tone::Good, tone));
            assert!(said[1].text.contains(part), "{}", said[1].text);
            let text: Vec<&str> = said.iter().map(|said| said.text.as_str()).collect();
            let text = text.join(" ");
            for part in ["proves nothing smooth", "audit --measure N"] {
                assert!(text.contains(part), "{text}");
            }
            // Nothing of systems that were solved, or of a minimum that is far.
            let wrong = |text: &str| text.contains("solved") || text.contains("gradient norm");
            assert!(
                !said.iter().any(|statement| wrong(&statement.text)),
                "{said:?}"
            );
        }
        let said = all_statements(&record(0.0, 6.1), &through, None);
        let growth = "6.10 times their length in the median, 9.50 at most";
        let told = said.iter().find(|said| said.text.contains(growth));
        assert_eq!(told.map(|told| told.tone), Some(Tone::Warning), "{said:?}");
    }

    /// Measured values take the place of the advice to measure, and of a growth that proves nothing.
    #[test]
    fn trainings_speak_for_or_against() {
        let through = Through::Blocks {
            blocks: Blocks::Last(1),
            scores: None,
        };
        let said = |times: f64, growth: f64| {
            let removal = Removal {
                images: 10,
                predicted: 0.02,
                measured: 0.02 * times,
                converged: None,
            };
            let measured = Measured {
                removals: (1..6).map(|at| (at, removal)).collect(),
                refits: 5,
                ..Measured::default()
            };
            let said = all_statements(&record(0.0, growth), &through, Some(&measured));
            let told = |part: &str| said.iter().find(|said| said.text.contains(part)).cloned();
            assert_eq!(told("Nothing was measured"), None);
            assert_eq!(told("derivatives grew").is_some(), growth > ROUGH);
            told("The transfer was trained again, in the same batches, once for each").unwrap()
        };
        let (good, bad) = (said(0.9, 1.0), said(30.0, 6.1));
        assert_eq!((good.tone, bad.tone), (Tone::Good, Tone::Warning));
    }
}
