//! Arrays as numpy stores them: `.npz` archives and folders of `.npy` files.

use super::arrays::{Array, Values, wanted_type};
use crate::{Error, Result};
use ndarray::{ArrayD, ArrayView, IxDyn, OwnedRepr};
use ndarray_npy::{
    NpzReader, ReadNpyError, ReadNpyExt, ReadNpzError, ReadableElement, ViewElement, ViewNpyError,
    ViewNpyExt,
};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// An open archive.
pub(super) type Npz = NpzReader<BufReader<File>>;

const AGAIN: &str = "write the file again with numpy.savez";

/// Opens an archive and lists its arrays.
pub(super) fn open_npz(path: &Path) -> Result<(Vec<String>, Npz)> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let damaged = |error: ReadNpzError| {
        Error::format(
            path,
            "archive",
            "a whole .npz archive",
            error.to_string(),
            AGAIN,
        )
    };
    let mut npz = NpzReader::new(BufReader::new(file)).map_err(damaged)?;
    let names = npz.names().map_err(damaged)?;
    Ok((names, npz))
}

/// Reads one array of an archive.
pub(super) fn read_from_npz(path: &Path, npz: &mut Npz, name: &str) -> Result<Array> {
    read(&mut Entry::Npz(npz, name)).map_err(|error| refuse(path, name, error))
}

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
    std::fs::metadata(&file).map_err(Error::io(&file, "read"))?;
    read(&mut Entry::File(&file)).map_err(|error| refuse(path, name, error))
}

enum Entry<'a> {
    Npz(&'a mut Npz, &'a str),
    File(&'a Path),
}

impl Entry<'_> {
    fn read<T: ReadableElement + ViewElement>(
        &mut self,
    ) -> std::result::Result<ArrayD<T>, ReadNpzError> {
        match self {
            Self::Npz(npz, name) => npz.by_name::<OwnedRepr<T>, IxDyn>(name),
            Self::File(path) => {
                let file = File::open(path).map_err(|error| ReadNpzError::Npy(error.into()))?;
                check_length::<T>(&file)?;
                Ok(ArrayD::read_npy(BufReader::new(file))?)
            }
        }
    }
}

/// Refuses a file that is shorter than its header says: room for what it says would be made before reading.
fn check_length<T: ViewElement>(file: &File) -> std::result::Result<(), ReadNpyError> {
    // SAFETY: only the header is looked at, and this process writes to no file that it reads.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    match ArrayView::<T, IxDyn>::view_npy(&map) {
        Err(ViewNpyError::MissingBytes(_)) => Err(ReadNpyError::MissingData),
        _ => Ok(()),
    }
}

type Attempt = fn(&mut Entry) -> std::result::Result<Array, ReadNpzError>;

/// The element type stands in the array's header; each attempt reads no further than that when it is another one.
const ATTEMPTS: [Attempt; 11] = [
    |entry| entry.read().map(|array| row_major(array, Values::F32)),
    |entry| entry.read().map(|array| row_major(array, Values::F64)),
    integers::<i64>,
    integers::<i32>,
    integers::<i16>,
    integers::<i8>,
    integers::<u64>,
    integers::<u32>,
    integers::<u16>,
    integers::<u8>,
    integers::<bool>,
];

fn read(entry: &mut Entry) -> std::result::Result<Array, ReadNpzError> {
    let mut last = ReadNpzError::Npy(ReadNpyError::MissingData);
    for attempt in ATTEMPTS {
        match attempt(entry) {
            Err(error @ ReadNpzError::Npy(ReadNpyError::WrongDescriptor(_))) => last = error,
            other => return other,
        }
    }
    Err(last)
}

/// A number too large for `i64` becomes its largest value, which no check of labels lets through.
fn integers<T: ReadableElement + ViewElement + TryInto<i64>>(
    entry: &mut Entry,
) -> std::result::Result<Array, ReadNpzError> {
    let array = entry.read::<T>()?;
    let shape = array.shape().to_vec();
    let values = array
        .into_iter()
        .map(|value| value.try_into().unwrap_or(i64::MAX))
        .collect();
    Ok(Array {
        shape,
        values: Values::Integers(values),
    })
}

fn row_major<T: Clone>(array: ArrayD<T>, wrap: fn(Vec<T>) -> Values) -> Array {
    let shape = array.shape().to_vec();
    // Iteration is in logical (row-major) order whatever the memory order; the move avoids a copy in the usual case.
    let values = if array.is_standard_layout() {
        array.into_raw_vec_and_offset().0
    } else {
        array.iter().cloned().collect()
    };
    Array {
        shape,
        values: wrap(values),
    }
}

fn refuse(path: &Path, name: &str, error: ReadNpzError) -> Error {
    let (expected, found, remedy) = match error {
        ReadNpzError::Npy(ReadNpyError::WrongDescriptor(kind)) => {
            let (expected, remedy) = wanted_type(name);
            (expected, format!("type {kind}"), remedy)
        }
        ReadNpzError::Npy(other) if path.is_dir() => {
            let remedy = "write the file again with numpy.save";
            ("a whole array", other.to_string(), remedy)
        }
        other => ("a whole array", other.to_string(), AGAIN),
    };
    Error::format(path, format!("array {name}"), expected, found, remedy)
}
