//! What `run.json` says of the options of `ascribe rank`.

use super::Rank;
use crate::artefact::Options;
use crate::influence::RankOptions;
use serde_json::json;

impl Rank {
    /// Every option with the value it takes effect with.
    pub(super) fn effective(&self, options: &RankOptions) -> Options {
        let values = [
            ("model", json!(self.model)),
            ("train", json!(self.train)),
            ("test", json!(self.test)),
            ("measurement", json!(self.measurement.recorded())),
            ("head", json!(self.head)),
            ("l2", json!(options.l2)),
            ("damping", json!(options.damping)),
            ("blocks", json!(self.blocks)),
            ("queries", json!(self.queries)),
            ("shares", json!(self.shares)),
            ("query-rank", json!(self.query_rank)),
            ("curvature", json!(self.effective_curvature())),
            ("solver", json!(self.solver)),
            (
                "tolerance",
                json!(options.solver.effective_tolerance(options.precision)),
            ),
            ("iterations", json!(self.iterations)),
            ("rank", json!(self.rank)),
            ("rcond", json!(self.rcond)),
            ("scale", json!(self.scale)),
            ("depth", json!(self.depth)),
            ("repeats", json!(self.repeats)),
            ("batch-size", json!(self.batch_size)),
            ("steps", json!(self.steps)),
            ("step-size", json!(self.step_size)),
            ("seed", json!(self.seed)),
            ("device", json!(self.device)),
            ("precision", json!(self.precision)),
            ("top", json!(self.top)),
            ("bottom", json!(self.bottom)),
            ("certify", json!(self.certify)),
            ("normalise", json!(self.normalise)),
            ("correction", json!(self.correction)),
            ("query-groups", json!(self.query_groups)),
            // Null where it is not given: runs of before did not know it.
            ("groups-only", json!(self.groups_only.then_some(true))),
            ("train-groups", json!(self.train_groups)),
            ("damping-path", json!(self.damping_path)),
            ("path-queries", json!(self.path_queries)),
            ("style", json!(self.style.to_string())),
            ("memory", json!(self.memory)),
            ("record-every", json!(self.record_every)),
            ("scores", json!(self.scores)),
            // Null where it is not given, as in runs from before there was such an option.
            ("keep-features", json!(self.keep_features.then_some(true))),
            ("skip-train", json!(self.skip_train)),
            ("out", json!(self.out)),
            ("json", json!(self.json.is_asked())),
        ];
        values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}
