//! `shares.parquet`: how much of each ranked score comes through the head and through each block.
//!
//! A score is ⟨∇ℓ_i, x⟩/n, a sum over parameters; the share of a segment is the sum over its own. Shares add up to the score
//! and may have either sign. A prediction that rests on an image through the head uses features that were there before; through
//! the blocks, features that were learned again.

use super::scoring::{PairScores, Segment};
use crate::Result;
use crate::influence::{Images, Provenance, QueryRanking, table};
use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Shares of the ranked images, by positions of query and image.
pub struct SegmentShares {
    segments: Vec<Segment>,
    shares: HashMap<(usize, usize), Vec<f64>>,
}

impl SegmentShares {
    pub(super) fn new(segments: Vec<Segment>) -> Self {
        Self {
            segments,
            shares: HashMap::new(),
        }
    }

    /// The segments' names, the first one first, the head last.
    pub fn names(&self) -> Vec<&str> {
        self.segments
            .iter()
            .map(|segment| &segment.name[..])
            .collect()
    }

    /// Takes those of the images ranked for a query, which is row `row` of `pairs`.
    pub(super) fn take(
        &mut self,
        query: usize,
        pairs: &PairScores,
        row: usize,
        ranked: impl Iterator<Item = usize>,
    ) {
        for image in ranked {
            self.shares.insert((query, image), pairs.shares(row, image));
        }
    }
}

/// Writes one row for each ranked image, in the order of `rankings`: query, rank, train, and a column for each segment, in
/// nats.
///
/// # Errors
/// The file cannot be written.
pub fn write_shares(
    path: &Path,
    rankings: &[QueryRanking],
    (train, test): (Images, Images),
    shares: &SegmentShares,
    provenance: &Provenance,
) -> Result<()> {
    let place = |ids: &[usize]| -> HashMap<usize, usize> {
        ids.iter().enumerate().map(|(at, &id)| (id, at)).collect()
    };
    let (images, queries) = (place(train.ids), place(test.ids));
    let rows: Vec<(usize, i32, usize)> = rankings
        .iter()
        .flat_map(|query| {
            query
                .rows()
                .map(|(rank, image)| (query.query, rank, image.train))
        })
        .collect();
    let ids = |of: fn(&(usize, i32, usize)) -> usize| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| of(row) as i64)
                .collect::<Int64Array>(),
        )
    };
    let ranks: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>());
    let mut columns = vec![
        ("query", ids(|row| row.0), false),
        ("rank", ranks, false),
        ("train", ids(|row| row.2), false),
    ];
    for (index, name) in shares.names().into_iter().enumerate() {
        let share = |&(query, _, train): &(usize, i32, usize)| {
            let found = shares.shares.get(&(queries[&query], images[&train]));
            found.map(|shares| shares[index])
        };
        let column: Float64Array = rows.iter().map(share).collect();
        columns.push((name, Arc::new(column), true));
    }
    table::write(path, provenance, columns)
}
