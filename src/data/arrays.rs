//! Named arrays from `.npz`, `.safetensors`, or a folder of `.npy` files, checked and with errors that name the array.
//!
//! Floats keep their precision, those of half become f32; integers of any width become `i64`. Memory order does not matter (Fortran
//! order reads as well as C order); values are handed on row-major.

use super::mapped::MappedMatrix;
use super::npz::Npz;
use super::rows::Rows;
use super::{npy, safetensors};
use crate::artefact::check_as_left;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// One array as stored.
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
}

/// An array's values, row-major.
pub(super) enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Integers(Vec<i64>),
}

/// What the array of that name should be of, and what to do about another type.
pub(super) fn wanted_type(name: &str) -> (&'static str, &'static str) {
    match name {
        "labels" => ("integers", "convert it to int64"),
        _ => ("float32 or float64 numbers", "convert it to float32"),
    }
}

/// The file or folder that arrays are read from.
pub(super) struct Arrays {
    path: PathBuf,
    names: Vec<String>,
    source: Source,
}

enum Source {
    Npz(Npz),
    Folder,
    Safetensors(Vec<u8>),
}

/// The kinds of container, by name alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Npz,
    Folder,
    Safetensors,
}

impl Container {
    fn of(path: &Path) -> Option<Self> {
        let extension = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        match extension.as_str() {
            _ if path.is_dir() => path.join("features.npy").is_file().then_some(Self::Folder),
            "npz" => Some(Self::Npz),
            "safetensors" => Some(Self::Safetensors),
            _ => None,
        }
    }
}

/// Whether a path looks like a container of arrays.
pub(super) fn recognises(path: &Path) -> bool {
    Container::of(path).is_some()
}

impl Arrays {
    /// Opens a container without reading its values yet; `wanted` is what to give where it is none. One that a run left, as with
    /// `--keep-features`, must be as it left it.
    pub(super) fn open(path: &Path, wanted: &str) -> Result<Self> {
        std::fs::metadata(path).map_err(Error::io(path, "read"))?;
        let container = Container::of(path).ok_or_else(|| {
            let what = format!("{}: this file format", path.display());
            let instead = format!("give {wanted}");
            Error::unsupported(what, instead)
        })?;
        check_as_left(path)?;
        let (names, source) = match container {
            Container::Npz => {
                let npz = Npz::open(path)?;
                (npz.names(), Source::Npz(npz))
            }
            Container::Folder => (npy::names_in_folder(path)?, Source::Folder),
            Container::Safetensors => {
                let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
                (
                    safetensors::names(path, &bytes)?,
                    Source::Safetensors(bytes),
                )
            }
        };
        Ok(Self {
            path: path.to_path_buf(),
            names,
            source,
        })
    }

    /// Text that travels with the arrays (safetensors only).
    pub(super) fn metadata(&self) -> Result<HashMap<String, String>> {
        match &self.source {
            Source::Safetensors(bytes) => safetensors::metadata(&self.path, bytes),
            _ => Ok(HashMap::new()),
        }
    }

    /// A float array of the given number of dimensions, none of them empty, all of it finite.
    pub(super) fn floats(&mut self, name: &str, dimensions: &str, rank: usize) -> Result<Tensor> {
        let Array { shape, values } = self.array(name, dimensions, rank)?;
        match values {
            Values::F32(values) => {
                self.check_finite(
                    name,
                    &shape,
                    values.iter().position(|value| !value.is_finite()),
                )?;
                Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
            }
            Values::F64(values) => {
                self.check_finite(
                    name,
                    &shape,
                    values.iter().position(|value| !value.is_finite()),
                )?;
                Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
            }
            Values::Integers(_) => {
                let remedy = format!("convert it, in numpy: {name}.astype(\"float32\")");
                Err(self.malformed(name, "float32 or float64", "integers", remedy))
            }
        }
    }

