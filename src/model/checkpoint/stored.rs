//! The tensors of a file, of whichever of the two formats, before they are read.

use super::archive::{Archive, CONVERT, is_archive};
use super::naming::Naming;
use crate::model::{Normalisation, weight_file};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, safetensors::Load};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;

/// A file's tensors before they are read.
pub(super) enum Stored<'a> {
    SafeTensors(SafeTensors<'a>, &'a Path),
    PyTorch(Archive<'a>),
}

impl<'a> Stored<'a> {
    pub(super) fn open(bytes: &'a [u8], path: &'a Path) -> Result<Self> {
        if is_archive(bytes) {
            return Ok(Self::PyTorch(Archive::open(bytes, path)?));
        }
        // A safetensors file begins with the length of its header, whose first byte may be any.
        let other = match bytes {
            _ if bytes.get(8) == Some(&b'{') => None,
            [0x80, ..] => Some("a pickle that torch.save did not write"),
            [0x1f, 0x8b, ..] => Some("a gzip file"),
            [b'B', b'Z', b'h', ..] => Some("a bzip2 file"),
            _ if bytes.get(257..262) == Some(b"ustar") => Some("a tar archive"),
            _ => None,
        };
        if let Some(found) = other {
            let expected = "a PyTorch or safetensors file";
            return Err(Error::format(path, "first bytes", expected, found, CONVERT));
        }
        Ok(Self::SafeTensors(weight_file::parse(bytes, path)?, path))
    }

    pub(super) fn format(&self) -> &'static str {
        match self {
            Self::SafeTensors(..) => "safetensors",
            Self::PyTorch(archive) => archive.format(),
        }
    }

    pub(super) fn place(&self) -> String {
        match self {
            Self::SafeTensors(..) => String::new(),
            Self::PyTorch(archive) => archive.state.place.clone(),
        }
    }

    pub(super) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::SafeTensors(file, _) => (file.iter())
                .map(|(name, view)| (name.to_owned(), view.shape().to_vec()))
                .collect(),
            Self::PyTorch(archive) => archive.state.shapes(),
        }
    }

    /// A tensor in f32 or f64.
    pub(super) fn load(&mut self, name: &str, device: &Device) -> Result<Tensor> {
        let tensor = match self {
            Self::SafeTensors(file, path) => {
                let loaded = file.tensor(name).map_err(|error| error.to_string());
                let loaded =
                    loaded.and_then(|view| view.load(device).map_err(|error| error.to_string()));
                loaded.map_err(|found| {
                    let place = format!("tensor {name}");
                    Error::format(path, place, "floating-point numbers", found, CONVERT)
                })?
            }
            Self::PyTorch(archive) => {
                let laid = archive.state.tensors.get(name).cloned();
                let laid = laid.ok_or_else(|| Error::mismatch("weights", name, "none", CONVERT))?;
                archive.load(name, &laid, device)?
            }
        };
        Ok(match tensor.dtype() {
            DType::F64 => tensor,
            _ => tensor.to_dtype(DType::F32)?,
        })
    }

    pub(super) fn normalisation(&mut self, naming: &Naming) -> Result<Option<Normalisation>> {
        let Some((mean, deviation)) = &naming.normaliser else {
            return Ok(None);
        };
        let mut three = |name: &str| -> Result<[f64; 3]> {
            let tensor = self.load(name, &Device::Cpu)?.to_dtype(DType::F64)?;
            let values: Vec<f64> = tensor.flatten_all()?.to_vec1()?;
            Ok([values[0], values[1], values[2]])
        };
        Ok(Some(Normalisation {
            mean: three(mean)?,
            deviation: three(deviation)?,
        }))
    }
}
