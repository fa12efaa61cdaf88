//! The two containers that `torch.save` has written.
//!
//! - Since PyTorch 1.6: a zip archive, uncompressed, of `<name>/data.pkl` (the pickle), `<name>/data/<key>` (one file a
//!   storage), `<name>/byteorder`.
//! - Before: five things one after the other: a pickled magic number, the protocol's number, facts about the machine,
//!   the pickle itself, the list of storage keys; then, for each key, its count (8 bytes) and its numbers.

#[cfg(test)]
mod tests;

use super::naming::naming;
use super::pickle::{Pickle, Value};
use super::torch_values::{Laid, StateDict, Storage};
use crate::stand_in::found_in;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

/// The magic number with which the old format begins, as it is pickled in every protocol.
const MAGIC: [u8; 13] = [
    0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
];
const AGAIN: &str = "the file is damaged or cut short: copy it again";
/// What to do with a file of another kind.
pub(super) const CONVERT: &str =
    "write the weights alone, in Python: torch.save(model.state_dict(), \"weights.pt\")";
/// What to do with a file of several models.
const CHOOSE: &str = "load the file in Python and write the one that is meant alone: torch.save(WEIGHTS, \"weights.pt\")";
/// Places that a message names: a list of hundreds is not read.
const NAMED: usize = 4;

/// A file written by `torch.save`.
pub(super) struct Archive<'a> {
    path: &'a Path,
    /// `None` in the old format.
    zip: Option<Zip<'a>>,
    storages: Storages<'a>,
    pub(super) state: StateDict,
}

/// Storages where they lie in the file, by key: in the old format all, in a zip archive those that were asked for, their checksums
/// compared.
type Storages<'a> = BTreeMap<String, &'a [u8]>;

struct Zip<'a> {
    bytes: &'a [u8],
    archive: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
}

/// How many bytes [`begins_as_saved`] looks at: those of a zip archive's first name and what stands before it.
pub(super) const START: u64 = 512;

/// Whether a file that begins so was written by `torch.save`: other zip archives do not begin with a pickle.
pub(super) fn begins_as_saved(start: &[u8]) -> bool {
    let pickle = b"/data.pkl";
    match start.starts_with(b"PK\x03\x04") {
        true => start.windows(pickle.len()).any(|name| name == pickle),
        false => magic_length(start).is_some(),
    }
}

/// Whether the bytes begin as `torch.save` begins a file.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || magic_length(bytes).is_some()
}

/// How long the first pickle of the old format is, if these bytes begin with it: protocol, from 4 on a frame, magic number.
fn magic_length(bytes: &[u8]) -> Option<usize> {
    let rest = match bytes {
        [0x80, 2 | 3, rest @ ..] => rest,
        [0x80, 4 | 5, 0x95, rest @ ..] => rest.get(8..)?,
        _ => return None,
    };
    let before = bytes.len() - rest.len();
    rest.starts_with(&MAGIC).then_some(before + MAGIC.len())
}

impl<'a> Archive<'a> {
    /// Reads the pickle; storages are read when a tensor is asked for.
    pub(super) fn open(bytes: &'a [u8], path: &'a Path) -> Result<Self> {
        let (pickle, zip, storages) = if bytes.starts_with(b"PK") {
            let (pickle, zip) = open_zip(bytes, path)?;
            (pickle, Some(zip), Storages::new())
        } else {
            let (pickle, storages) = open_legacy(bytes, path)?;
            (pickle, None, storages)
        };
        let state = weights(&pickle, path)?;
        Ok(Self {
            path,
            zip,
            storages,
            state,
        })
    }

    pub(super) fn format(&self) -> &'static str {
        match self.zip {
            Some(_) => "PyTorch",
            None => "PyTorch, before version 1.6",
        }
    }

    /// Reads a tensor of the state dictionary; `name` is for messages.
    pub(super) fn load(&mut self, name: &str, laid: &Laid, device: &Device) -> Result<Tensor> {
        let Storage { key, count, .. } = &laid.storage;
        let read = self.storage(key);
        let read = read.and_then(|bytes| laid.read(bytes, device));
        read.map_err(|found| {
            let expected = format!("storage {} of {count} numbers", key.escape_debug());
            Error::format(self.path, format!("tensor {name}"), expected, found, AGAIN)
        })
    }

    fn storage(&mut self, key: &str) -> std::result::Result<&'a [u8], String> {
        if let Some(&stored) = self.storages.get(key) {
            return Ok(stored);
        }
        let zip = self.zip.as_mut().ok_or("no such storage")?;
        let stored = zip.entry(&format!("data/{key}"))?;
        self.storages.insert(key.to_owned(), stored);
        Ok(stored)
    }
}

impl<'a> Zip<'a> {
    /// One file of the archive, its checksum compared.
    fn entry(&mut self, name: &str) -> std::result::Result<&'a [u8], String> {
        let (bytes, name) = (self.bytes, format!("{}/{name}", self.folder));
        let failed = |error: String| format!("{name}: {error}").escape_debug().to_string();
        let entry = self.archive.by_name(&name);
        let mut entry = entry.map_err(|error| failed(error.to_string()))?;
        // PyTorch does not compress; what is compressed could be larger than memory.
        if entry.compression() != CompressionMethod::Stored {
            return Err(failed("is compressed".into()));
        }
        let length = std::io::copy(&mut entry, &mut std::io::sink());
        let length = length.map_err(|error| failed(error.to_string()))? as usize;
        let start = entry.data_start().map(|start| start as usize);
        let stored = start.and_then(|start| bytes.get(start..)?.get(..length));
        stored.ok_or_else(|| failed("is not all there".into()))
    }
}

