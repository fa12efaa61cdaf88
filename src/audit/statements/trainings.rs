//! What trainings of the transfer without the losses of some images say of the scores.
//!
//! A handful of test images, whose losses may be decades apart: a correlation would be that of the largest. So each is asked whether its
//! measured rise is of the size that was predicted.

use super::{OF_SIZE, plain, statement};
use crate::audit::measured::Measured;
use crate::median::median;
use crate::report::{Removal, Statement, Tone};

/// The share of test images with rises of the right size from which on scores hold.
const HOLDS: f64 = 0.8;
/// The share below which they do not.
const FAILS: f64 = 0.5;
/// Test images that it takes to say so.
const FEWEST: usize = 3;

/// How many predicted rises hold, or why none was measured; nothing where that was not asked for.
pub(super) fn of_trainings(measured: Option<&Measured>) -> Option<Statement> {
    let measured = measured?;
    if let Some(reason) = &measured.failed {
        let text = format!("Nothing was measured by training again: {reason}.");
        return Some(statement(Tone::Warning, text));
    }
    let removals = measured.removals.values();
    let images = (removals.clone().map(|removal| removal.images)).max()?;
    let times = |removal: &Removal| removal.measured / removal.predicted;
    let mut times: Vec<f64> = removals.map(times).collect();
    let median = median(&mut times)?;
    let all = times.len();
    let held = times.iter().filter(|times| OF_SIZE.contains(times)).count();
    let tone = match held as f64 / all as f64 {
        _ if all < FEWEST => Tone::Note,
        share if share >= HOLDS => Tone::Good,
        share if share < FAILS => Tone::Warning,
        _ => Tone::Note,
    };
    Some(statement(
        tone,
        format!(
            "The transfer was trained again, in the same batches, once for each of {} without the losses of {}: for {held} of {all} the loss rises by half to twice as much as predicted, in the median by {} times as much.",
            if all == 1 {
                "one test image".to_owned()
            } else {
                format!("{all} test images")
            },
            match images {
                1 => "its most helpful image".to_owned(),
                images => format!("its {images} most helpful images"),
            },
            plain(median)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_image_is_asked_whether_its_rise_has_the_predicted_size() {
        let said = |measured: &[f64]| {
            let removal = |&measured| Removal {
                images: 10,
                predicted: 1e-3,
                measured: 1e-3 * measured,
                converged: None,
            };
            let measured = Measured {
                removals: measured.iter().map(removal).enumerate().collect(),
                refits: measured.len(),
                ..Measured::default()
            };
            of_trainings(Some(&measured))
        };
        for (measured, tone, part) in [
            (&[0.6, 1.0, 1.9, 1.1, 7.0][..], Tone::Good, "for 4 of 5 "),
            (&[0.6, 1.0, -3.0, 9.0], Tone::Note, "by 0.80 times"),
            (&[0.6, 0.1, -3.0], Tone::Warning, "for 1 of 3 "),
            (
                &[f64::NAN],
                Tone::Note,
                "for each of one test image without the losses of its 10 most",
            ),
            (&[f64::NAN, 1.0, f64::NAN], Tone::Warning, "for 1 of 3 "),
        ] {
            let found = said(measured).unwrap();
            assert_eq!(found.tone, tone, "{found:?}");
            assert!(found.text.contains(part), "{found:?}");
        }
        assert_eq!(said(&[]), None);
        assert_eq!(of_trainings(None), None);
        let failed = Measured {
            failed: Some("source: is not there".into()),
            ..Measured::default()
        };
        let told = of_trainings(Some(&failed)).unwrap();
        assert_eq!(told.tone, Tone::Warning);
        assert!(told.text.ends_with("training again: source: is not there."));
    }
}
