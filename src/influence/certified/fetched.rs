//! Gradients that are on a device, brought to the host at once for many short lists of them: a device is spoken to by one
//! thread.

use crate::Result;
use crate::influence::Examples;
use crate::influence::examples::HostFactors;

/// The factors of some rows.
pub(super) struct FetchedFactors {
    /// Their positions, ascending.
    positions: Vec<u32>,
    factors: HostFactors,
}

impl FetchedFactors {
    /// Of every row that is in one of the lists.
    pub(super) fn of(examples: &Examples, lists: &[Vec<u32>]) -> Result<Self> {
        let mut positions = lists.concat();
        positions.sort_unstable();
        positions.dedup();
        let factors = match positions.is_empty() {
            true => HostFactors {
                residuals: Vec::new(),
                inputs: Vec::new(),
            },
            false => examples.factors_at(&positions)?.on_host()?,
        };
        Ok(Self { positions, factors })
    }

    /// Those of one list.
    pub(super) fn at(&self, list: &[u32]) -> HostFactors {
        let count = self.positions.len().max(1);
        let rows = |values: &[f64]| -> Vec<f64> {
            let width = values.len() / count;
            let place = |at: &u32| self.positions.partition_point(|position| position < at);
            let rows = list.iter().map(|at| &values[place(at) * width..][..width]);
            rows.flatten().copied().collect()
        };
        HostFactors {
            residuals: rows(&self.factors.residuals),
            inputs: rows(&self.factors.inputs),
        }
    }
}
