//! Arrays as numpy stores them (`.npy`), alone or in a folder. All numbers of the types that features and labels come in are read,
//! of either byte order; what is stored column by column is handed on row by row.

use super::arrays::{Array, Values, wanted_type};
use super::npy_header::{Element, Fault, NpyHeader};
use crate::{Error, Result};
use half::f16;
use ndarray::{ArrayView, IxDyn, ShapeBuilder};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Numbers that are turned from bytes at once.
const PART: usize = 1 << 16;

/// The names of a folder's `.npy` files, without the extension.
pub(super) fn names_in_folder(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io(path, "read"))? {
        let name = entry.map_err(Error::io(path, "read"))?.file_name();
        names.extend(
            name.to_string_lossy()
                .strip_suffix(".npy")
                .map(str::to_owned),
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// Reads `<name>.npy` of a folder.
pub(super) fn read_from_folder(path: &Path, name: &str) -> Result<Array> {
    let file = path.join(format!("{name}.npy"));
    let remedy = "write the file again with numpy.save";
    read_file(&file)?.map_err(|fault| refusal(path, name, fault, remedy))
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
    let source = &mut reader;
    let values = match header.element {
        Element::F16 => {
            Values::F32(header.numbers(source, |raw| f16::from_le_bytes(raw).to_f32())?)
        }
        Element::F32 => Values::F32(header.numbers(source, f32::from_le_bytes)?),
        Element::F64 => Values::F64(header.numbers(source, f64::from_le_bytes)?),
        Element::I8 => header.integers(source, i8::from_le_bytes)?,
        Element::I16 => header.integers(source, i16::from_le_bytes)?,
        Element::I32 => header.integers(source, i32::from_le_bytes)?,
        Element::I64 => header.integers(source, i64::from_le_bytes)?,
        Element::U8 => header.integers(source, u8::from_le_bytes)?,
        Element::U16 => header.integers(source, u16::from_le_bytes)?,
        Element::U32 => header.integers(source, u32::from_le_bytes)?,
        // Too large for i64 is the largest there, which no check of labels lets through.
        Element::U64 => header.integers(source, |raw| {
            i64::try_from(u64::from_le_bytes(raw)).unwrap_or(i64::MAX)
        })?,
        Element::Bool => header.integers(source, |[raw]: [u8; 1]| i64::from(raw != 0))?,
    };
    match reader.read(&mut [0]) {
        Ok(0) => Ok(Array {
            shape: header.shape,
            values,
        }),
        Ok(_) => Err(Fault::Damaged("more bytes than its header says".into())),
        Err(reason) => Err(Fault::Damaged(reason.to_string())),
    }
}

impl NpyHeader {
    fn integers<const SIZE: usize, T: Into<i64>>(
        &self,
        reader: &mut impl Read,
        decode: impl Fn([u8; SIZE]) -> T,
    ) -> std::result::Result<Values, Fault> {
        let values = self.numbers(reader, |raw| decode(raw).into())?;
        Ok(Values::Integers(values))
    }

    /// All numbers, row-major.
    fn numbers<const SIZE: usize, T: Clone>(
        &self,
        reader: &mut impl Read,
        decode: impl Fn([u8; SIZE]) -> T,
    ) -> std::result::Result<Vec<T>, Fault> {
        let mut values = Vec::with_capacity(self.count);
        let mut part = vec![0; SIZE * PART.min(self.count)];
        while values.len() < self.count {
            let bytes = &mut part[..SIZE * PART.min(self.count - values.len())];
            let cut = |reason: std::io::Error| Fault::Damaged(reason.to_string());
            reader.read_exact(bytes).map_err(cut)?;
            values.extend(bytes.as_chunks::<SIZE>().0.iter().map(|&(mut raw)| {
                if self.big_endian {
                    raw.reverse();
                }
                decode(raw)
            }));
        }
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
