//! The header of an `.npy` file: type, order and shape of the numbers that follow.
//!
//! Layout (NumPy's NEP 1): `\x93NUMPY`; version, two bytes; length of the text, two bytes, from version 2 on four, little-endian;
//! the text, a Python dictionary, `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`; the numbers.
//!
//! It is read here, and not by ndarray-npy, which writes such files for us, because that makes room for whatever a header claims before
//! it looks at anything else: a damaged one would end the process.

use ::safetensors::Dtype;
use std::io::Read;

/// Texts are a hundred bytes long; those of structured types, which are refused, a few thousand.
const LONGEST: u64 = 1 << 20;

/// Why an array cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Its numbers are of this type, which is none of ours.
    Type(String),
    /// What is wrong with it.
    Damaged(String),
}

/// The type of numbers that numpy calls so, with or without their byte order.
fn type_of(descr: &str) -> Option<Dtype> {
    Some(match descr.trim_start_matches(['<', '>', '|', '=']) {
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "i1" => Dtype::I8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "u1" => Dtype::U8,
        "u2" => Dtype::U16,
        "u4" => Dtype::U32,
        "u8" => Dtype::U64,
        "b1" => Dtype::BOOL,
        _ => return None,
    })
}

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NpyHeader {
    pub(super) element: Dtype,
    pub(super) big_endian: bool,
    pub(super) column_major: bool,
    pub(super) shape: Vec<usize>,
    /// The product of the shape.
    pub(super) count: usize,
    /// Bytes before the numbers.
    pub(super) length: u64,
    /// Bytes of the numbers.
    pub(super) claimed: u64,
}

impl NpyHeader {
    /// Reads it; the reader then stands at the first number.
    pub(super) fn read(reader: &mut impl Read) -> Result<Self, Fault> {
        let start = taken(reader, 8)?;
        let Some(&[major, _]) = start.strip_prefix(b"\x93NUMPY") else {
            return Err(Fault::Damaged("no array of numpy's".into()));
        };
        let wide = if major == 1 { 2 } else { 4 };
        let mut length = [0; 4];
        length[..wide].copy_from_slice(&taken(reader, wide as u64)?);
        let length = u64::from(u32::from_le_bytes(length));
        if length > LONGEST {
            return Err(Fault::Damaged(format!("a header of {length} bytes")));
        }
        let text = taken(reader, length)?;
        Self::parse(&String::from_utf8_lossy(&text), 8 + wide as u64 + length)
    }

    fn parse(text: &str, length: u64) -> Result<Self, Fault> {
        let unclear = || Fault::Damaged(format!("the header {}", text.trim_end()));
        let descr = value(text, "descr").ok_or_else(unclear)?;
        let descr = match descr.chars().next() {
            Some(quote @ ('\'' | '"')) => descr[1..].split(quote).next().unwrap_or_default(),
            _ => return Err(Fault::Type("of several parts".into())),
        };
        let order = value(text, "fortran_order").ok_or_else(unclear)?;
        let shape = value(text, "shape").and_then(shape).ok_or_else(unclear)?;
        let element = type_of(descr).ok_or_else(|| Fault::Type(format!("'{descr}'")))?;
        let size = element.bitsize() as u64 / 8;
        let overflow = || Fault::Damaged(format!("the shape {shape:?}, which no memory holds"));
        // Without the zeros: what stands beside them must be a shape nevertheless.
        let mut sizes = shape.iter().copied().filter(|size| *size > 0);
        let product = sizes.try_fold(1, usize::checked_mul).ok_or_else(overflow)?;
        let count = if shape.contains(&0) { 0 } else { product };
        let bytes = (product as u64).checked_mul(size);
        if bytes.is_none_or(|bytes| bytes > i64::MAX as u64) {
            return Err(overflow());
        }
        Ok(Self {
            element,
            big_endian: descr.starts_with('>'),
            column_major: order.starts_with("True"),
            claimed: count as u64 * size,
            shape,
            count,
            length,
        })
    }

