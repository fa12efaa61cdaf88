//! Mean and deviation of the pixels, from the file or from the user: which of them can be meant.

use super::archive::CONVERT;
use crate::model::Normalisation;
use crate::{Error, Result};
use std::path::Path;

/// Where a checkpoint's normalisation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The file has it.
    File,
    /// The file has it, of pixels up to 255; it was divided by that.
    FileOf255,
    /// ImageNet's, which torchvision and timm use; the file says nothing.
    ImageNet,
}

/// The statistics of a file, divided by 255 where they are of pixels up to that.
pub(super) fn in_unit_pixels(
    stored: Normalisation,
    path: &Path,
) -> Result<(Normalisation, Origin)> {
    if !is_deviation(stored.deviation) {
        return Err(Error::format(
            path,
            "the normalisation's deviation",
            "positive numbers",
            format!("{:?}", stored.deviation),
            CONVERT,
        ));
    }
    let all_within = |most: f64| stored.mean.iter().all(|mean| (0.0..=most).contains(mean));
    // Pixels in [0, 1] deviate by less; 1 leaves them as they are.
    if all_within(1.0) && stored.deviation.iter().all(|&deviation| deviation <= 1.0) {
        return Ok((stored, Origin::File));
    }
    if !all_within(255.0) {
        return Err(Error::format(
            path,
            "the normalisation's mean",
            "means of pixels in [0, 1] or [0, 255]",
            format!("{:?}", stored.mean),
            CONVERT,
        ));
    }
    let divided = |numbers: [f64; 3]| numbers.map(|number| number / 255.0);
    let normalisation = Normalisation {
        mean: divided(stored.mean),
        deviation: divided(stored.deviation),
    };
    Ok((normalisation, Origin::FileOf255))
}

fn is_deviation(numbers: [f64; 3]) -> bool {
    (numbers.iter()).all(|number| number.is_finite() && *number > 0.0)
}

/// Refuses what pixels in [0, 1] cannot have.
pub(super) fn of_unit_pixels(given: Normalisation) -> Result<Normalisation> {
    if !is_deviation(given.deviation) {
        let [red, green, blue] = given.deviation;
        let reason = format!(
            "expected positive numbers, found {red},{green},{blue}; give those of the images it was trained on"
        );
        return Err(Error::config("source-deviation", reason));
    }
    for (option, kind, numbers, others) in [
        ("source-mean", "means", given.mean, "deviations"),
        ("source-deviation", "deviations", given.deviation, "means"),
    ] {
        if let Some(number) = (numbers.iter()).find(|number| !(0.0..=1.0).contains(*number)) {
            let reason = format!(
                "expected {kind} of pixels in [0, 1], found {number}; divide what is of 255 by 255, the {others} too"
            );
            return Err(Error::config(option, reason));
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mean: f64, deviation: f64) -> Normalisation {
        Normalisation {
            mean: [mean; 3],
            deviation: [deviation; 3],
        }
    }

    #[test]
    fn a_file_has_them_of_255_where_one_is_too_large_for_1() {
        let unit = |mean, deviation| in_unit_pixels(of(mean, deviation), Path::new("model.pt"));
        for (mean, deviation) in [(0.485, 0.229), (0.0, 1.0), (1.0, 0.5)] {
            let found = unit(mean, deviation).unwrap();
            assert_eq!(found, (of(mean, deviation), Origin::File));
        }
        for (mean, deviation, expected) in [
            (0.0, 255.0, of(0.0, 1.0)),
            (127.5, 127.5, of(0.5, 0.5)),
            (127.5, 1.0, of(0.5, 1.0 / 255.0)),
        ] {
            let found = unit(mean, deviation).unwrap();
            assert_eq!(found, (expected, Origin::FileOf255));
        }
    }

    #[test]
    fn those_of_255_that_the_user_gives_are_refused_by_their_option() {
        for given in [of(0.485, 0.229), of(0.0, 1.0)] {
            assert_eq!(of_unit_pixels(given).unwrap(), given);
        }
        for (given, option, kind, number) in [
            (of(127.5, 0.5), "mean", "means", 127.5),
            (of(0.0, 255.0), "deviation", "deviations", 255.0),
        ] {
            let message = of_unit_pixels(given).unwrap_err().to_string();
            let expected = format!(
                "--source-{option}: expected {kind} of pixels in [0, 1], found {number}; divide"
            );
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}
