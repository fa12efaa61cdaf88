//! A number of training images, as an axis of a study has it.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// So many training images, or all that a target set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageCount {
    /// So many.
    Number(usize),
    /// All of them.
    All,
}

impl ImageCount {
    /// How many these are of `total`.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Number(images) => images,
            Self::All => total,
        }
    }
}

impl fmt::Display for ImageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(images) => images.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for ImageCount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = || text.parse().ok().filter(|&images| images > 0);
        match text {
            "all" => Ok(Self::All),
            _ => number().map(Self::Number).ok_or_else(|| {
                let reason = format!("expected a number above 0 or all, found {text}");
                Error::config("images", reason)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_all_are_read_as_they_are_written() {
        for (text, of_ten) in [("3", 3), ("all", 10)] {
            let count: ImageCount = text.parse().unwrap();
            assert_eq!((count.to_string(), count.of(10)), (text.to_owned(), of_ten));
        }
        for wrong in ["0", "-1", "most", ""] {
            let message = wrong.parse::<ImageCount>().unwrap_err().to_string();
            assert!(message.contains("--images"), "{message}");
        }
    }
}
