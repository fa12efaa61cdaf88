//! Arrays from a safetensors file.

use super::arrays::{Array, wanted_type};
use super::raw_numbers::RawNumbers;
use crate::stand_in::found_in;
use crate::{Error, Result};
use ::safetensors::SafeTensors;
use ::safetensors::tensor::TensorView;
use std::collections::HashMap;
use std::path::Path;

fn parse<'data>(path: &Path, bytes: &'data [u8]) -> Result<SafeTensors<'data>> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        let found = found_in(path, format!("{} bytes ({error})", bytes.len()));
        Error::format(
            path,
            "header",
            "a whole safetensors file",
            found,
            "fetch or write the file again",
        )
    })
}

/// The names of all arrays, sorted.
pub(super) fn names(path: &Path, bytes: &[u8]) -> Result<Vec<String>> {
    let mut names: Vec<String> = parse(path, bytes)?
        .names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The text stored under `__metadata__`.
pub(super) fn metadata(path: &Path, bytes: &[u8]) -> Result<HashMap<String, String>> {
    parse(path, bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| {
        Error::format(
            path,
            "header",
            "metadata",
            error.to_string(),
            "write the file again",
        )
    })?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// One array.
pub(super) fn read(path: &Path, bytes: &[u8], name: &str) -> Result<Array> {
    let tensor = tensor(path, bytes, name)?;
    let shape = tensor.shape().to_vec();
    let numbers = RawNumbers {
        reader: &mut tensor.data(),
        count: shape.iter().product(),
        big_endian: false,
    };
    let values = numbers
        .read(tensor.dtype())
        .map_err(Error::io(path, "read"))?;
    let values = values.ok_or_else(|| {
        let (expected, remedy) = wanted_type(name);
        let found = format!("type {:?}", tensor.dtype());
        Error::format(path, format!("array {name}"), expected, found, remedy)
    })?;
    Ok(Array { shape, values })
}

/// The shape of one.
pub(super) fn shape(path: &Path, bytes: &[u8], name: &str) -> Result<Vec<usize>> {
    Ok(tensor(path, bytes, name)?.shape().to_vec())
}

fn tensor<'data>(path: &Path, bytes: &'data [u8], name: &str) -> Result<TensorView<'data>> {
    parse(path, bytes)?.tensor(name).map_err(|error| {
        let expected = "an array of this name";
        let remedy = "store it under that name";
        Error::format(
            path,
            format!("array {name}"),
            expected,
            error.to_string(),
            remedy,
        )
    })
}
