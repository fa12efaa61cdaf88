//! Scores that somebody else computed, as a run of `ascribe rank --blocks --scores`.

use super::{Estimate, Estimator, Setting};
use crate::{Error, Result};
use ndarray::Array2;

/// Scores as they are.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// What they are called.
    pub name: String,
    /// What they are in.
    pub unit: &'static str,
    /// `[query, train]`
    pub scores: Array2<f64>,
}

impl Estimator for Fixed {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> &'static str {
        self.unit
    }

    fn estimate(&self, setting: &Setting) -> Result<Estimate> {
        let expected = (setting.queries.ids.len(), setting.train.ids.len());
        if self.scores.dim() != expected {
            let remedy = "give the scores of the run that is evaluated";
            let (expected, found) = (format!("{expected:?}"), format!("{:?}", self.scores.dim()));
            return Err(Error::mismatch(
                "scores [query, train]",
                expected,
                found,
                remedy,
            ));
        }
        Ok(Estimate::plain(self.scores.clone()))
    }
}
