//! `--images` and `--seed`: the test images that a figure shows.

use crate::figure::{MOST_QUERIES, one_per_class};
use crate::influence::QueryRanking;
use crate::{Error, Result};
use clap::Args;
use serde_json::{Value, json};

/// Test images by id, or one of each class.
#[derive(Debug, Args)]
pub(super) struct TestImages {
    /// Test images to show, by id (default: a random one of each class)
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    images: Vec<usize>,
    /// Draws the test images
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl TestImages {
    /// Whether they were named, not drawn.
    pub(super) fn are_named(&self) -> bool {
        !self.images.is_empty()
    }

    /// Their ids, drawn from what is ranked where none are named.
    pub(super) fn of(&self, rankings: &[QueryRanking]) -> Result<Vec<usize>> {
        let (ids, remedy) = match self.are_named() {
            true => (self.images.clone(), "give fewer"),
            false => (
                one_per_class(rankings, self.seed),
                "one of each class; give some by --images ID,…",
            ),
        };
        match ids.len() <= MOST_QUERIES {
            true => Ok(ids),
            false => Err(Error::config(
                "images",
                format!(
                    "expected at most {MOST_QUERIES} test images in a figure, found {}, {remedy}",
                    ids.len()
                ),
            )),
        }
    }

    /// The effective values.
    pub(super) fn options(&self) -> [(&'static str, Value); 2] {
        [("images", json!(self.images)), ("seed", json!(self.seed))]
    }
}
