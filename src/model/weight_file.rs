//! Models on disk: safetensors, with everything needed to rebuild the model in the file's metadata.
//!
//! Metadata keys: `format` (`ascribe-model-1`), `architecture`, `classes` (JSON list), `normalisation` (JSON),
//! `side`, and `resize` where images are resized to more than that before their middle is taken. Tensors keep torchvision's names, so
//! that the file is of use elsewhere too.

use super::Architecture;
use super::parameters::{check_framing, check_side};
use super::{Normalisation, ResNet};
use crate::artefact::write_atomically;
use crate::data::Framing;
use crate::stand_in::found_in;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, safetensors::Load};
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const FORMAT: &str = "ascribe-model-1";
const FORMAT_START: &str = "ascribe-model-";
/// What is given in the place of weights, and how it begins.
const OTHERS: [(&[u8], &str); 3] = [
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
];
const REMEDY: &str = "use a model.safetensors written by ascribe train, transfer or adopt";

/// How a model's kernels and matrices are kept in its file; vectors are kept as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredWeights {
    /// As they are
    F32,
    /// Rounded to half precision, half the file; they are read back as f32
    F16,
}

impl StoredWeights {
    /// The model that a file with such weights gives when it is read.
    ///
    /// # Errors
    /// A weight beyond the 65,504 of half precision, or a model that is not in f32.
    pub fn of(self, model: &ResNet) -> Result<ResNet> {
        if self == Self::F32 {
            return Ok(model.clone());
        }
        let mut tensors = BTreeMap::new();
        for (name, tensor) in model.tensors() {
            if tensor.dtype() != DType::F32 {
                let reason = format!("f16: {name} is {:?}; only f32 is halved", tensor.dtype());
                return Err(Error::config("weights", reason));
            }
            let tensor = match is_kernel(tensor) {
                true => tensor.to_dtype(DType::F16)?.to_dtype(tensor.dtype())?,
                false => tensor.clone(),
            };
            let sum = tensor.abs()?.sum_all()?.to_dtype(DType::F64)?;
            if !sum.to_scalar::<f64>()?.is_finite() {
                let reason = format!("f16: {name} has a number beyond 65504; keep f32");
                return Err(Error::config("weights", reason));
            }
            tensors.insert(name.clone(), tensor.detach());
        }
        ResNet::new(
            model.architecture().clone(),
            model.classes().to_vec(),
            model.normalisation(),
            model.framing(),
            tensors,
        )
    }
}

fn is_kernel(tensor: &Tensor) -> bool {
    tensor.rank() > 1
}

/// Writes a model; the file is whole or absent.
///
/// # Errors
/// Where the path cannot be written.
pub fn write_model(model: &ResNet, path: &Path) -> Result<()> {
    write_model_with(model, StoredWeights::F32, path)
}

/// Writes a model with weights as told; the file is whole or absent.
///
/// # Errors
/// Where the path cannot be written.
pub fn write_model_with(model: &ResNet, weights: StoredWeights, path: &Path) -> Result<()> {
    let stored = |tensor: &Tensor| match weights == StoredWeights::F16 && is_kernel(tensor) {
        true => tensor.detach().to_dtype(DType::F16),
        false => Ok(tensor.detach()),
    };
    let tensors: BTreeMap<_, _> = model
        .tensors()
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), stored(tensor)?)))
        .collect::<Result<_>>()?;
    let mut metadata = HashMap::new();
    let mut note = |key: &str, value: String| metadata.insert(key.to_owned(), value);
    note("format", FORMAT.into());
    note("architecture", model.architecture().to_string());
    note("side", model.side().to_string());
    if let Some(resize) = model.framing().resize {
        note("resize", resize.to_string());
    }
    note("classes", serde_json::json!(model.classes()).to_string());
    note(
        "normalisation",
        serde_json::json!(model.normalisation()).to_string(),
    );
    write_tensors(&tensors, metadata, path)
}

