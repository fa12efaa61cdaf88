//! How much of a model is fine-tuned.

use super::Architecture;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How many residual blocks before the head are fine-tuned: the paper's "unfrozen blocks".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Blocks {
    /// The head and this many blocks; 0 is the head alone.
    Last(usize),
    /// Everything, the stem included.
    All,
}

impl Blocks {
    /// The first segment that is trained.
    ///
    /// # Errors
    /// Where the architecture has fewer blocks.
    pub fn first_segment(self, architecture: &Architecture) -> Result<usize> {
        let count = architecture.block_count();
        match self {
            Self::All => Ok(0),
            Self::Last(blocks) if blocks <= count => Ok(count + 1 - blocks),
            Self::Last(blocks) => Err(Error::config(
                "blocks",
                format!(
                    "{blocks} blocks asked for, but {architecture} has {count}; choose 0 to {count}, or all"
                ),
            )),
        }
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last(blocks) => blocks.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Blocks {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Last).map_err(|_| {
                Error::config("blocks", format!("expected a number of residual blocks (0 is the head alone) or all, found {text}"))
            }),
        }
    }
}

impl TryFrom<String> for Blocks {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Blocks> for String {
    fn from(blocks: Blocks) -> Self {
        blocks.to_string()
    }
}
