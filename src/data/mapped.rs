//! A matrix in a file that is mapped into memory: an npy file, or rows that this process wrote itself.
//!
//! Type, shape, order and length are checked when it is opened. Before each use the file must still have its length and time
//! of change: reading a mapping past the end of a file would end the process.

use super::npy_header::NpyHeader;
use crate::{Error, Result};
use ::safetensors::Dtype;
use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use rayon::prelude::*;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Row-major f32 or f64 numbers, little-endian.
#[derive(Debug)]
pub struct MappedMatrix {
    map: Mmap,
    file: File,
    /// What was there when it was opened; `None` for a file that nobody else sees.
    opened: Option<Metadata>,
    path: PathBuf,
    /// Where the numbers begin.
    start: usize,
    count: usize,
    columns: usize,
    dtype: DType,
}

impl MappedMatrix {
    /// Maps an npy file; `None` where it is no matrix of f32 or f64 in row-major order, and another reader is to judge it.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter or longer than its header says, which `remedy` mends.
    pub(super) fn npy(path: &Path, remedy: &str) -> Result<Option<Self>> {
        let file = File::open(path).map_err(Error::io(path, "read"))?;
        let opened = file.metadata().map_err(Error::io(path, "read"))?;
        let map = map(&file).map_err(Error::io(path, "map"))?;
        let Some((header, dtype)) = matrix_header(&map) else {
            return Ok(None);
        };
        if header.length + header.claimed != map.len() as u64 {
            let expected = format!("{} bytes of numbers, as its header says", header.claimed);
            let found = (map.len() as u64).saturating_sub(header.length);
            return Err(Error::format(
                path,
                "array",
                expected,
                found.to_string(),
                remedy,
            ));
        }
        Ok(Some(Self {
            map,
            file,
            opened: Some(opened),
            path: path.to_path_buf(),
            start: header.length as usize,
            count: header.shape[0],
            columns: header.shape[1],
            dtype,
        }))
    }

    /// Maps what this process wrote into a file without a name in `folder`.
    pub(super) fn scratch(file: File, folder: &Path, columns: usize, dtype: DType) -> Result<Self> {
        let map = map(&file).map_err(Error::io(folder, "map intermediate rows in"))?;
        Ok(Self {
            count: map.len() / (columns * dtype.size_in_bytes()).max(1),
            map,
            file,
            opened: None,
            path: folder.to_path_buf(),
            start: 0,
            columns,
            dtype,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// As stored.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The rows in `range` in the wanted precision, with a 1 after each where `constant` asks for it.
    pub(super) fn rows(&self, range: Range<usize>, dtype: DType, constant: bool) -> Result<Tensor> {
        if range.start > range.end || range.end > self.count {
            let expected = format!("rows within 0..{}", self.count);
            let what = self.path.display().to_string();
            let found = format!("{range:?}");
            return Err(Error::mismatch(what, expected, found, "this is a bug"));
        }
        self.check_unchanged()?;
        let line = self.columns * self.dtype.size_in_bytes();
        let span = self.start + range.start * line..self.start + range.end * line;
        let lines = Lines {
            bytes: &self.map[span.clone()],
            count: range.len(),
            columns: self.columns,
            constant,
        };
        let tensor = match (self.dtype, dtype) {
            (DType::F64, DType::F32) => lines.read(|raw| f64::from_le_bytes(raw) as f32),
            (DType::F64, _) => lines.read(f64::from_le_bytes),
            (_, DType::F64) => lines.read(|raw| f64::from(f32::from_le_bytes(raw))),
            _ => lines.read(f32::from_le_bytes),
        }?;
        self.give_back(span);
        Ok(tensor.to_dtype(dtype)?)
    }

    fn check_unchanged(&self) -> Result<()> {
        let Some(opened) = &self.opened else {
            return Ok(());
        };
        let now = (self.file.metadata()).map_err(Error::io(&self.path, "read"))?;
        let changed = |then: &Metadata, now: &Metadata| {
            then.len() != now.len() || then.modified().ok() != now.modified().ok()
        };
        if changed(opened, &now) {
            let (then, now) = (opened.len(), now.len());
            let reason = format!("has changed while it was in use ({then} bytes then, {now} now)");
            let remedy = "put the original back and run the command again";
            return Err(Error::conflict(&self.path, reason, remedy));
        }
        Ok(())
    }

    /// Lets go of the pages of a span: they stay in the system's cache as long as it has room, but are ours no more.
    fn give_back(&self, span: Range<usize>) {
        #[cfg(unix)]
        // SAFETY: the mapping is read-only and backed by the file, so that pages let go are read from there again.
        let _ = unsafe {
            (self.map).unchecked_advise_range(
                memmap2::UncheckedAdvice::DontNeed,
                span.start,
                span.len(),
            )
        };
        #[cfg(not(unix))]
        let _ = span;
    }
}

fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is only read, through `rows`, which looks first whether the file is still what it was. That a user
    // overwrites it in the moment between is left as what it is elsewhere: a wrong number read from a file being written.
    unsafe { Mmap::map(file) }
}

/// The header of a matrix that can be used as it lies there, and the precision of its numbers.
fn matrix_header(map: &Mmap) -> Option<(NpyHeader, DType)> {
    let header = NpyHeader::read(&mut &map[..]).ok()?;
    let dtype = match header.element {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    };
    let lies_so = !header.big_endian && !header.column_major;
    (lies_so && header.count > 0 && header.shape.len() == 2).then_some((header, dtype))
}

/// Rows as stored.
struct Lines<'a> {
    bytes: &'a [u8],
    count: usize,
    columns: usize,
    constant: bool,
}

impl Lines<'_> {
    fn read<const SIZE: usize, T>(&self, decode: impl Fn([u8; SIZE]) -> T + Sync) -> Result<Tensor>
    where
        T: candle_core::WithDType,
    {
        let width = self.columns + usize::from(self.constant);
        // The last column keeps the 1 where there is a constant.
        let mut values = vec![T::from_f64(1.0); self.count * width];
        (values.par_chunks_exact_mut(width))
            .zip(self.bytes.par_chunks_exact(self.columns * SIZE))
            .for_each(|(line, bytes)| {
                let numbers = bytes.as_chunks::<SIZE>().0;
                (line.iter_mut().zip(numbers)).for_each(|(value, &raw)| *value = decode(raw));
            });
        Ok(Tensor::from_vec(values, (self.count, width), &Device::Cpu)?)
    }
}
