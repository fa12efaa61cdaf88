//! What a run recorded of itself.

use serde_json::Value;
use std::path::Path;

pub fn record(folder: &Path, run: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(run).join("run.json")).unwrap()).unwrap()
}
