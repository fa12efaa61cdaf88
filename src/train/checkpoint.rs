//! The state of training between two epochs, so that a killed run goes on exactly as it would have.
//!
//! Weights, running statistics, velocities and the history so far in one safetensors file, replaced whole after each
//! epoch. Everything random comes from (seed, epoch, index), so nothing else is needed. A digest of all of it lies in the file: a
//! training does not go on from what it did not leave.

use super::guard::Check;
use super::history::Epoch;
use super::state::State;
use crate::artefact::digest_bytes;
use crate::data::little_endian;
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
        let [history, checks] = [
            serde_json::json!(self.history),
            serde_json::json!(self.checks),
        ]
        .map(|rows| rows.to_string());
        let digest = digest(&tensors, &history, &checks)?;
        let metadata = [("history", history), ("checks", checks), ("digest", digest)];
        let metadata = metadata.map(|(name, text)| (name.to_owned(), text));
        write_tensors(&tensors, HashMap::from(metadata), path)
    }

    /// The checkpoint at `path`, if there is one.
    pub(super) fn read(path: &Path, device: &Device) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, "read")(error)),
        };
        let remedy = "remove the file to train from the start";
        let altered = || Error::conflict(path, "is not what the training left here", remedy);
        let read = tensors_from_bytes(&bytes, path, device);
        let (all, metadata) = read.map_err(|_| altered())?;
        let entry = |name: &str| metadata.get(name).map_or("", String::as_str);
        let (history, checks) = (entry("history"), entry("checks"));
        if digest(&all, history, checks)? != entry("digest") {
            return Err(altered());
        }
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
                remedy,
            )
        };
        Ok(Some(Self {
            state: State {
                tensors: part("model."),
                velocities: part("velocity."),
            },
            history: serde_json::from_str(history)
                .map_err(|error| malformed("history", "a list of epochs", error))?,
            checks: serde_json::from_str(checks)
                .map_err(|error| malformed("checks", "a list of looks", error))?,
        }))
    }
}

/// Of all that is kept: the tensors by name, and the two lists as they are written.
fn digest(tensors: &BTreeMap<String, Tensor>, history: &str, checks: &str) -> Result<String> {
    let mut parts = digest_bytes(history.as_bytes()) + &digest_bytes(checks.as_bytes());
    for (name, tensor) in tensors {
        let numbers = digest_bytes(&little_endian(tensor)?);
        parts.push_str(&format!("{name} {:?} {numbers}\n", tensor.dims()));
    }
    Ok(digest_bytes(parts.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    /// Reads a file that holds these lists and the digest of them.
    fn read(history: &str, checks: &str) -> std::result::Result<Checkpoint, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let weight = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("model.weight".to_owned(), weight)]);
        let digest = digest(&tensors, history, checks).unwrap();
        let metadata = [
            ("history", history),
            ("checks", checks),
            ("digest", digest.as_str()),
        ];
        let metadata = metadata.map(|(name, text)| (name.to_owned(), text.to_owned()));
        write_tensors(&tensors, HashMap::from(metadata), &path).unwrap();
        let read = Checkpoint::read(&path, &Device::Cpu);
        read.map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_that_are_none_are_refused_though_their_digest_is_right() {
        let good = read("[]", "[]").unwrap();
        assert!(good.history.is_empty() && good.checks.is_empty());
        assert!(good.state.tensors.contains_key("weight"));
        for list in ["", "{}", "[1]", r#"[{"epoch": "first"}]"#, "[]]"] {
            for (found, expected) in [
                (read(list, "[]"), "entry history: expected a list of epochs"),
                (read("[]", list), "entry checks: expected a list of looks"),
            ] {
                let found = found.unwrap_err();
                assert!(
                    found.contains(expected)
                        && found.ends_with("remove the file to train from the start"),
                    "{found}"
                );
            }
        }
    }
}
