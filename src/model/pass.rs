//! How a pass forward is made: which statistics batch norm uses, what it saw, and what is kept for the way back.

use super::op::BatchMoments;
use super::trace::Traced;

/// One pass forward.
#[derive(Debug)]
pub struct Pass {
    /// Segments from here on use the batch's own moments; `None`: all use the running statistics.
    batch_statistics_from: Option<usize>,
    pub(super) observed: Vec<(String, BatchMoments)>,
    /// What the segments from here on leave; `None`: nothing.
    traced_from: Option<usize>,
    trace: Vec<Traced>,
}

impl Pass {
    /// Evaluation mode: running statistics everywhere.
    #[must_use]
    pub fn evaluation() -> Self {
        Self {
            batch_statistics_from: None,
            observed: Vec::new(),
            traced_from: None,
            trace: Vec::new(),
        }
    }

    /// Training mode for the segments from `segment` on, evaluation mode before.
    #[must_use]
    pub fn training_from(segment: usize) -> Self {
        Self {
            batch_statistics_from: Some(segment),
            ..Self::evaluation()
        }
    }

    /// From now on the segments from `segment` on leave what the way back needs.
    pub(crate) fn trace_from(&mut self, segment: usize) {
        self.traced_from = Some(segment);
    }

    /// What was left, in the order of the pass.
    pub(crate) fn take_trace(&mut self) -> Vec<Traced> {
        std::mem::take(&mut self.trace)
    }

    pub(super) fn has_batch_statistics(&self, segment: usize) -> bool {
        (self.batch_statistics_from).is_some_and(|first| segment >= first)
    }

    /// Where a segment leaves what the way back needs.
    pub(super) fn trace_of(&mut self, segment: usize) -> Option<&mut Vec<Traced>> {
        let traced = self.traced_from.is_some_and(|first| segment >= first);
        traced.then_some(&mut self.trace)
    }
}
