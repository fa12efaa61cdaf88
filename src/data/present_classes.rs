//! The classes that images have, which may be fewer than a set or a head knows.

use std::collections::BTreeSet;

/// The classes of some labels, in order.
pub(crate) struct PresentClasses(Vec<usize>);

impl PresentClasses {
    pub(crate) fn of<'a>(labels: impl IntoIterator<Item = &'a usize>) -> Self {
        let there: BTreeSet<usize> = labels.into_iter().copied().collect();
        Self(there.into_iter().collect())
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The one at a place.
    pub(crate) fn class(&self, at: usize) -> usize {
        self.0[at]
    }

    /// The class `steps` after that of a label, the first after the last.
    pub(crate) fn after(&self, label: usize, steps: usize) -> usize {
        let at = self.0.partition_point(|&class| class < label);
        self.0[(at + steps) % self.0.len()]
    }
}
