//! Matrices from a MATLAB 5 file, as much of the format as image sets use ("MAT-File Format", MathWorks, level 5).
//!
//! A header of 128 bytes, then elements of a type (u32), a length (u32) and that many bytes, padded to 8; elements of at
//! most 4 bytes may keep their length in the upper half of the type. A matrix is an element of elements: flags, sizes,
//! name, numbers. Most files compress each matrix (zlib). Arrays of something else than numbers (text, cells, structures, sparse
//! matrices) are passed over.

use flate2::read::ZlibDecoder;
use std::io::Read;

const HEADER: usize = 128;

// Types of elements.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT16: u32 = 3;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const SINGLE: u32 = 7;
const DOUBLE: u32 = 9;
const INT64: u32 = 12;
const UINT64: u32 = 13;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Classes of arrays that hold numbers, from doubles to unsigned integers of 64 bits.
const NUMERIC: std::ops::RangeInclusive<u8> = 6..=15;

type Outcome<T> = std::result::Result<T, String>;

/// A variable.
pub(super) struct Matrix {
    pub(super) name: String,
    pub(super) sizes: Vec<usize>,
    /// The first index runs fastest.
    pub(super) numbers: Numbers,
}

pub(super) enum Numbers {
    Bytes(Vec<u8>),
    /// Of another type.
    Others(Vec<f64>),
    /// Something else, which was not read.
    None,
}

impl Numbers {
    /// Those of an element.
    fn of(kind: u32, data: &[u8]) -> Self {
        match kind {
            UINT8 => Self::Bytes(data.to_vec()),
            INT8 => Self::each(data, |raw| i8::from_le_bytes(raw).into()),
            INT16 => Self::each(data, |raw| i16::from_le_bytes(raw).into()),
            UINT16 => Self::each(data, |raw| u16::from_le_bytes(raw).into()),
            INT32 => Self::each(data, |raw| i32::from_le_bytes(raw).into()),
            UINT32 => Self::each(data, |raw| u32::from_le_bytes(raw).into()),
            SINGLE => Self::each(data, |raw| f32::from_le_bytes(raw).into()),
            DOUBLE => Self::each(data, f64::from_le_bytes),
            INT64 => Self::each(data, |raw| i64::from_le_bytes(raw) as f64),
            UINT64 => Self::each(data, |raw| u64::from_le_bytes(raw) as f64),
            _ => Self::None,
        }
    }

    fn each<const SIZE: usize>(data: &[u8], number: fn([u8; SIZE]) -> f64) -> Self {
        let raw = data.as_chunks::<SIZE>().0.iter();
        Self::Others(raw.map(|&raw| number(raw)).collect())
    }
}

impl Matrix {
    pub(super) fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Bytes(numbers) => numbers.len(),
            Numbers::Others(numbers) => numbers.len(),
            Numbers::None => 0,
        }
    }

    pub(super) fn number(&self, row: usize) -> f64 {
        match &self.numbers {
            Numbers::Bytes(numbers) => f64::from(numbers[row]),
            Numbers::Others(numbers) => numbers[row],
            Numbers::None => f64::NAN,
        }
    }

    pub(super) fn describe(&self) -> String {
        let kind = match self.numbers {
            Numbers::Bytes(_) => "bytes",
            Numbers::Others(_) => "other numbers",
            Numbers::None => "no numbers",
        };
        format!("{kind} of sizes {:?}", self.sizes)
    }
}

/// Whether a file is of MATLAB 7.3, whose text stands before HDF5, or HDF5 without it.
pub(super) fn is_hdf5(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MATLAB 7.3") || bytes.starts_with(b"\x89HDF")
}

/// Place and what was found there.
pub(super) type Damage = (String, String);

