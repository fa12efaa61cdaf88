//! Whether what was trained is at a minimum of its training loss, as influence assumes, or the damping stands for where it stopped.

use super::{plain, statement};
use crate::artefact::RunRecord;
use crate::audit::facts::is_damped;
use crate::audit::through::Through;
use crate::evaluate::SMALL_GRADIENT;
use crate::report::{Statement, Tone};

/// Of the damping that stands for a training, the multiples that still do (`analysis/stopped-heads`).
const STANDS_FOR: std::ops::RangeInclusive<f64> = 0.5..=3.0;

pub(super) fn of_gradient(record: &RunRecord, through: &Through) -> Option<Statement> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::statements::tests::record;
    use serde_json::json;

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
}
