//! Rows that come one chunk after another, kept in memory or in a file that nobody else sees.

use super::mapped::MappedMatrix;
use super::rows::{Rows, little_endian, moved};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Rows that are written one chunk after another and then read back, in memory or in a file without a name.
///
/// The file lies in the given folder, has no name there, and is gone when the last reader is, or the process, however it ends.
pub struct RowWriter {
    columns: usize,
    dtype: DType,
    target: Target,
    /// Where the rows are to be used.
    target_device: Option<Device>,
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
            target_device: None,
        })
    }

    /// Appends rows, f32 or f64.
    ///
    /// # Errors
    /// More rows than there is room for; the disk is full.
    pub fn push(&mut self, chunk: &Tensor) -> Result<()> {
        match &mut self.target {
            Target::Memory { rows, filled } => {
                let chunk = moved(chunk, rows.device())?;
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

    /// The same for rows that are to be used on another device than they lie on.
    pub(super) fn for_use_on(self, target: Option<Device>) -> Self {
        Self {
            target_device: target,
            ..self
        }
    }

    /// The rows.
    ///
    /// # Errors
    /// The file cannot be mapped.
    pub fn finish(self) -> Result<Rows> {
        let rows: Rows = match self.target {
            Target::Memory { rows, .. } => rows.into(),
            Target::File { file, folder } => {
                MappedMatrix::scratch(file, &folder, self.columns, self.dtype)?.into()
            }
        };
        Ok(match &self.target_device {
            None => rows,
            Some(device) => rows.streamed_to(device),
        })
    }
}
