//! Ranges that numbers of options lie in, and the refusal of those that do not.

use crate::{Error, Result};

/// The number, if it is finite and 0 or more.
pub(crate) fn at_least_zero(option: &'static str, value: f64) -> Result<f64> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(value),
        false => refused(option, format!("{value} is not a number of 0 or more")),
    }
}

/// The number, if it is finite and above 0.
pub(crate) fn above_zero(option: &'static str, value: f64) -> Result<f64> {
    match value.is_finite() && value > 0.0 {
        true => Ok(value),
        false => refused(option, format!("{value} is not a number above 0")),
    }
}

/// The number, if it is above 0 and below 1.
pub(crate) fn between_zero_and_one(option: &'static str, value: f64) -> Result<f64> {
    match value > 0.0 && value < 1.0 {
        true => Ok(value),
        false => refused(option, format!("{value} is not between 0 and 1")),
    }
}

/// The count, if there is any.
pub(crate) fn at_least_one(option: &'static str, value: usize) -> Result<usize> {
    match value > 0 {
        true => Ok(value),
        false => refused(option, "at least 1 is needed".into()),
    }
}

fn refused<T>(option: &'static str, reason: String) -> Result<T> {
    Err(Error::config(option, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_ranges_and_what_is_no_number() {
        for value in [f64::NAN, f64::INFINITY, -1e-300] {
            assert!(at_least_zero("l2", value).is_err() && above_zero("l2", value).is_err());
            assert!(between_zero_and_one("rcond", value).is_err());
        }
        assert_eq!(at_least_zero("l2", 0.0).unwrap(), 0.0);
        let message = above_zero("scale", 0.0).unwrap_err().to_string();
        assert_eq!(message, "--scale: 0 is not a number above 0");
        assert!(between_zero_and_one("rcond", 1.0).is_err() && above_zero("scale", 1.0).is_ok());
        assert!(at_least_one("depth", 0).is_err() && at_least_one("depth", 1).is_ok());
    }
}