/// All variables of a file.
pub(super) fn matrices(bytes: &[u8]) -> std::result::Result<Vec<Matrix>, Damage> {
    if bytes.len() < HEADER || bytes[126..128] != *b"IM" || bytes[124..126] != [0, 1] {
        let found = format!("{} bytes of something else", bytes.len());
        return Err(("header".into(), found));
    }
    let mut elements = Elements { bytes, at: HEADER };
    let mut found = Vec::new();
    while elements.at < bytes.len() {
        let place = format!("byte {}", elements.at);
        let damage = |found: String| (place.clone(), found);
        let (kind, data) = elements.next().map_err(damage)?;
        match kind {
            MATRIX => found.push(matrix(data).map_err(damage)?),
            COMPRESSED => {
                let unpacked = unpack(data).map_err(damage)?;
                let mut inner = Elements {
                    bytes: &unpacked,
                    at: 0,
                };
                match inner.next().map_err(damage)? {
                    (MATRIX, data) => found.push(matrix(data).map_err(damage)?),
                    (other, _) => return Err(damage(format!("an element of type {other}"))),
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Unpacks zlib data; pictures do not shrink to a thirtieth, so a short file cannot fill the memory.
fn unpack(data: &[u8]) -> Outcome<Vec<u8>> {
    let limit = (32 * data.len() as u64).max(64 << 20);
    let mut unpacked = Vec::new();
    let mut decoder = ZlibDecoder::new(data).take(limit);
    decoder.read_to_end(&mut unpacked).map_err(|error| {
        format!(
            "zlib data that break off after {} bytes ({error})",
            unpacked.len()
        )
    })?;
    Ok(unpacked)
}

fn matrix(bytes: &[u8]) -> Outcome<Matrix> {
    let mut elements = Elements { bytes, at: 0 };
    let mut part = |what: &str, wanted: u32| match elements.next() {
        Ok((kind, data)) if kind == wanted => Ok(data),
        Ok((kind, _)) => Err(format!("{what} of type {kind} instead of {wanted}")),
        Err(found) => Err(format!("{what}: {found}")),
    };
    let class = part("flags", UINT32)?.first().copied();
    let sizes = part("sizes", INT32)?.as_chunks::<4>().0;
    let sizes = sizes
        .iter()
        .map(|&raw| usize::try_from(i32::from_le_bytes(raw)));
    let sizes: Vec<usize> = sizes
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| "a negative size")?;
    let name = part("name", INT8)?;
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err("a variable's name that is none".into());
    }
    let name = String::from_utf8_lossy(name).into_owned();
    let (kind, data) = elements
        .next()
        .map_err(|found| format!("numbers of {name}: {found}"))?;
    let numbers = match class {
        Some(class) if NUMERIC.contains(&class) => Numbers::of(kind, data),
        _ => Numbers::None,
    };
    let matrix = Matrix {
        name,
        sizes,
        numbers,
    };
    let (sizes, count) = (&matrix.sizes, matrix.len());
    let product = (sizes.iter()).try_fold(1_usize, |product, &size| product.checked_mul(size));
    if !matches!(matrix.numbers, Numbers::None) && product != Some(count) {
        let name = &matrix.name;
        return Err(format!("{count} numbers of {name} for the sizes {sizes:?}"));
    }
    Ok(matrix)
}

/// Elements one after the other.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    /// Type and data of the next element.
    fn next(&mut self) -> Outcome<(u32, &'a [u8])> {
        let left = &self.bytes[self.at..];
        let word = |at: usize| -> Outcome<u32> {
            let raw = left.get(at..at + 4).and_then(|raw| raw.try_into().ok());
            raw.map(u32::from_le_bytes)
                .ok_or_else(|| format!("{} bytes left", left.len()))
        };
        let (first, short) = (word(0)?, word(0)? >> 16);
        let (kind, start, length) = match short {
            0 => (first, 8, word(4)? as usize),
            _ => (first & 0xffff, 4, short as usize),
        };
        let data = (left.get(start..))
            .and_then(|rest| rest.get(..length))
            .ok_or_else(|| {
                format!(
                    "{length} bytes announced, {} left",
                    left.len().saturating_sub(start)
                )
            })?;
        let whole = start + length;
        // Compressed elements are not padded, the last one need not be.
        let padded = if kind == COMPRESSED {
            whole
        } else {
            whole.next_multiple_of(8)
        };
        self.at += padded.min(left.len());
        Ok((kind, data))
    }
}
