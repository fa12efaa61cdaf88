//! The full score matrix, in memory or as `scores.npy`.

use super::{ScoreBlock, ScoreHeader, ScoreSink, SinkState};
use crate::artefact::{AtomicFile, digest_bytes};
use crate::{Error, Result};
use ndarray::{Array2, s};
use ndarray_npy::write_zeroed_npy;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
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
}

/// Scores on disk as npy, f32 `[query, train]`, in row-major order and so fit for memory mapping.
#[derive(Debug)]
pub struct ScoreFile {
    path: PathBuf,
    file: Option<AtomicFile>,
    rows: usize,
    columns: usize,
    data_start: u64,
    written: Vec<Written>,
}

/// A block on disk.
#[derive(Debug)]
struct Written {
    queries: Range<usize>,
    training: Range<usize>,
    digest: [u64; 4],
}

impl ScoreFile {
    /// A file at `path`, which appears when it is complete.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            file: None,
            rows: 0,
            columns: 0,
            data_start: 0,
            written: Vec::new(),
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
        (self.rows, self.columns, self.file) = (rows, columns, Some(file));
        self.written.clear();
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        // Finite in f64, in which they come.
        let beyond = |score: &f64| !(*score as f32).is_finite();
        if let Some(at) = block.scores.iter().position(beyond) {
            let (row, column) = (at / block.training.len(), at % block.training.len());
            let (row, column) = (block.queries.start + row, block.training.start + column);
            let what = format!("{}: a score in f32", self.path.display());
            let place = format!("row {row}, column {column}");
            let remedy = "leave out --scores: rankings.parquet holds f64";
            return Err(Error::non_finite(what, place, remedy));
        }
        let bytes: Vec<u8> = (block.scores.iter())
            .flat_map(|&score| (score as f32).to_le_bytes())
            .collect();
        let width = 4 * block.training.len();
        for (row, bytes) in block.queries.clone().zip(bytes.chunks_exact(width)) {
            let offset = self.data_start + 4 * (row * self.columns + block.training.start) as u64;
            file.seek(SeekFrom::Start(offset))
                .and_then(|_| file.write_all(bytes))
                .map_err(Error::io(&self.path, "write"))?;
        }
        self.written.push(Written {
            queries: block.queries.clone(),
            training: block.training.clone(),
            digest: digest(&bytes),
        });
        Ok(())
    }

    fn save(&mut self) -> Result<Option<SinkState>> {
        if let Some(file) = self.file.take() {
            self.file = Some(file.record()?);
        }
        let blocks = self.written.iter().flat_map(|block| {
            let (queries, training) = (&block.queries, &block.training);
            let ranges = [queries.start, queries.end, training.start, training.end];
            ranges.map(|end| end as u64).into_iter().chain(block.digest)
        });
        Ok(Some(SinkState {
            integers: blocks.collect(),
            numbers: Vec::new(),
        }))
    }

    /// Every block is read again and must be what was written.
    fn restore(&mut self, state: &SinkState) -> Result<bool> {
        let expected = self.data_start + 4 * (self.rows * self.columns) as u64;
        let (blocks, rest) = state.integers.as_chunks::<8>();
        let Some(mut file) = AtomicFile::resume(&self.path)? else {
            return Ok(false);
        };
        let length = file
            .seek(SeekFrom::End(0))
            .map_err(Error::io(&self.path, "read"))?;
        let mut fits = length == expected && rest.is_empty() && state.numbers.is_empty();
        for &[first, last, left, right, a, b, c, d] in blocks {
            let block = Written {
                queries: first as usize..last as usize,
                training: left as usize..right as usize,
                digest: [a, b, c, d],
            };
            fits = fits && self.holds(&mut file, &block)?;
            self.written.push(block);
        }
        self.file = Some(file);
        Ok(fits)
    }

    fn finish(&mut self) -> Result<()> {
        self.file.take().map_or(Ok(()), AtomicFile::commit)
    }
}

impl ScoreFile {
    /// Whether `file`, which has the right length, has the block as it was written.
    fn holds(&self, file: &mut AtomicFile, block: &Written) -> Result<bool> {
        let (queries, training) = (&block.queries, &block.training);
        let within = |range: &Range<usize>, end| range.start < range.end && range.end <= end;
        if !within(queries, self.rows) || !within(training, self.columns) {
            return Ok(false);
        }
        let width = 4 * training.len();
        let mut bytes = vec![0; queries.len() * width];
        for (row, bytes) in queries.clone().zip(bytes.chunks_exact_mut(width)) {
            let offset = self.data_start + 4 * (row * self.columns + training.start) as u64;
            file.seek(SeekFrom::Start(offset))
                .and_then(|_| file.file_mut().read_exact(bytes))
                .map_err(Error::io(&self.path, "read"))?;
        }
        Ok(digest(&bytes) == block.digest)
    }
}

/// SHA-256 as four numbers.
fn digest(bytes: &[u8]) -> [u64; 4] {
    let text = digest_bytes(bytes);
    let part = |at: usize| u64::from_str_radix(&text[16 * at..][..16], 16).unwrap_or_default();
    [part(0), part(1), part(2), part(3)]
}
