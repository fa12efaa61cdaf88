//! Numbers as files of arrays store them: which types are read, and what becomes of each. Types are named as safetensors names them.

use super::arrays::Values;
use ::safetensors::Dtype;
use half::{bf16, f16};
use std::io::{Read, Result};

/// Numbers that are turned from bytes at once.
const PART: usize = 1 << 16;

/// So many numbers, which a reader stands before.
pub(super) struct RawNumbers<'a, R> {
    pub(super) reader: &'a mut R,
    pub(super) count: usize,
    pub(super) big_endian: bool,
}

impl<R: Read> RawNumbers<'_, R> {
    /// Reads them; `None` where they are of a type that neither features nor labels come in.
    pub(super) fn read(self, kind: Dtype) -> Result<Option<Values>> {
        let values = match kind {
            Dtype::F16 => Values::F32(self.decoded(|raw| f16::from_le_bytes(raw).to_f32())?),
            Dtype::BF16 => Values::F32(self.decoded(|raw| bf16::from_le_bytes(raw).to_f32())?),
            Dtype::F32 => Values::F32(self.decoded(f32::from_le_bytes)?),
            Dtype::F64 => Values::F64(self.decoded(f64::from_le_bytes)?),
            Dtype::I8 => self.integers(i8::from_le_bytes)?,
            Dtype::I16 => self.integers(i16::from_le_bytes)?,
            Dtype::I32 => self.integers(i32::from_le_bytes)?,
            Dtype::I64 => self.integers(i64::from_le_bytes)?,
            Dtype::U8 => self.integers(u8::from_le_bytes)?,
            Dtype::U16 => self.integers(u16::from_le_bytes)?,
            Dtype::U32 => self.integers(u32::from_le_bytes)?,
            // Too large for i64 is the largest there, which no check of labels lets through.
            Dtype::U64 => {
                self.integers(|raw| i64::try_from(u64::from_le_bytes(raw)).unwrap_or(i64::MAX))?
            }
            Dtype::BOOL => self.integers(|[raw]: [u8; 1]| raw != 0)?,
            _ => return Ok(None),
        };
        Ok(Some(values))
    }

    fn integers<const SIZE: usize, T: Into<i64>>(
        self,
        decode: impl Fn([u8; SIZE]) -> T,
    ) -> Result<Values> {
        Ok(Values::Integers(self.decoded(|raw| decode(raw).into())?))
    }

    fn decoded<const SIZE: usize, T>(self, decode: impl Fn([u8; SIZE]) -> T) -> Result<Vec<T>> {
        let mut values = Vec::with_capacity(self.count);
        let mut part = vec![0; SIZE * PART.min(self.count)];
        while values.len() < self.count {
            let bytes = &mut part[..SIZE * PART.min(self.count - values.len())];
            self.reader.read_exact(bytes)?;
            values.extend(bytes.as_chunks::<SIZE>().0.iter().map(|&(mut raw)| {
                if self.big_endian {
                    raw.reverse();
                }
                decode(raw)
            }));
        }
        Ok(values)
    }
}