    /// Refuses a header that claims more numbers than `room` bytes hold.
    pub(super) fn check(&self, room: u64) -> Result<(), Fault> {
        match self.claimed > room {
            true => Err(Fault::Damaged(format!(
                "{room} bytes where its header says {}",
                self.claimed
            ))),
            false => Ok(()),
        }
    }
}

/// The next `count` bytes, all of them.
fn taken(reader: &mut impl Read, count: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    match reader.take(count).read_to_end(&mut bytes) {
        Ok(read) if read as u64 == count => Ok(bytes),
        Ok(_) => Err(Fault::Damaged("a header that is cut short".into())),
        Err(reason) => Err(Fault::Damaged(reason.to_string())),
    }
}

/// What follows a key of the dictionary.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let quoted = ['\'', '"'].map(|quote| format!("{quote}{key}{quote}"));
    let (_, rest) = quoted.iter().find_map(|quoted| text.split_once(quoted))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// A tuple of numbers, each of which may end as long ones did in Python 2.
fn shape(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let sizes = inside.split(',').map(str::trim);
    let sizes = sizes.filter(|size| !size.is_empty());
    sizes
        .map(|size| size.trim_end_matches('L').parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, text: &str) -> Result<NpyHeader, Fault> {
        let mut bytes = vec![0x93, b'N', b'U', b'M', b'P', b'Y', version, 0];
        match version {
            1 => bytes.extend((text.len() as u16).to_le_bytes()),
            _ => bytes.extend((text.len() as u32).to_le_bytes()),
        }
        bytes.extend(text.as_bytes());
        NpyHeader::read(&mut &bytes[..])
    }

    #[test]
    fn every_version_and_way_of_writing() {
        let text = "{'descr': '>f8', 'fortran_order': True, 'shape': (3, 2), }   \n";
        let expected = NpyHeader {
            element: Dtype::F64,
            big_endian: true,
            column_major: true,
            shape: vec![3, 2],
            count: 6,
            length: 10 + text.len() as u64,
            claimed: 48,
        };
        assert_eq!(header(1, text).unwrap(), expected);
        for version in [2, 3] {
            assert_eq!(header(version, text).unwrap().length, expected.length + 2);
        }
        let other = "{\"shape\" :(5L,),\"fortran_order\":False,\"descr\":\"|b1\"}";
        let found = header(1, other).unwrap();
        assert_eq!(
            (found.element, found.shape, found.claimed),
            (Dtype::BOOL, vec![5], 5)
        );
        let scalar = "{'descr': '<i2', 'fortran_order': False, 'shape': (), }";
        assert_eq!(header(1, scalar).unwrap().count, 1);
    }

    #[test]
    fn what_is_no_header_or_claims_what_cannot_be() {
        let shaped = |shape: &str| {
            let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
            header(1, &text)
        };
        for shape in [
            "(9223372036854775807, 2)",
            "(4611686018427387904, 1)",
            "(0, 4611686018427387904, 4)",
            "(18446744073709551616,)",
            "(-1, 3)",
            "(3, 2",
            "3",
        ] {
            assert!(matches!(shaped(shape), Err(Fault::Damaged(_))), "{shape}");
        }
        let empty = shaped("(0, 7)").unwrap();
        assert_eq!((empty.count, empty.claimed), (0, 0));
        let large = shaped("(1000000000, 8)").unwrap();
        assert!(large.check(480).is_err() && large.check(32_000_000_000).is_ok());
        for descr in ["'<c8'", "'|S3'", "[('a', '<f4')]"] {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (3,), }}");
            assert!(matches!(header(1, &text), Err(Fault::Type(_))), "{descr}");
        }
        for bytes in [
            &b"\x93NUMPX\x01\x00\x02\x00{}"[..],
            b"\x93NUMPY\x01\x00\x02\x00{",
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
            b"\x93NUM",
            b"",
        ] {
            assert!(NpyHeader::read(&mut &bytes[..]).is_err());
        }
    }
}
