//! The full score matrix, in memory or as `scores.npy`.

use super::{ScoreBlock, ScoreHeader, ScoreSink, SinkState};
use crate::artefact::{AtomicFile, digest_bytes};
use crate::{Error, Result};
use candle_core::DType;
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

/// Scores on disk as npy `[query, train]`, in row-major order and so fit for memory mapping.
#[derive(Debug)]
pub struct ScoreFile {
    path: PathBuf,
    precision: DType,
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
    /// A file at `path`, which appears when it is complete; of f64 where `precision` is, else of f32.
    pub fn new(path: &Path, precision: DType) -> Self {
        Self {
            path: path.to_path_buf(),
            precision: match precision {
                DType::F64 => DType::F64,
                _ => DType::F32,
            },
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
        let shape = (rows, columns);
        let begun = match self.precision {
            DType::F64 => write_zeroed_npy::<f64, _>(file.file_mut(), shape),
            _ => write_zeroed_npy::<f32, _>(file.file_mut(), shape),
        };
        begun.map_err(|reason| Error::io(&self.path, "write")(std::io::Error::other(reason)))?;
        let length = file
            .seek(SeekFrom::End(0))
            .map_err(Error::io(&self.path, "write"))?;
        self.data_start = length - (self.size() * rows * columns) as u64;
        (self.rows, self.columns, self.file) = (rows, columns, Some(file));
        self.written.clear();
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        let size = self.size();
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        // Finite in f64, in which they come.
        let is_narrow = self.precision == DType::F32;
        let beyond = |score: &f64| is_narrow && !(*score as f32).is_finite();
        if let Some(at) = block.scores.iter().position(beyond) {
            let (row, column) = (at / block.training.len(), at % block.training.len());
            let (row, column) = (block.queries.start + row, block.training.start + column);
            let what = format!("{}: a score in f32", self.path.display());
            let place = format!("row {row}, column {column}");
            let remedy = "add --precision f64, or leave out --scores: rankings.parquet holds f64";
            return Err(Error::non_finite(what, place, remedy));
        }
        let scores = block.scores.iter();
        let bytes: Vec<u8> = match is_narrow {
            true => scores
                .flat_map(|&score| (score as f32).to_le_bytes())
                .collect(),
            false => scores.flat_map(|score| score.to_le_bytes()).collect(),
        };
        let width = size * block.training.len();
        for (row, bytes) in block.queries.clone().zip(bytes.chunks_exact(width)) {
            let offset =
                self.data_start + (size * (row * self.columns + block.training.start)) as u64;
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
        let expected = self.data_start + (self.size() * self.rows * self.columns) as u64;
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
    /// Bytes of a score.
    fn size(&self) -> usize {
        self.precision.size_in_bytes()
    }

    /// Whether `file`, which has the right length, has the block as it was written.
    fn holds(&self, file: &mut AtomicFile, block: &Written) -> Result<bool> {
        let (queries, training) = (&block.queries, &block.training);
        let within = |range: &Range<usize>, end| range.start < range.end && range.end <= end;
        if !within(queries, self.rows) || !within(training, self.columns) {
            return Ok(false);
        }
        let width = self.size() * training.len();
        let mut bytes = vec![0; queries.len() * width];
        for (row, bytes) in queries.clone().zip(bytes.chunks_exact_mut(width)) {
            let offset =
                self.data_start + (self.size() * (row * self.columns + training.start)) as u64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::influence::Provenance;
    use ndarray::array;
    use ndarray_npy::read_npy;

    #[test]
    fn numbers_that_f32_has_no_room_for_take_f64() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.npy");
        let header = ScoreHeader {
            queries: vec![0, 1],
            training: vec![0, 1],
            provenance: Provenance::default(),
        };
        let scores = array![[1e-60, 0.1], [-2.0, 1e39]];
        let block = ScoreBlock {
            queries: 0..2,
            training: 0..2,
            scores: scores.view(),
        };
        let mut narrow = ScoreFile::new(&path, DType::F32);
        narrow.begin(&header).unwrap();
        let refused = narrow.write(&block).unwrap_err().to_string();
        assert!(
            refused.contains("row 1, column 1") && refused.contains("--precision f64"),
            "{refused}"
        );
        let mut wide = ScoreFile::new(&path, DType::F64);
        wide.begin(&header).unwrap();
        wide.write(&block).unwrap();
        // As it is taken up again.
        let state = wide.save().unwrap().unwrap();
        let mut again = ScoreFile::new(&path, DType::F64);
        again.begin(&header).unwrap();
        drop(wide);
        assert!(again.restore(&state).unwrap());
        again.finish().unwrap();
        let found: Array2<f64> = read_npy(&path).unwrap();
        assert_eq!(found, scores);
    }
}
