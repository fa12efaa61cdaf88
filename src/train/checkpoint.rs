//! The state of training between two epochs, so that a killed run goes on exactly as it would have.
//!
//! Weights, running statistics, velocities and the history so far in one safetensors file, replaced whole after each
//! epoch. Everything random comes from (seed, epoch, index), so nothing else is needed.

use super::history::Epoch;
use crate::model::{tensors_from_bytes, write_tensors};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What is kept.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// Model tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Velocities of the optimiser by parameter name.
    pub velocities: BTreeMap<String, Tensor>,
    /// All epochs so far.
    pub history: Vec<Epoch>,
}

impl Checkpoint {
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let prefixed = |prefix: &'static str, map: &BTreeMap<String, Tensor>| {
            map.iter()
                .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.detach()))
                .collect::<Vec<_>>()
        };
        let tensors = prefixed("model.", &self.tensors)
            .into_iter()
            .chain(prefixed("velocity.", &self.velocities))
            .collect();
        let metadata = HashMap::from([(
            "history".to_owned(),
            serde_json::json!(self.history).to_string(),
        )]);
        write_tensors(&tensors, metadata, path)
    }

    /// The checkpoint at `path`, if there is one.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, "read")(error)),
        };
        let (all, metadata) = tensors_from_bytes(&bytes, path, &Device::Cpu)?;
        let part = |prefix: &str| {
            all.iter()
                .filter_map(|(name, tensor)| {
                    Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
                })
                .collect()
        };
        let history = metadata
            .get("history")
            .map(String::as_str)
            .unwrap_or_default();
        let history = serde_json::from_str(history).map_err(|error| {
            Error::format(
                path,
                "metadata entry history",
                "a list of epochs",
                error.to_string(),
                "remove the file to train from the start",
            )
        })?;
        Ok(Some(Self {
            tensors: part("model."),
            velocities: part("velocity."),
            history,
        }))
    }
}
