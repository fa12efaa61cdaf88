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
    if all_within(1.0) {
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
    match (given.mean.iter()).find(|mean| !(0.0..=1.0).contains(*mean)) {
        None => Ok(given),
        Some(mean) => {
            let reason = format!(
                "expected means of pixels in [0, 1], found {mean}; divide what is of 255 by 255, the deviations too"
            );
            Err(Error::config("source-mean", reason))
        }
    }
}
