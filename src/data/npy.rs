//! Arrays as numpy stores them (`.npy`), alone or in a folder. All numbers of the types that features and labels come in are read,
//! of either byte order; what is stored column by column is handed on row by row.

use super::arrays::{Array, Values, wanted_type};
use super::directory::names_in;
use super::npy_header::{Fault, NpyHeader};
use super::raw_numbers::RawNumbers;
use crate::{Error, Result};
use ndarray::{ArrayView, IxDyn, ShapeBuilder};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// The names of a folder's `.npy` files, without the extension.
pub(super) fn names_in_folder(path: &Path) -> Result<Vec<String>> {
    let array = |name: OsString| Some(name.to_str()?.strip_suffix(".npy")?.to_owned());
    Ok(names_in(path)?.into_iter().filter_map(array).collect())
}

const AGAIN: &str = "write the file again with numpy.save";

fn in_folder(path: &Path, name: &str) -> PathBuf {
    path.join(format!("{name}.npy"))
}

/// Reads `<name>.npy` of a folder.
pub(super) fn read_from_folder(path: &Path, name: &str) -> Result<Array> {
    let array = read_file(&in_folder(path, name))?;
    array.map_err(|fault| refusal(path, name, fault, AGAIN))
}

/// The shape of `<name>.npy` of a folder, by its header.
pub(super) fn shape_in_folder(path: &Path, name: &str) -> Result<Vec<usize>> {
    let file = in_folder(path, name);
    let reader = File::open(&file).map_err(Error::io(&file, "read"))?;
    let header = NpyHeader::read(&mut BufReader::new(reader));
    let header = header.map_err(|fault| refusal(path, name, fault, AGAIN))?;
    Ok(header.shape)
}

/// What an array holds.
pub(crate) struct Numbers {
    pub(crate) shape: Vec<usize>,
    /// Row-major.
    pub(crate) values: Vec<f64>,
}

/// The shape and the numbers of a file, whatever their type.
///
/// # Errors
/// It cannot be read; within, it is no whole array.
pub(crate) fn numbers_of_file(path: &Path) -> Result<std::result::Result<Numbers, Fault>> {
    Ok(read_file(path)?.map(|array| {
        let values = match array.values {
            Values::F32(values) => values.into_iter().map(f64::from).collect(),
            Values::F64(values) => values,
            Values::Integers(values) => values.into_iter().map(|value| value as f64).collect(),
        };
        let shape = array.shape;
        Numbers { shape, values }
    }))
}

fn read_file(path: &Path) -> Result<std::result::Result<Array, Fault>> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let length = file.metadata().map_err(Error::io(path, "read"))?.len();
    Ok(read(BufReader::new(file), length))
}

/// What to say of an array that cannot be read.
pub(super) fn refusal(path: &Path, name: &str, fault: Fault, again: &str) -> Error {
    let (expected, found, remedy) = match fault {
        Fault::Type(kind) => {
            let (expected, remedy) = wanted_type(name);
            (expected, format!("type {kind}"), remedy)
        }
        Fault::Damaged(found) => ("a whole array", found, again),
    };
    Error::format(path, format!("array {name}"), expected, found, remedy)
}

/// Reads an array of which at most `room` bytes are there.
pub(super) fn read(mut reader: impl Read, room: u64) -> std::result::Result<Array, Fault> {
    let header = NpyHeader::read(&mut reader)?;
    header.check(room.saturating_sub(header.length))?;
    let damaged = |reason: std::io::Error| Fault::Damaged(reason.to_string());
    let numbers = RawNumbers {
        reader: &mut reader,
        count: header.count,
        big_endian: header.big_endian,
    };
    let values = numbers.read(header.element).map_err(damaged)?;
    let values = match values.ok_or_else(|| Fault::Type(header.element.to_string()))? {
        Values::F32(values) => Values::F32(header.row_major(values)?),
        Values::F64(values) => Values::F64(header.row_major(values)?),
        Values::Integers(values) => Values::Integers(header.row_major(values)?),
    };
    match reader.read(&mut [0]) {
        Ok(0) => Ok(Array {
            shape: header.shape,
            values,
        }),
        Ok(_) => Err(Fault::Damaged("more bytes than its header says".into())),
        Err(reason) => Err(damaged(reason)),
    }
}

impl NpyHeader {
    /// Numbers in the order of the file, in row-major order.
    fn row_major<T: Clone>(&self, values: Vec<T>) -> std::result::Result<Vec<T>, Fault> {
        if !self.column_major || self.shape.len() < 2 {
            return Ok(values);
        }
        let shape = IxDyn(&self.shape).f();
        match ArrayView::from_shape(shape, &values) {
            Ok(view) => Ok(view.iter().cloned().collect()),
            Err(reason) => Err(Fault::Damaged(reason.to_string())),
        }
    }
}
