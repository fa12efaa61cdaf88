//! Queries that count as images of the class that the model predicts. `run.json` keeps these labels, so that rounding elsewhere
//! changes none.

use super::material::Side;
use crate::Result;
use crate::artefact::RunRecord;
use crate::data::NewLabels;
use crate::derivative::head::SoftmaxHead;
use crate::influence::{Examples, Measurement};
use candle_core::DType;

/// The result in `run.json` that holds the classes that were predicted, by id.
pub(super) const QUERY_LABELS: &str = "query_labels";

/// The classes that a run's queries count as, by id; none where they have labels.
pub(in crate::cli) fn query_labels(record: &RunRecord) -> Result<NewLabels> {
    match Measurement::of(record) {
        Measurement::Label => Ok(NewLabels::new()),
        Measurement::Prediction => record.result(QUERY_LABELS),
    }
}

impl Side {
    /// Gives each image the class that `head` predicts, computed in `precision`.
    pub(super) fn label_by_prediction(
        &mut self,
        head: &SoftmaxHead,
        precision: DType,
    ) -> Result<()> {
        let predictions = Examples::new(&self.set(), head, precision)?;
        self.labels = predictions.images().predictions.to_vec();
        Ok(())
    }

    /// Gives images the labels of `labels`, by id.
    pub(super) fn relabel(&mut self, labels: &NewLabels) {
        for (id, label) in self.ids.iter().zip(&mut self.labels) {
            *label = labels.get(id).copied().unwrap_or(*label);
        }
    }

    /// The labels by id.
    pub(super) fn labels_by_id(&self) -> NewLabels {
        let labels = self.labels.iter().copied();
        self.ids.iter().copied().zip(labels).collect()
    }
}
