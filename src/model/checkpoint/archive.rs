//! The two containers that `torch.save` has written.
//!
//! - Since PyTorch 1.6: a zip archive, uncompressed, of `<name>/data.pkl` (the pickle), `<name>/data/<key>` (one file a
//!   storage), `<name>/byteorder`.
//! - Before: five things one after the other: a pickled magic number, the protocol's number, facts about the machine,
//!   the pickle itself, the list of storage keys; then, for each key, its count (8 bytes) and its numbers.

use super::pickle::{Pickle, Value};
use super::torch_values::{Laid, StateDict};
use crate::stand_in::found_in;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;
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

/// A file written by `torch.save`.
pub(super) struct Archive<'a> {
    path: &'a Path,
    storages: Storages<'a>,
    pub(super) state: StateDict,
}

enum Storages<'a> {
    Zip {
        archive: ZipArchive<Cursor<&'a [u8]>>,
        folder: String,
    },
    Legacy {
        bytes: &'a [u8],
        ranges: BTreeMap<String, Range<usize>>,
    },
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
        let (pickle, storages) = if bytes.starts_with(b"PK") {
            open_zip(bytes, path)?
        } else {
            open_legacy(bytes, path)?
        };
        let state = pickle.state_dict().ok_or_else(|| {
            let found = match pickle.value(pickle.root) {
                Value::Dict(_) => "none in it".to_owned(),
                Value::Call(..) => "a whole pickled object, which would have to be executed".into(),
                _ => "something else".into(),
            };
            let expected = "a dictionary of named tensors";
            Error::format(path, "pickle", expected, found, CONVERT)
        })?;
        Ok(Self {
            path,
            storages,
            state,
        })
    }

    pub(super) fn format(&self) -> &'static str {
        match self.storages {
            Storages::Zip { .. } => "PyTorch",
            Storages::Legacy { .. } => "PyTorch, before version 1.6",
        }
    }

    /// Reads a tensor of the state dictionary; `name` is for messages.
    pub(super) fn load(&mut self, name: &str, laid: &Laid, device: &Device) -> Result<Tensor> {
        let (path, key) = (self.path, &laid.storage.key);
        let shown = key.escape_debug();
        let broken = |found: String| {
            let expected = format!("storage {shown} of {} numbers", laid.storage.count);
            Error::format(path, format!("tensor {name}"), expected, found, AGAIN)
        };
        let read = match &mut self.storages {
            Storages::Zip { archive, folder } => {
                let entry = format!("{folder}/data/{key}");
                let bytes = zip_entry(archive, &entry).map_err(broken)?;
                laid.read(&bytes, device)
            }
            Storages::Legacy { bytes, ranges } => {
                let range = ranges
                    .get(key)
                    .ok_or_else(|| broken("no such storage".into()))?;
                laid.read(&bytes[range.clone()], device)
            }
        };
        read.map_err(broken)
    }
}

fn unpickle(bytes: &[u8], path: &Path, before: usize) -> Result<Pickle> {
    Pickle::read(bytes).map_err(|damage| {
        let place = format!("pickle, byte {}", before + damage.position);
        let found = found_in(path, damage.found);
        Error::format(path, place, "a whole pickle", found, AGAIN)
    })
}

fn open_zip<'a>(bytes: &'a [u8], path: &Path) -> Result<(Pickle, Storages<'a>)> {
    let broken =
        |found: String| Error::format(path, "zip archive", "a whole PyTorch file", found, AGAIN);
    let mut archive = ZipArchive::new(Cursor::new(bytes))
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
    if let Ok(order) = zip_entry(&mut archive, &format!("{folder}/byteorder"))
        && order != b"little"
    {
        let found = String::from_utf8_lossy(&order).into_owned();
        let expected = "little-endian numbers";
        return Err(Error::format(path, "byteorder", expected, found, CONVERT));
    }
    let pickle = zip_entry(&mut archive, &format!("{folder}/data.pkl")).map_err(broken)?;
    let pickle = unpickle(&pickle, path, 0)?;
    Ok((pickle, Storages::Zip { archive, folder }))
}

