//! A matrix that is used some rows at a time, wherever it lies: a tensor in memory, or a file mapped into it.
//!
//! Whoever asks for [`Rows::chunk`] does not know which. A resident chunk is a view; a mapped one is copied, converted to the
//! wanted precision on the way, and its pages are given back at once, so that memory holds a chunk and not the file.
//!
//! Rows may be used on another device than they lie on ([`Rows::streamed_to`]): a chunk is then moved there when it is asked for.
//!
//! Sums and products over all rows go through [`Rows::steps`], which depend on the width alone: the same numbers come
//! out in the same order, bit for bit, mapped or not.

use super::RowWriter;
use super::mapped::MappedMatrix;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Numbers in one step: 32 MiB in f32.
const STEP_ELEMENTS: usize = 1 << 23;
/// Most rows in one step.
const STEP_ROWS: usize = 4096;
/// Numbers that one thread turns into bytes at once.
const PART: usize = 1 << 16;

/// `[count, columns]` numbers of one precision.
#[derive(Debug, Clone)]
pub struct Rows {
    source: Source,
    /// Where chunks are moved to, if not where the source lies.
    target: Option<Device>,
    /// The file that they were read from, where that is known.
    file: Option<Arc<Path>>,
    /// The numbers of the rows there, where these are not all of them in their order.
    numbers: Option<Arc<[usize]>>,
}

#[derive(Debug, Clone)]
enum Source {
    Resident(Tensor),
    Mapped {
        matrix: Arc<MappedMatrix>,
        dtype: DType,
        /// Whether a 1 follows each row.
        constant: bool,
    },
}

impl From<Tensor> for Rows {
    fn from(tensor: Tensor) -> Self {
        Source::Resident(tensor).into()
    }
}

impl From<&Tensor> for Rows {
    fn from(tensor: &Tensor) -> Self {
        tensor.clone().into()
    }
}

impl From<&Rows> for Rows {
    fn from(rows: &Rows) -> Self {
        rows.clone()
    }
}

impl From<MappedMatrix> for Rows {
    fn from(matrix: MappedMatrix) -> Self {
        Source::Mapped {
            dtype: matrix.dtype(),
            matrix: Arc::new(matrix),
            constant: false,
        }
        .into()
    }
}

impl From<Source> for Rows {
    fn from(source: Source) -> Self {
        Self {
            source,
            target: None,
            file: None,
            numbers: None,
        }
    }
}

impl Rows {
    /// A matrix in an npy file, mapped and not read; `remedy` is what helps where the file is none.
    ///
    /// # Errors
    /// The file cannot be read, is no matrix of f32 or f64 in row-major order, or shorter or longer than its header says.
    pub fn open_npy(path: &Path, remedy: &str) -> Result<Self> {
        let matrix = MappedMatrix::npy(path, remedy)?.ok_or_else(|| {
            let expected = "a matrix of f32 or f64 in row-major order";
            Error::format(path, "array", expected, "something else", remedy)
        })?;
        Ok(matrix.into())
    }

    /// The same rows, read from a file.
    pub(crate) fn of_file(self, file: &Path) -> Self {
        let file = Some(file.into());
        Self { file, ..self }
    }

    /// The file that they were read from, for messages.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What a row is called in messages: by its number in the file that it was read from.
    pub(crate) fn name(&self, row: usize) -> String {
        let numbers = self.numbers.as_ref();
        let number = numbers.and_then(|numbers| numbers.get(row).copied());
        format!("row {}", number.unwrap_or(row))
    }

    /// `[count, columns]`; what a resident tensor has where that is no matrix.
    pub fn dims(&self) -> Vec<usize> {
        match &self.source {
            Source::Resident(tensor) => tensor.dims().to_vec(),
            Source::Mapped {
                matrix, constant, ..
            } => vec![matrix.count(), matrix.columns() + usize::from(*constant)],
        }
    }

    /// How many rows.
    pub fn count(&self) -> usize {
        self.dims().first().copied().unwrap_or(1)
    }

    /// Numbers in a row.
    pub fn columns(&self) -> usize {
        self.dims().get(1).copied().unwrap_or(1)
    }

    /// The precision of chunks.
    pub fn dtype(&self) -> DType {
        match &self.source {
            Source::Resident(tensor) => tensor.dtype(),
            Source::Mapped { dtype, .. } => *dtype,
        }
    }

    /// Where chunks lie.
    pub fn device(&self) -> &Device {
        self.target.as_ref().unwrap_or(self.home())
    }

    /// Where the rows themselves lie.
    fn home(&self) -> &Device {
        match &self.source {
            Source::Resident(tensor) => tensor.device(),
            Source::Mapped { .. } => &Device::Cpu,
        }
    }

