//! Arrays from a safetensors file.

use super::arrays::{Array, Values, wanted_type};
use crate::stand_in::found_in;
use crate::{Error, Result};
use ::safetensors::{Dtype, SafeTensors};
use half::{bf16, f16};
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
    let refuse = |expected: &str, found: String, remedy: &str| {
        Error::format(path, format!("array {name}"), expected, found, remedy)
    };
    let tensors = parse(path, bytes)?;
    let tensor = tensors.tensor(name).map_err(|error| {
        refuse(
            "an array of this name",
            error.to_string(),
            "store it under that name",
        )
    })?;
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F32 => Values::F32(elements(data, f32::from_le_bytes)),
        Dtype::F64 => Values::F64(elements(data, f64::from_le_bytes)),
        Dtype::F16 => Values::F32(elements(data, |raw| f16::from_le_bytes(raw).to_f32())),
        Dtype::BF16 => Values::F32(elements(data, |raw| bf16::from_le_bytes(raw).to_f32())),
        Dtype::I64 => Values::Integers(elements(data, i64::from_le_bytes)),
        Dtype::I32 => Values::Integers(elements(data, |raw| i32::from_le_bytes(raw).into())),
        Dtype::I16 => Values::Integers(elements(data, |raw| i16::from_le_bytes(raw).into())),
        Dtype::I8 => Values::Integers(elements(data, |raw| i8::from_le_bytes(raw).into())),
        // Too large a number becomes the largest, which no check of labels lets through.
        Dtype::U64 => Values::Integers(elements(data, |raw| {
            u64::from_le_bytes(raw).try_into().unwrap_or(i64::MAX)
        })),
        Dtype::U32 => Values::Integers(elements(data, |raw| u32::from_le_bytes(raw).into())),
        Dtype::U16 => Values::Integers(elements(data, |raw| u16::from_le_bytes(raw).into())),
        Dtype::U8 | Dtype::BOOL => Values::Integers(elements(data, |[byte]| byte.into())),
        other => {
            let (expected, remedy) = wanted_type(name);
            return Err(refuse(expected, format!("type {other:?}"), remedy));
        }
    };
    Ok(Array {
        shape: tensor.shape().to_vec(),
        values,
    })
}

fn elements<const SIZE: usize, T>(data: &[u8], decode: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    data.as_chunks::<SIZE>()
        .0
        .iter()
        .map(|&raw| decode(raw))
        .collect()
}