/// The dictionary of the weights.
fn weights(pickle: &Pickle, path: &Path) -> Result<StateDict> {
    let mut states = pickle.state_dicts();
    let is_network = |state: &StateDict| naming(&state.shapes()).is_some();
    if states.iter().any(is_network) {
        states.retain(is_network);
    }
    let (expected, found, remedy) = match <[StateDict; 1]>::try_from(states) {
        Ok([state]) => return Ok(state),
        Err(states) if states.is_empty() => {
            let found = match pickle.value(pickle.root) {
                Value::Dict(_) => "none in it",
                Value::Call(..) => "a whole pickled object, which would have to be executed",
                _ => "something else",
            };
            ("a dictionary of named tensors", found.to_owned(), CONVERT)
        }
        Err(states) => {
            let places = states.iter().take(NAMED).map(|it| match it.place.as_str() {
                "" => "the top",
                place => place,
            });
            let places = places.collect::<Vec<_>>().join(", ");
            let found = format!("{} that differ: {places}", states.len());
            ("one dictionary of weights", found, CHOOSE)
        }
    };
    Err(Error::format(path, "pickle", expected, found, remedy))
}

fn unpickle(bytes: &[u8], path: &Path, before: usize) -> Result<Pickle> {
    Pickle::read(bytes).map_err(|damage| {
        let place = format!("pickle, byte {}", before + damage.position);
        let found = found_in(path, damage.found);
        Error::format(path, place, "a whole pickle", found, AGAIN)
    })
}

fn open_zip<'a>(bytes: &'a [u8], path: &Path) -> Result<(Pickle, Zip<'a>)> {
    let broken =
        |found: String| Error::format(path, "zip archive", "a whole PyTorch file", found, AGAIN);
    let archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| broken(format!("{} bytes ({error})", bytes.len())))?;
    let names: Vec<String> = (archive.file_names())
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .collect();
    let folder = (names.iter()).find_map(|name| name.strip_suffix("/data.pkl"));
    let script = names.iter().any(|name| name.contains("/code/"));
    let Some(folder) = folder.filter(|_| !script).map(str::to_owned) else {
        let found = match script {
            true => "a TorchScript program",
            false => "a zip archive without a data.pkl",
        };
        let expected = "a file written by torch.save";
        return Err(Error::format(path, "zip archive", expected, found, CONVERT));
    };
    let mut zip = Zip {
        bytes,
        archive,
        folder,
    };
    if let Ok(order) = zip.entry("byteorder")
        && order != b"little"
    {
        let found = String::from_utf8_lossy(order).into_owned();
        let expected = "little-endian numbers";
        return Err(Error::format(path, "byteorder", expected, found, CONVERT));
    }
    let pickle = zip.entry("data.pkl").map_err(broken)?;
    Ok((unpickle(pickle, path, 0)?, zip))
}

fn open_legacy<'a>(bytes: &'a [u8], path: &Path) -> Result<(Pickle, Storages<'a>)> {
    let mut at = magic_length(bytes).unwrap_or_default();
    let mut next = || {
        let pickle = unpickle(&bytes[at..], path, at)?;
        at += pickle.length;
        Ok::<_, Error>(pickle)
    };
    let (_protocol, _machine, pickle, keys) = (next()?, next()?, next()?, next()?);
    let known = pickle.storages();
    let mut storages = Storages::new();
    for &key in keys.elements(keys.root).unwrap_or_default() {
        let key = keys.text(key).unwrap_or_default();
        let place = || format!("storage {}, byte {at}", key.escape_debug());
        let length = match known.get(key) {
            Some(storage) => {
                let length = pickle.byte_count(storage).ok_or_else(|| {
                    let class = pickle.class(storage).escape_debug();
                    let found = format!("a storage of type {class}, which is not read");
                    Error::format(path, place(), "numbers of a known size", found, CONVERT)
                })?;
                Some((storage.count, length))
            }
            None => None,
        };
        let stored = bytes.get(at..at + 8).and_then(|raw| raw.try_into().ok());
        let stored = stored.map(i64::from_le_bytes);
        let range = length
            .filter(|&(count, _)| stored == i64::try_from(count).ok())
            .and_then(|(_, length)| Some(at + 8..(at + 8).checked_add(length)?))
            .filter(|range| range.end <= bytes.len());
        let Some(range) = range else {
            let expected = match length {
                Some((count, length)) => format!("{count} numbers in {length} bytes"),
                None => "a storage that the pickle knows".into(),
            };
            let found = format!("{} bytes to the end of the file", bytes.len() - at);
            return Err(Error::format(path, place(), expected, found, AGAIN));
        };
        at = range.end;
        storages.insert(key.to_owned(), &bytes[range]);
    }
    Ok((pickle, storages))
}
