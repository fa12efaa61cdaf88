//! Where scores go: block by block, in any number of places at once.

use super::Provenance;
use crate::Result;
use ndarray::ArrayView2;
use std::ops::Range;

/// The sign of every score.
pub const SIGN: &str =
    "positive = helpful: leaving the training image out is predicted to raise the query's loss";
/// How score blocks and score files lie.
pub const ORIENTATION: &str = "[query, train]";

/// What the scores of a run are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreHeader {
    /// Ids of the queries, row by row.
    pub queries: Vec<usize>,
    /// Ids of the training images, column by column.
    pub training: Vec<usize>,
    /// What they were computed from, and their unit.
    pub provenance: Provenance,
}

/// A rectangle of scores, in nats, positive = helpful.
#[derive(Debug)]
pub struct ScoreBlock<'a> {
    /// Rows: positions in [`ScoreHeader::queries`].
    pub queries: Range<usize>,
    /// Columns: positions in [`ScoreHeader::training`].
    pub training: Range<usize>,
    /// `[queries.len(), training.len()]`, all finite.
    pub scores: ArrayView2<'a, f64>,
}

/// Takes scores block by block.
pub trait ScoreSink {
    /// Called once, before the first block.
    ///
    /// # Errors
    /// The sink cannot be opened.
    fn begin(&mut self, header: &ScoreHeader) -> Result<()>;

    /// Called for every block; blocks do not overlap and together cover everything.
    ///
    /// # Errors
    /// The block cannot be stored.
    fn write(&mut self, block: &ScoreBlock) -> Result<()>;

    /// Called once, after the last block.
    ///
    /// # Errors
    /// What was stored cannot be completed.
    fn finish(&mut self) -> Result<()>;
}