    /// As [`Arrays::floats`] for a matrix; mapped where it is an npy file of more than `resident` bytes that can be.
    pub(super) fn rows(
        &mut self,
        name: &str,
        dimensions: &str,
        resident: Option<u64>,
    ) -> Result<Rows> {
        match self.mapped(name, resident)? {
            Some(rows) => Ok(rows),
            None => Ok(self.floats(name, dimensions, 2)?.into()),
        }
    }

    fn mapped(&self, name: &str, resident: Option<u64>) -> Result<Option<Rows>> {
        let file = self.path.join(format!("{name}.npy"));
        let (Source::Folder, Some(resident), true) = (&self.source, resident, file.is_file())
        else {
            return Ok(None);
        };
        let length = std::fs::metadata(&file).map_err(Error::io(&file, "read"))?;
        if length.len() <= resident {
            return Ok(None);
        }
        let remedy = "write the file again with numpy.save";
        let Some(rows) = MappedMatrix::npy(&file, remedy)?.map(Rows::from) else {
            return Ok(None);
        };
        for step in rows.steps() {
            let first = step.start * rows.columns();
            let chunk = rows.chunk(step)?.to_dtype(DType::F64)?.flatten_all()?;
            let values = chunk.to_vec1::<f64>()?;
            let found = values.par_iter().position_first(|value| !value.is_finite());
            self.check_finite(name, &rows.dims(), found.map(|at| first + at))?;
        }
        Ok(Some(rows))
    }

    /// Refuses an array whose value at `index` is not finite.
    fn check_finite(&self, name: &str, shape: &[usize], index: Option<usize>) -> Result<()> {
        let Some(index) = index else { return Ok(()) };
        let place = match *shape {
            [_, columns] => format!("row {}, column {}", index / columns, index % columns),
            _ => format!("row {index}"),
        };
        let what = format!("{}: array {name}", self.path.display());
        let remedy = "remove the row or compute it again";
        Err(Error::non_finite(what, place, remedy))
    }

    /// Whether there is an array of that name.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.names.iter().any(|found| found == name)
    }

    /// A vector of integers of any width.
    pub(super) fn integers(&mut self, name: &str, dimensions: &str) -> Result<Vec<i64>> {
        match self.array(name, dimensions, 1)?.values {
            Values::Integers(values) => Ok(values),
            Values::F32(_) | Values::F64(_) => {
                let remedy = format!("convert it, in numpy: {name}.astype(\"int64\")");
                Err(self.malformed(name, "integers", "floating-point numbers", remedy))
            }
        }
    }

    /// The shape of an array, by its header: so many numbers, none of them 0.
    pub(super) fn shape(
        &mut self,
        name: &str,
        dimensions: &str,
        rank: usize,
    ) -> Result<Vec<usize>> {
        if !self.holds(name) {
            let found = if self.names.is_empty() {
                "none".into()
            } else {
                self.names.join(", ")
            };
            let expected = format!("an array named {name}");
            return Err(Error::format(
                &self.path,
                "arrays",
                expected,
                found,
                "store it under that name",
            ));
        }
        let shape = match &mut self.source {
            Source::Npz(npz) => npz.shape(&self.path, name)?,
            Source::Folder => npy::shape_in_folder(&self.path, name)?,
            Source::Safetensors(bytes) => safetensors::shape(&self.path, bytes, name)?,
        };
        if shape.len() != rank || shape.contains(&0) {
            let (expected, found) = (
                format!("shape {dimensions}, not empty"),
                format!("shape {shape:?}"),
            );
            return Err(self.malformed(name, expected, found, "store it in that shape"));
        }
        Ok(shape)
    }

    fn array(&mut self, name: &str, dimensions: &str, rank: usize) -> Result<Array> {
        self.shape(name, dimensions, rank)?;
        match &mut self.source {
            Source::Npz(npz) => npz.read(&self.path, name),
            Source::Folder => npy::read_from_folder(&self.path, name),
            Source::Safetensors(bytes) => safetensors::read(&self.path, bytes, name),
        }
    }

    fn malformed(
        &self,
        name: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Error {
        Error::format(&self.path, format!("array {name}"), expected, found, remedy)
    }
}
