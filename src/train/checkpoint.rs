//! The state of training between two epochs, so that a killed run goes on exactly as it would have.
//!
//! Weights, running statistics, velocities and the history so far in one safetensors file, replaced whole after each
//! epoch. Everything random comes from (seed, epoch, index), so nothing else is needed.

use super::guard::Check;
use super::history::Epoch;
use super::state::State;
use crate::model::{tensors_from_bytes, write_tensors};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What is kept.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Weights, statistics and velocities.
    pub state: State,
    /// All epochs so far.
    pub history: Vec<Epoch>,
    /// All looks of the guard so far.
    pub checks: Vec<Check>,
}

impl Checkpoint {
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let prefixed = |prefix: &'static str, map: &BTreeMap<String, Tensor>| {
            map.iter()
                .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.detach()))
                .collect::<Vec<_>>()
        };
        let tensors = prefixed("model.", &self.state.tensors)
            .into_iter()
            .chain(prefixed("velocity.", &self.state.velocities))
            .collect();
        let metadata = HashMap::from([
            ("history", serde_json::json!(self.history)),
            ("checks", serde_json::json!(self.checks)),
        ]);
        let metadata = metadata
            .into_iter()
            .map(|(name, rows)| (name.to_owned(), rows.to_string()))
            .collect();
        write_tensors(&tensors, metadata, path)
    }

    /// The checkpoint at `path`, if there is one.
    pub(super) fn read(path: &Path, device: &Device) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, "read")(error)),
        };
        let (all, metadata) = tensors_from_bytes(&bytes, path, device)?;
        let part = |prefix: &str| {
            all.iter()
                .filter_map(|(name, tensor)| {
                    Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
                })
                .collect()
        };
        let malformed = |name: &str, expected: &str, error: serde_json::Error| {
            Error::format(
                path,
                format!("metadata entry {name}"),
                expected,
                error.to_string(),
                "remove the file to train from the start",
            )
        };
        Ok(Some(Self {
            state: State {
                tensors: part("model."),
                velocities: part("velocity."),
            },
            history: serde_json::from_str(metadata.get("history").map_or("", String::as_str))
                .map_err(|error| malformed("history", "a list of epochs", error))?,
            checks: serde_json::from_str(metadata.get("checks").map_or("[]", String::as_str))
                .map_err(|error| malformed("checks", "a list of looks", error))?,
        }))
    }
}
