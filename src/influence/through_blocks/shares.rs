//! `shares.parquet`: how much of each ranked score comes through the head and through each block.
//!
//! A score is ⟨∇ℓ_i, x⟩/n, a sum over parameters; the share of a segment is the sum over its own. Shares add up to the score
//! and may have either sign. A prediction that rests on an image through the head uses features that were there before; through
//! the blocks, features that were learned again.

use super::scoring::PairScores;
use crate::Result;
use crate::artefact::Columns;
use crate::influence::{Images, Provenance, QueryRanking, SinkState, table};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Shares of the ranked images, by positions of query and image.
pub struct SegmentShares {
    names: Vec<String>,
    shares: BTreeMap<(usize, usize), Vec<f64>>,
}

impl SegmentShares {
    /// Of the segments with these names, the first one first, the head last.
    pub(super) fn new(names: Vec<String>) -> Self {
        Self {
            names,
            shares: BTreeMap::new(),
        }
    }

    /// The segments' names, the first one first, the head last.
    pub fn names(&self) -> &[String] {
        &self.names
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

    pub(super) fn clear(&mut self) {
        self.shares.clear();
    }

    /// What another process needs to go on.
    pub(super) fn save(&self) -> SinkState {
        let places = self.shares.keys();
        SinkState {
            integers: (places.flat_map(|&(query, image)| [query as u64, image as u64])).collect(),
            numbers: self.shares.values().flatten().copied().collect(),
        }
    }

    /// Takes up what [`save`](Self::save) gave, for so many queries and images; `false` where it does not fit.
    pub(super) fn restore(&mut self, state: &SinkState, [queries, images]: [usize; 2]) -> bool {
        let mut reader = state.reader();
        self.clear();
        while !reader.is_at_end() {
            let place = reader.position(queries).zip(reader.position(images));
            let shares = self.names.iter().map(|_| reader.number()).collect();
            let Some((place, shares)) = place.zip(shares) else {
                return false;
            };
            self.shares.insert(place, shares);
        }
        true
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
    let mut columns = Columns::of(rows.iter())
        .integers("query", |row| row.0 as i64)
        .narrow_integers("rank", |row| row.1)
        .integers("train", |row| row.2 as i64);
    for (index, name) in shares.names().iter().enumerate() {
        columns = columns.optional_numbers(name, |&(query, _, train)| {
            let found = shares.shares.get(&(queries[&query], images[&train]));
            found.map(|shares| shares[index])
        });
    }
    table::write(path, provenance, columns.done())
}

/// From a file of [`write_shares`] the sum of each segment's shares in the helpful ranked scores, in nats, by name.
///
/// # Errors
/// The file cannot be read or is no such table.
pub fn read_helpful_shares(path: &Path) -> Result<Vec<(String, f64)>> {
    let batch = table::read(path)?;
    let ranks = table::ranks(path, &batch, "rank")?;
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let names = names.filter(|name| !["query", "rank", "train"].contains(name));
    let columns = names
        .map(|name| Ok((name, table::numbers(path, &batch, name)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut sums = vec![0.0; columns.len()];
    for row in 0..batch.num_rows() {
        let shares: Vec<f64> = columns
            .iter()
            .map(|(_, shares)| shares.value(row))
            .collect();
        if ranks.value(row) > 0 && shares.iter().sum::<f64>() > 0.0 {
            (sums.iter_mut().zip(shares)).for_each(|(sum, share)| *sum += share);
        }
    }
    let names = columns.iter().map(|(name, _)| (*name).to_owned());
    Ok(names.zip(sums).collect())
}
