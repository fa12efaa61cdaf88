//! Where scores go: block by block, in any number of places at once.

use super::scores::not_finite;
use super::{Chosen, Kept, Provenance};
use crate::Result;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, ArrayView2, Axis};
use std::ops::Range;

/// The sign of every score.
pub const SIGN: &str =
    "positive = helpful: leaving the training image out is predicted to raise the query's loss";
/// How score blocks and score files lie.
pub const ORIENTATION: &str = "[query, train]";

/// What the scores of a run are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

impl<'a> ScoreBlock<'a> {
    /// A block of scores that are all finite; queries are called by their position.
    ///
    /// # Errors
    /// One that is not, by its query's name and its training image's id.
    pub(super) fn of_finite(
        (header, name): (&ScoreHeader, &dyn Fn(usize) -> String),
        queries: Range<usize>,
        training: Range<usize>,
        scores: ArrayView2<'a, f64>,
    ) -> Result<Self> {
        let bad = (scores.axis_iter(Axis(0)).into_par_iter().enumerate()).find_map_first(
            |(row, scores)| {
                let column = scores.iter().position(|score| !score.is_finite())?;
                Some((row, column))
            },
        );
        if let Some((row, column)) = bad {
            let query = name(queries.start + row);
            let train = header.training[training.start + column];
            return Err(not_finite(format!("{query}, training image {train}")));
        }
        Ok(Self {
            queries,
            training,
            scores,
        })
    }
}

/// The extremes of each query in a rectangle of scores.
#[derive(Debug)]
pub struct ExtremeBlock {
    /// Rows: positions in [`ScoreHeader::queries`].
    pub queries: Range<usize>,
    /// Columns: positions in [`ScoreHeader::training`].
    pub training: Range<usize>,
    /// The highest scores; of equal ones those of the first columns.
    pub highest: Chosen,
    /// The lowest.
    pub lowest: Chosen,
    /// Where [`Kept::own`] is wanted, the scores at the positions that are both in `queries` and in `training`.
    pub own: Vec<f64>,
}

/// What a sink needs to go on in another process; what the numbers mean is its own matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SinkState {
    /// Lengths, positions and the like.
    pub integers: Vec<u64>,
    /// Scores and the like.
    pub numbers: Vec<f64>,
}

impl SinkState {
    /// Nothing but the numbers of `array`.
    pub(super) fn of_array(array: &Array2<f64>) -> Self {
        Self {
            integers: Vec::new(),
            numbers: array.iter().copied().collect(),
        }
    }

    /// Puts [`of_array`](Self::of_array)'s numbers into an array of that shape; `false`, and an empty array, where they are not such.
    pub(super) fn restore_array(&self, array: &mut Array2<f64>) -> bool {
        let restored = Array2::from_shape_vec(array.dim(), self.numbers.clone());
        let restored = restored.ok().filter(|_| self.integers.is_empty());
        let fits = restored.is_some();
        *array = restored.unwrap_or_default();
        fits
    }

    /// Reads from the start.
    pub(super) fn reader(&self) -> StateReader<'_> {
        StateReader {
            integers: self.integers.iter(),
            numbers: self.numbers.iter(),
        }
    }
}

/// Takes a state's numbers one by one; `None` where there are no more.
pub(super) struct StateReader<'a> {
    integers: std::slice::Iter<'a, u64>,
    numbers: std::slice::Iter<'a, f64>,
}

impl StateReader<'_> {
    pub(super) fn integer(&mut self) -> Option<u64> {
        self.integers.next().copied()
    }

    /// An integer below `bound`.
    pub(super) fn position(&mut self, bound: usize) -> Option<usize> {
        let position = usize::try_from(self.integer()?).ok()?;
        (position < bound).then_some(position)
    }

    pub(super) fn number(&mut self) -> Option<f64> {
        self.numbers.next().copied()
    }

    /// Whether everything was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.integers.len() == 0 && self.numbers.len() == 0
    }
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

    /// The state after the blocks so far; what of it lies in files outlives the process from here on. `None`: this sink cannot
    /// go on elsewhere.
    ///
    /// # Errors
    /// A file cannot be kept.
    fn save(&mut self) -> Result<Option<SinkState>> {
        Ok(None)
    }

    /// Called after [`begin`](Self::begin), which it may undo: takes up what [`save`](Self::save) gave under the same header.
    /// Where that does not fit `false` comes back, and the sink is to begin anew.
    ///
    /// # Errors
    /// A file cannot be read.
    fn restore(&mut self, _state: &SinkState) -> Result<bool> {
        Ok(false)
    }

    /// This sink as one that is content with the extremes of each query; `None` where it needs every score.
    fn as_extremes(&mut self) -> Option<&mut dyn ExtremeSink> {
        None
    }

    /// Called once, after the last block.
    ///
    /// # Errors
    /// What was stored cannot be completed.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A sink that is content with the extremes of each query in each block, all scores of which are finite.
pub trait ExtremeSink {
    /// How many of them.
    fn kept(&self) -> Kept;

    /// Called in the place of [`ScoreSink::write`]; the block has at least as many as are kept.
    ///
    /// # Errors
    /// The block cannot be stored.
    fn write_extremes(&mut self, block: &ExtremeBlock) -> Result<()>;
}