/// Writes named tensors with metadata; the file is whole or absent.
pub(crate) fn write_tensors(
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
    path: &Path,
) -> Result<()> {
    let unfit = |reason: String| {
        Error::format(
            path,
            "tensors",
            "something safetensors can hold",
            reason,
            "this is a bug",
        )
    };
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| unfit(error.to_string()))?;
    let bytes = with_sorted_metadata(bytes).ok_or_else(|| unfit("an unreadable header".into()))?;
    write_atomically(path, &bytes)
}

/// The same file with its metadata in the order of their keys: the library takes them from a hash map, in another
/// order at every run, and equal models are to be equal files.
fn with_sorted_metadata(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?) as usize;
    let header = bytes.get_mut(8..8 + length)?;
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    if let Some(metadata) = entries.get_mut("__metadata__") {
        let sorted: BTreeMap<String, String> = serde_json::from_value(metadata.take()).ok()?;
        *metadata = serde_json::to_value(sorted).ok()?;
    }
    let sorted = serde_json::to_vec(&entries).ok()?;
    if sorted.len() > length {
        return None;
    }
    header.fill(b' ');
    header[..sorted.len()].copy_from_slice(&sorted);
    Some(bytes)
}

/// Reads a model file.
///
/// # Errors
/// A missing or malformed file, metadata or tensors that do not make a model, numbers that are not finite.
pub fn read_model(path: &Path, device: &Device) -> Result<ResNet> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    model_from_bytes(&bytes, path, device)
}

/// Reads a model from the bytes of its file; `path` is for messages.
///
/// # Errors
/// As [`read_model`].
pub fn model_from_bytes(bytes: &[u8], path: &Path, device: &Device) -> Result<ResNet> {
    let (tensors, metadata) = tensors_from_bytes(bytes, path, device)?;
    let Description {
        architecture,
        classes,
        normalisation,
        framing,
    } = description(&metadata, path)?;
    for (name, tensor) in &tensors {
        check_values(name, tensor, path)?;
    }
    let tensors = whole(tensors)?;
    ResNet::new(architecture, classes, normalisation, framing, tensors)
        .map_err(|error| of_file(error, path))
}

/// What does not fit within a model, as something that is wrong with its file.
pub(super) fn of_file(error: Error, path: &Path) -> Error {
    match error {
        Error::Mismatch {
            what,
            expected,
            found,
            remedy,
        } => Error::format(path, what, expected, found, remedy),
        other => other,
    }
}

/// Weights kept in half precision, in f32; others as they are.
fn whole(tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let whole = |(name, tensor): (String, Tensor)| {
        let tensor = match tensor.dtype() {
            DType::F16 => tensor.to_dtype(DType::F32)?,
            _ => tensor,
        };
        Ok((name, tensor))
    };
    tensors.into_iter().map(whole).collect()
}

/// What the metadata say of a model.
pub(super) struct Description {
    pub(super) architecture: Architecture,
    pub(super) classes: Vec<String>,
    pub(super) normalisation: Normalisation,
    pub(super) framing: Framing,
}

/// Whether the bytes are a model file of this program, of whatever version.
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    let header = SafeTensors::read_metadata(bytes);
    let metadata = header
        .ok()
        .and_then(|(_, header)| header.metadata().clone());
    let format = metadata.and_then(|mut metadata| metadata.remove("format"));
    format.is_some_and(|format| format.starts_with(FORMAT_START))
}