    /// The same rows on `device`, moved there as a whole.
    ///
    /// # Errors
    /// They do not fit, or a mapped file has changed since it was opened.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let rows: Self = match &self.source {
            source if self.home().same_device(device) => source.clone().into(),
            Source::Resident(tensor) => moved(tensor, device)?.into(),
            Source::Mapped { .. } => {
                let mut writer = RowWriter::new(self.shape(), self.dtype(), device, None)?;
                for step in self.steps() {
                    writer.push(&self.own_chunk(step)?)?;
                }
                writer.finish()?
            }
        };
        Ok(Self {
            file: self.file.clone(),
            numbers: self.numbers.clone(),
            ..rows
        })
    }

    /// The same rows where they are; chunks are moved to `device`.
    pub fn streamed_to(&self, device: &Device) -> Self {
        Self {
            target: (!self.home().same_device(device)).then(|| device.clone()),
            ..self.clone()
        }
    }

    fn shape(&self) -> (usize, usize) {
        (self.count(), self.columns())
    }

    /// For rows that are made of these, `columns` numbers each: they lie where these lie, those of a mapped file in a file in
    /// the folder `scratch` where one is given.
    ///
    /// # Errors
    /// As for [`RowWriter::new`].
    pub fn writer(&self, columns: usize, scratch: Option<&Path>) -> Result<RowWriter> {
        let scratch = scratch.filter(|_| self.is_mapped());
        let shape = (self.count(), columns);
        let writer = RowWriter::new(shape, self.dtype(), self.home(), scratch)?;
        Ok(writer.for_use_on(self.target.clone()))
    }

    /// Whether the rows lie in a mapped file.
    pub fn is_mapped(&self) -> bool {
        matches!(self.source, Source::Mapped { .. })
    }

    /// The same rows in another precision.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let source = match &self.source {
            Source::Resident(tensor) => Source::Resident(tensor.to_dtype(dtype)?),
            Source::Mapped {
                matrix, constant, ..
            } => Source::Mapped {
                matrix: matrix.clone(),
                dtype,
                constant: *constant,
            },
        };
        Ok(Self {
            source,
            ..self.clone()
        })
    }

    /// The same rows, each with a 1 appended.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn with_constant(&self) -> Result<Self> {
        let source = match &self.source {
            Source::Mapped {
                matrix,
                dtype,
                constant: false,
            } => Source::Mapped {
                matrix: matrix.clone(),
                dtype: *dtype,
                constant: true,
            },
            _ => {
                let rows = self.own_chunk(0..self.count())?;
                let ones = Tensor::ones((self.count(), 1), self.dtype(), self.home())?;
                Source::Resident(Tensor::cat(&[&rows, &ones], 1)?)
            }
        };
        Ok(Self {
            source,
            ..self.clone()
        })
    }

    /// The rows in `range`, `[range.len(), columns]`.
    ///
    /// # Errors
    /// A range out of bounds; a mapped file that has changed since it was opened.
    pub fn chunk(&self, range: Range<usize>) -> Result<Tensor> {
        self.delivered(self.own_chunk(range)?)
    }

    fn delivered(&self, chunk: Tensor) -> Result<Tensor> {
        match &self.target {
            None => Ok(chunk),
            Some(device) => moved(&chunk, device),
        }
    }

    /// Where the rows themselves lie.
    fn own_chunk(&self, range: Range<usize>) -> Result<Tensor> {
        match &self.source {
            Source::Resident(tensor) => Ok(tensor.narrow(0, range.start, range.len())?),
            Source::Mapped {
                matrix,
                dtype,
                constant,
            } => matrix.rows(range, *dtype, *constant),
        }
    }

    /// All rows at once.
    ///
    /// # Errors
    /// As for [`Rows::chunk`].
    pub fn all(&self) -> Result<Tensor> {
        self.chunk(0..self.count())
    }

    /// The rows at `positions`, in that order.
    ///
    /// # Errors
    /// As for [`Rows::chunk`].
    pub fn select(&self, positions: &[u32]) -> Result<Tensor> {
        let rows = match &self.source {
            Source::Resident(tensor) => {
                tensor.index_select(&Tensor::new(positions, tensor.device())?, 0)?
            }
            Source::Mapped { .. } => {
                let rows = (positions.iter().map(|&at| at as usize))
                    .map(|at| self.own_chunk(at..at + 1))
                    .collect::<Result<Vec<_>>>()?;
                Tensor::cat(&rows, 0)?
            }
        };
        self.delivered(rows)
    }

    /// The rows at `positions`, in that order and in memory, which remember where they were.
    ///
    /// # Errors
    /// As for [`Rows::chunk`].
    pub(crate) fn part(&self, positions: &[usize]) -> Result<Self> {
        let places: Vec<u32> = positions.iter().map(|&at| at as u32).collect();
        let rows = self.select(&places)?;
        let number = |&at: &usize| (self.numbers.as_ref()).map_or(at, |numbers| numbers[at]);
        Ok(Self {
            file: self.file.clone(),
            numbers: Some(positions.iter().map(number).collect()),
            ..rows.into()
        })
    }

    /// Ranges that together cover all rows, in order, of about 32 MiB in f32.
    pub fn steps(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (count, columns) = (self.count(), self.columns());
        let size = (STEP_ELEMENTS / columns.max(1)).clamp(16, STEP_ROWS);
        (0..count)
            .step_by(size)
            .map(move |start| start..count.min(start + size))
    }
}

/// A tensor on `device`. Of a part of a tensor candle would move the whole; of one that is there already this is a view.
pub(crate) fn moved(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    if tensor.device().same_device(device) {
        return Ok(tensor.clone());
    }
    Ok(tensor.force_contiguous()?.to_device(device)?)
}

/// The numbers of an f32 or f64 tensor as they are stored.
pub(crate) fn little_endian(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = moved(tensor, &Device::Cpu)?.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F64 => bytes(&flat.to_vec1::<f64>()?, f64::to_le_bytes),
        _ => bytes(&flat.to_vec1::<f32>()?, f32::to_le_bytes),
    })
}

fn bytes<T: Copy + Sync, const SIZE: usize>(
    values: &[T],
    encode: impl Fn(T) -> [u8; SIZE] + Sync,
) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * SIZE];
    (bytes.par_chunks_mut(PART * SIZE))
        .zip(values.par_chunks(PART))
        .for_each(|(bytes, values)| {
            let (places, _) = bytes.as_chunks_mut::<SIZE>();
            (places.iter_mut().zip(values)).for_each(|(place, &value)| *place = encode(value));
        });
    bytes
}

#[cfg(test)]
mod tests;
