//! A matrix that is used some rows at a time, wherever it lies: a tensor in memory, or a file mapped into it.
//!
//! Whoever asks for [`Rows::chunk`] does not know which. A resident chunk is a view; a mapped one is copied, converted to the
//! wanted precision on the way, and its pages are given back at once, so that memory holds a chunk and not the file.
//!
//! Sums and products over all rows go through [`Rows::steps`], which depend on the width alone: the same numbers come
//! out in the same order, bit for bit, mapped or not.

use super::mapped::MappedMatrix;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Numbers in one step: 32 MiB in f32.
const STEP_ELEMENTS: usize = 1 << 23;
/// Most rows in one step.
const STEP_ROWS: usize = 4096;

/// `[count, columns]` numbers of one precision.
#[derive(Debug, Clone)]
pub struct Rows(Source);

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
        Self(Source::Resident(tensor))
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
        Self(Source::Mapped {
            dtype: matrix.dtype(),
            matrix: Arc::new(matrix),
            constant: false,
        })
    }
}

impl Rows {
    /// `[count, columns]`; what a resident tensor has where that is no matrix.
    pub fn dims(&self) -> Vec<usize> {
        match &self.0 {
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
        match &self.0 {
            Source::Resident(tensor) => tensor.dtype(),
            Source::Mapped { dtype, .. } => *dtype,
        }
    }

    /// Where chunks lie.
    pub fn device(&self) -> &Device {
        match &self.0 {
            Source::Resident(tensor) => tensor.device(),
            Source::Mapped { .. } => &Device::Cpu,
        }
    }

    /// Whether the rows lie in a mapped file.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Source::Mapped { .. })
    }

    /// The same rows in another precision.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self(match &self.0 {
            Source::Resident(tensor) => Source::Resident(tensor.to_dtype(dtype)?),
            Source::Mapped {
                matrix, constant, ..
            } => Source::Mapped {
                matrix: matrix.clone(),
                dtype,
                constant: *constant,
            },
        }))
    }

    /// The same rows, each with a 1 appended.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn with_constant(&self) -> Result<Self> {
        Ok(Self(match &self.0 {
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
                let rows = self.all()?;
                let ones = Tensor::ones((self.count(), 1), self.dtype(), self.device())?;
                Source::Resident(Tensor::cat(&[&rows, &ones], 1)?)
            }
        }))
    }

    /// The rows in `range`, `[range.len(), columns]`.
    ///
    /// # Errors
    /// A range out of bounds; a mapped file that has changed since it was opened.
    pub fn chunk(&self, range: Range<usize>) -> Result<Tensor> {
        match &self.0 {
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
        match &self.0 {
            Source::Resident(tensor) => {
                Ok(tensor.index_select(&Tensor::new(positions, tensor.device())?, 0)?)
            }
            Source::Mapped { .. } => {
                let rows = (positions.iter().map(|&at| at as usize))
                    .map(|at| self.chunk(at..at + 1))
                    .collect::<Result<Vec<_>>>()?;
                Ok(Tensor::cat(&rows, 0)?)
            }
        }
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

/// Rows that are written one chunk after another and then read back, in memory or in a file without a name.
///
/// The file lies in the given folder, has no name there, and is gone when the last reader is, or the process, however it ends.
pub struct RowWriter {
    columns: usize,
    dtype: DType,
    target: Target,
}

enum Target {
    Memory { rows: Tensor, filled: usize },
    File { file: File, folder: PathBuf },
}

impl RowWriter {
    /// For `[count, columns]` numbers, in a file in the folder `scratch` where one is given.
    ///
    /// # Errors
    /// The folder cannot be written, or a tensor operation failed.
    pub fn new(
        (count, columns): (usize, usize),
        dtype: DType,
        device: &Device,
        scratch: Option<&Path>,
    ) -> Result<Self> {
        let target = match scratch {
            None => Target::Memory {
                rows: Tensor::zeros((count, columns), dtype, device)?,
                filled: 0,
            },
            Some(folder) => Target::File {
                file: tempfile::tempfile_in(folder).map_err(Error::io(folder, "write"))?,
                folder: folder.to_path_buf(),
            },
        };
        Ok(Self {
            columns,
            dtype,
            target,
        })
    }

    /// Appends rows, f32 or f64.
    ///
    /// # Errors
    /// More rows than there is room for; the disk is full.
    pub fn push(&mut self, chunk: &Tensor) -> Result<()> {
        match &mut self.target {
            Target::Memory { rows, filled } => {
                rows.slice_set(&chunk.contiguous()?, 0, *filled)?;
                *filled += chunk.dims()[0];
            }
            Target::File { file, folder } => {
                let bytes = little_endian(chunk)?;
                file.write_all(&bytes)
                    .map_err(Error::io(folder, "write intermediate rows in"))?;
            }
        }
        Ok(())
    }

    /// The rows.
    ///
    /// # Errors
    /// The file cannot be mapped.
    pub fn finish(self) -> Result<Rows> {
        match self.target {
            Target::Memory { rows, .. } => Ok(rows.into()),
            Target::File { file, folder } => {
                Ok(MappedMatrix::scratch(file, &folder, self.columns, self.dtype)?.into())
            }
        }
    }
}

/// The numbers of an f32 or f64 tensor as they are stored.
pub(crate) fn little_endian(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F64 => (flat.to_vec1::<f64>()?.into_iter())
            .flat_map(f64::to_le_bytes)
            .collect(),
        _ => (flat.to_vec1::<f32>()?.into_iter())
            .flat_map(f32::to_le_bytes)
            .collect(),
    })
}

#[cfg(test)]
mod tests;
