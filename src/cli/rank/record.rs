//! What `run.json` says of the options of `ascribe rank`.

use super::Rank;
use crate::Result;
use crate::artefact::{Options, effective};
use crate::influence::RankOptions;
use serde_json::json;

impl Rank {
    /// Every option with the value it takes effect with.
    pub(super) fn effective(&self, options: &RankOptions) -> Result<Options> {
        let tolerance = options.solver.effective_tolerance(options.precision);
        let by_curvature = !self.unrolled;
        let settled = [
            ("measurement", json!(self.measurement.recorded())),
            ("l2", json!(options.l2)),
            ("damping", json!(by_curvature.then_some(options.damping))),
            (
                "curvature",
                json!(by_curvature.then(|| self.effective_curvature())),
            ),
            ("tolerance", json!(by_curvature.then_some(tolerance))),
        ];
        let mut all = effective(self)?;
        all.extend(settled.map(|(name, value)| (name.to_owned(), value)));
        Ok(all)
    }
}