/// Reads the metadata.
pub(super) fn description(metadata: &HashMap<String, String>, path: &Path) -> Result<Description> {
    let entry = |key: &str| {
        metadata.get(key).ok_or_else(|| {
            Error::format(path, "metadata", format!("an entry {key}"), "none", REMEDY)
        })
    };
    if entry("format")? != FORMAT {
        return Err(Error::format(
            path,
            "metadata",
            format!("format {FORMAT}"),
            entry("format")?,
            "use a matching version of ascribe",
        ));
    }
    let parse_error = |key: &str, found: &str| {
        Error::format(
            path,
            format!("metadata entry {key}"),
            "a readable value",
            found,
            REMEDY,
        )
    };
    let number = |key: &str| {
        let parsed = entry(key)?.parse::<usize>();
        parsed.map_err(|_| parse_error(key, &metadata[key]))
    };
    let resize = match metadata.contains_key("resize") {
        true => Some(number("resize")?),
        false => None,
    };
    let framing = Framing {
        resize,
        ..number("side")?.into()
    };
    if check_framing(framing).is_err() {
        let (key, found) = match framing.resize {
            Some(resize) if check_side(framing.height).is_ok() => ("resize", resize),
            _ => ("side", framing.height),
        };
        return Err(parse_error(key, &found.to_string()));
    }
    Ok(Description {
        architecture: entry("architecture")?
            .parse()
            .map_err(|_| parse_error("architecture", &metadata["architecture"]))?,
        classes: serde_json::from_str(entry("classes")?)
            .map_err(|error| parse_error("classes", &error.to_string()))?,
        normalisation: serde_json::from_str(entry("normalisation")?)
            .map_err(|error| parse_error("normalisation", &error.to_string()))?,
        framing,
    })
}

/// Whether a file of `length` bytes that begins so is safetensors: the length of its header, then the header, which is JSON.
pub(super) fn begins_as_safetensors(start: &[u8], length: u64) -> bool {
    match start.split_first_chunk::<8>() {
        Some((&header, [b'{', ..])) => u64::from_le_bytes(header) <= length.saturating_sub(8),
        _ => false,
    }
}

/// The tensors of a safetensors file, not read yet.
pub(super) fn parse<'data>(bytes: &'data [u8], path: &Path) -> Result<SafeTensors<'data>> {
    SafeTensors::deserialize(bytes).map_err(|error| malformed(error, bytes, path))
}

fn malformed(error: safetensors::SafeTensorError, bytes: &[u8], path: &Path) -> Error {
    let other = OTHERS.iter().find(|(start, _)| bytes.starts_with(start));
    let (found, remedy) = match other {
        Some((_, other)) => (
            (*other).to_owned(),
            "give a file of weights: .safetensors, or PyTorch's",
        ),
        None => (
            found_in(path, error.to_string()),
            "the file is damaged or cut short: copy it again",
        ),
    };
    Error::format(path, "header", "a whole safetensors file", found, remedy)
}

/// Named tensors and the metadata of a safetensors file.
pub(crate) fn tensors_from_bytes(
    bytes: &[u8],
    path: &Path,
    device: &Device,
) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let header = SafeTensors::read_metadata(bytes);
    let (_, header) = header.map_err(|error| malformed(error, bytes, path))?;
    let file = parse(bytes, path)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let tensor = view.load(device).map_err(|error| {
            Error::format(
                path,
                format!("tensor {name}"),
                "f32 or f64",
                format!("{:?}, which does not load: {error}", view.dtype()),
                REMEDY,
            )
        })?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// There are numbers, and they are finite, variances not negative.
pub(super) fn check_values(name: &str, tensor: &Tensor, path: &Path) -> Result<()> {
    if tensor.elem_count() == 0 {
        let found = format!("shape {:?}", tensor.dims());
        let remedy = "give the weights of a network that was trained";
        let place = format!("tensor {name}");
        return Err(Error::format(path, place, "numbers", found, remedy));
    }
    let values = tensor.to_dtype(DType::F64)?.flatten_all()?;
    if !values.abs()?.sum_all()?.to_scalar::<f64>()?.is_finite() {
        let (what, place) = (path.display().to_string(), format!("tensor {name}"));
        let remedy = "the model diverged in training: train it again";
        return Err(Error::non_finite(what, place, remedy));
    }
    let least = values.min_all()?.to_scalar::<f64>()?;
    if name.ends_with("running_var") && least < 0.0 {
        let (place, expected) = (format!("tensor {name}"), "no negative variance");
        let remedy = "no training leaves one: copy the file again, or, where it was put together from other models, measure the \
                      statistics of its batch norms anew";
        return Err(Error::format(
            path,
            place,
            expected,
            least.to_string(),
            remedy,
        ));
    }
    Ok(())
}
