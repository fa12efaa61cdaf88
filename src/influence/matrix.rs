//! The full score matrix, in memory or as `scores.npy`.

use super::{ScoreBlock, ScoreHeader, ScoreSink};
use crate::artefact::AtomicFile;
use crate::{Error, Result};
use ndarray::{Array2, s};
use ndarray_npy::write_zeroed_npy;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Scores in memory, f64 `[query, train]`.
#[derive(Debug, Default)]
pub struct ScoreMatrix {
    /// The matrix; empty before [`ScoreSink::begin`].
    pub scores: Array2<f64>,
}

impl ScoreSink for ScoreMatrix {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        self.scores = Array2::zeros((header.queries.len(), header.training.len()));
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        self.scores
            .slice_mut(s![block.queries.clone(), block.training.clone()])
            .assign(&block.scores);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Scores on disk as npy, f32 `[query, train]`, in row-major order and so fit for memory mapping.
#[derive(Debug)]
pub struct ScoreFile {
    path: PathBuf,
    file: Option<AtomicFile>,
    columns: usize,
    data_start: u64,
}

impl ScoreFile {
    /// A file at `path`, which appears when it is complete.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            file: None,
            columns: 0,
            data_start: 0,
        }
    }
}

impl ScoreSink for ScoreFile {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        let (rows, columns) = (header.queries.len(), header.training.len());
        let mut file = AtomicFile::create(&self.path)?;
        write_zeroed_npy::<f32, _>(file.file_mut(), (rows, columns))
            .map_err(|reason| Error::io(&self.path, "write")(std::io::Error::other(reason)))?;
        let length = file
            .seek(SeekFrom::End(0))
            .map_err(Error::io(&self.path, "write"))?;
        self.data_start = length - (4 * rows * columns) as u64;
        (self.columns, self.file) = (columns, Some(file));
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        for (row, scores) in block.queries.clone().zip(block.scores.rows()) {
            let offset = self.data_start + 4 * (row * self.columns + block.training.start) as u64;
            let bytes: Vec<u8> = scores
                .iter()
                .flat_map(|&score| (score as f32).to_le_bytes())
                .collect();
            file.seek(SeekFrom::Start(offset))
                .and_then(|_| file.write_all(&bytes))
                .map_err(Error::io(&self.path, "write"))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.file.take().map_or(Ok(()), AtomicFile::commit)
    }
}
