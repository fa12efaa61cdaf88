//! Radii of perturbations, in pixel units of `[0, 1]`: how they are written, and which there are.

use super::adversary::Norm;
use crate::{Error, Result};
use std::ops::RangeInclusive;

/// Radii whose squares f32 has room for.
const RADII: RangeInclusive<f64> = 1e-15..=1e15;

/// A radius as it is typed, and as it stands in a study's spec: a number, or a fraction of two.
///
/// # Errors
/// Says what is expected.
pub(crate) fn read_radius(text: &str) -> std::result::Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let found = match text.split_once('/') {
        None => number(text),
        Some((above, below)) => (number(above).zip(number(below))).map(|(a, b)| a / b),
    };
    found.ok_or_else(|| "expected a number, as in 0.25 or 8/255".to_owned())
}

/// Refuses a radius that is none, and one in 255ths: no pixel changes by more than 1.
///
/// # Errors
/// Names the option.
pub(crate) fn check_epsilon(norm: Norm, epsilon: f64) -> Result<()> {
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        let reason =
            format!("expected a positive number in pixel units of [0, 1], found {epsilon}");
        return Err(Error::config("epsilon", reason));
    }
    if !RADII.contains(&epsilon) {
        let reason = format!("expected a number from 1e-15 to 1e15, found {epsilon:e}");
        return Err(Error::config("epsilon", reason));
    }
    if norm == Norm::Linf && epsilon > 1.0 {
        let reason = format!(
            "expected at most 1, since pixels are in [0, 1], found {epsilon}; {epsilon} of 255 is {epsilon}/255"
        );
        return Err(Error::config("epsilon", reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radii_are_numbers_or_fractions() {
        let expected = [("0.25", 0.25), ("8/255", 8.0 / 255.0), (" 1 / 4", 0.25)];
        for (text, value) in expected {
            assert_eq!(read_radius(text), Ok(value));
        }
        for text in ["", "/", "8/", "a", "1/2/3"] {
            assert!(read_radius(text).is_err(), "{text}");
        }
    }
}