/// One file of the archive, its checksum compared.
fn zip_entry(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
) -> std::result::Result<Vec<u8>, String> {
    let failed = |error: String| format!("{name}: {error}").escape_debug().to_string();
    let mut entry = archive
        .by_name(name)
        .map_err(|error| failed(error.to_string()))?;
    // PyTorch does not compress; what is compressed could be larger than memory.
    if entry.compression() != CompressionMethod::Stored {
        return Err(failed("is compressed".into()));
    }
    let mut bytes = Vec::new();
    (entry.read_to_end(&mut bytes)).map_err(|error| failed(error.to_string()))?;
    Ok(bytes)
}

fn open_legacy<'a>(bytes: &'a [u8], path: &Path) -> Result<(Pickle, Storages<'a>)> {
    let mut at = magic_length(bytes).unwrap_or_default();
    let mut next = || {
        let pickle = unpickle(&bytes[at..], path, at)?;
        at += pickle.length;
        Ok::<_, Error>(pickle)
    };
    let (_protocol, _machine, pickle, keys) = (next()?, next()?, next()?, next()?);
    let storages = pickle.storages();
    let mut ranges = BTreeMap::new();
    for &key in keys.elements(keys.root).unwrap_or_default() {
        let key = keys.text(key).unwrap_or_default();
        let place = || format!("storage {}, byte {at}", key.escape_debug());
        let length = match storages.get(key) {
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
        ranges.insert(key.to_owned(), range);
    }
    Ok((pickle, Storages::Legacy { bytes, ranges }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two numbers over the storage `key` of that class.
    fn tensor(class: &str, key: &[u8; 1]) -> Vec<u8> {
        let parts: [&[u8]; 5] = [
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n",
            class.as_bytes(),
            b"\nX\x01\0\0\0",
            key,
            b"X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89}tR",
        ];
        parts.concat()
    }

    /// A file of the old format: first a mask of two numbers of that class in so many bytes, then the weights 1.5 and -2.
    fn with_mask(class: &str, bytes: usize) -> Vec<u8> {
        let count = 2_i64.to_le_bytes();
        let weights = [1.5_f32, -2.0].map(f32::to_le_bytes);
        let parts: [&[u8]; 13] = [
            b"\x80\x02",
            &MAGIC,
            b"\x80\x02K\x01.\x80\x02}.\x80\x02}(X\x04\0\0\0mask",
            &tensor(class, b"0"),
            b"X\x06\0\0\0weight",
            &tensor("FloatStorage", b"1"),
            b"u.",
            b"\x80\x02](X\x01\0\0\x000X\x01\0\0\x001e.",
            &count,
            &vec![7_u8; bytes],
            &count,
            &weights[0],
            &weights[1],
        ];
        parts.concat()
    }

    #[test]
    fn numbers_that_are_no_weights_are_stepped_over_in_the_old_format() {
        let path = Path::new("model.pth");
        for (class, bytes) in [
            ("BoolStorage", 2),
            ("CharStorage", 2),
            ("QInt32Storage", 8),
            ("ComplexFloatStorage", 16),
            ("ComplexDoubleStorage", 32),
        ] {
            let file = with_mask(class, bytes);
            let mut archive = Archive::open(&file, path).unwrap();
            let laid = archive.state.tensors["weight"].clone();
            let tensor = archive.load("weight", &laid, &Device::Cpu).unwrap();
            assert_eq!(tensor.to_vec1::<f32>().unwrap(), [1.5, -2.0], "{class}");
        }
        let file = with_mask("OddStorage", 2);
        let message = Archive::open(&file, path).err().unwrap().to_string();
        let found =
            "found a storage of type torch.OddStorage, which is not read; write the weights";
        assert!(message.contains(found), "{message}");
    }
}
