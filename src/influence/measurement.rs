//! What is measured of a query, the m of score = (1/n) ∇mᵀ A⁻¹ ∇ℓ: its loss at the label that it has, or at the class that the model
//! predicts.
//!
//! The second asks what the prediction itself rests on, and needs no labels. It is the same work with other labels, so that a query then
//! counts as an image of the class that is predicted wherever the run is taken up: positive = helpful to that prediction.
//!
//! Of the margin of TRAK (Park et al. 2023), f = ln(p/(1−p)) of either class, ∇(−f) = ∇ℓ/(1−p): every score of a query is divided by
//! one number, which changes no ranking.

use crate::artefact::RunRecord;
use clap::ValueEnum;
use serde_json::Value;

/// Where a query's loss is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Measurement {
    /// Its label
    #[default]
    Label,
    /// The class that the model predicts, whatever its label, if it has one
    Prediction,
}

impl Measurement {
    /// That of a run of `ascribe rank`.
    #[must_use]
    pub fn of(record: &RunRecord) -> Self {
        let given = record.options.get("measurement").and_then(Value::as_str);
        let given = given.and_then(|name| Self::from_str(name, false).ok());
        given.unwrap_or_default()
    }

    /// What `run.json` says; nothing of labels, as in runs from before there was a choice.
    pub(crate) fn recorded(self) -> Option<&'static str> {
        (self == Self::Prediction).then_some("prediction")
    }
}
