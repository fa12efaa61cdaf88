//! The most helpful and most harmful training images of every query, without the full matrix.

use super::sink::StateReader;
use super::{ExtremeBlock, ExtremeSink, Kept, ScoreBlock, ScoreHeader, ScoreSink, SinkState};
use crate::Result;
use ndarray::Axis;
use ndarray::parallel::prelude::*;
use std::cmp::Ordering;

/// Keeps, for every query, the `top` highest and the `bottom` lowest scores. Equal scores: the smaller training id first.
pub struct TopRanks {
    top: usize,
    bottom: usize,
    training: Vec<usize>,
    queries: Vec<Extremes>,
}

/// The extremes of one query, `(score, position)` with positions in [`ScoreHeader::training`].
#[derive(Debug, Clone, Default)]
struct Extremes {
    highest: Leaders,
    lowest: Leaders,
}

/// The `(key, position)` pairs with the largest keys so far, not yet in order.
#[derive(Debug, Clone, Default)]
struct Leaders {
    held: Vec<(f64, usize)>,
    /// Keys below this cannot be among the leaders any more.
    threshold: Option<f64>,
}

impl TopRanks {
    /// A sink for `top` helpful and `bottom` harmful images a query; fewer where there are fewer training images.
    pub fn new(top: usize, bottom: usize) -> Self {
        Self {
            top,
            bottom,
            training: Vec::new(),
            queries: Vec::new(),
        }
    }

    /// For the query at `position`: the highest scores, highest first, as (position of the training image, score).
    pub fn helpful(&self, position: usize) -> Vec<(usize, f64)> {
        self.queries[position]
            .highest
            .held
            .iter()
            .map(|&(key, column)| (column, key))
            .collect()
    }

    /// For the query at `position`: the lowest scores, lowest first, as (position of the training image, score).
    pub fn harmful(&self, position: usize) -> Vec<(usize, f64)> {
        self.queries[position]
            .lowest
            .held
            .iter()
            .map(|&(key, column)| (column, -key))
            .collect()
    }
}

impl ScoreSink for TopRanks {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        self.training = header.training.clone();
        self.queries = vec![Extremes::default(); header.queries.len()];
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        let (top, bottom, ids, first) =
            (self.top, self.bottom, &self.training, block.training.start);
        let rows = block.scores.axis_iter(Axis(0)).into_par_iter();
        self.queries[block.queries.clone()]
            .par_iter_mut()
            .zip(rows)
            .for_each(|(extremes, row)| {
                for (column, &score) in row.iter().enumerate() {
                    extremes.highest.offer(score, first + column, top, ids);
                    extremes.lowest.offer(-score, first + column, bottom, ids);
                }
            });
        Ok(())
    }

    fn save(&mut self) -> Result<Option<SinkState>> {
        let mut state = SinkState::default();
        for extremes in &mut self.queries {
            extremes.highest.prune(self.top, &self.training);
            extremes.lowest.prune(self.bottom, &self.training);
            for leaders in [&extremes.highest, &extremes.lowest] {
                state.integers.push(leaders.held.len() as u64);
                for &(key, position) in &leaders.held {
                    state.integers.push(position as u64);
                    state.numbers.push(key);
                }
            }
        }
        Ok(Some(state))
    }

    fn restore(&mut self, state: &SinkState) -> Result<bool> {
        let (top, bottom, count) = (self.top, self.bottom, self.training.len());
        let mut reader = state.reader();
        let queries = self.queries.iter().map(|_| {
            Some(Extremes {
                highest: Leaders::read(&mut reader, top, count)?,
                lowest: Leaders::read(&mut reader, bottom, count)?,
            })
        });
        let queries: Option<Vec<Extremes>> = queries.collect();
        let fits = queries.is_some() && reader.is_at_end();
        self.queries = queries.unwrap_or_default();
        Ok(fits)
    }

    fn as_extremes(&mut self) -> Option<&mut dyn ExtremeSink> {
        Some(self)
    }

    fn finish(&mut self) -> Result<()> {
        let (top, bottom, ids) = (self.top, self.bottom, &self.training);
        self.queries.par_iter_mut().for_each(|extremes| {
            extremes.highest.settle(top, ids);
            extremes.lowest.settle(bottom, ids);
        });
        Ok(())
    }
}

impl ExtremeSink for TopRanks {
    fn kept(&self) -> Kept {
        Kept {
            top: self.top,
            bottom: self.bottom,
            own: false,
        }
    }

    fn write_extremes(&mut self, block: &ExtremeBlock) -> Result<()> {
        let (top, bottom, ids, first) =
            (self.top, self.bottom, &self.training, block.training.start);
        let queries = self.queries[block.queries.clone()].par_iter_mut();
        queries.enumerate().for_each(|(row, extremes)| {
            for (column, score) in block.highest.row(row) {
                extremes.highest.offer(score, first + column, top, ids);
            }
            for (column, score) in block.lowest.row(row) {
                extremes.lowest.offer(-score, first + column, bottom, ids);
            }
        });
        Ok(())
    }
}

impl Leaders {
    fn offer(&mut self, key: f64, position: usize, keep: usize, ids: &[usize]) {
        if keep == 0 || self.threshold.is_some_and(|threshold| key < threshold) {
            return;
        }
        // Adding zero turns −0 into 0, which would otherwise sort below it.
        self.held.push((key + 0.0, position));
        if self.held.len() >= keep.saturating_mul(4) {
            self.prune(keep, ids);
        }
    }

    /// Drops all that are not among the first `keep`.
    fn prune(&mut self, keep: usize, ids: &[usize]) {
        if keep > 0 && self.held.len() > keep {
            self.held
                .select_nth_unstable_by(keep - 1, |a, b| order(a, b, ids));
            self.held.truncate(keep);
            self.threshold = Some(self.held[keep - 1].0);
        }
    }

    /// At most `keep` pairs with positions below `count`.
    fn read(reader: &mut StateReader, keep: usize, count: usize) -> Option<Self> {
        let length = reader.position(keep + 1)?;
        let pairs = (0..length).map(|_| Some((reader.number()?, reader.position(count)?)));
        let held: Vec<(f64, usize)> = pairs.collect::<Option<_>>()?;
        let lowest = held.iter().map(|pair| pair.0).reduce(f64::min);
        Some(Self {
            threshold: lowest.filter(|_| length == keep),
            held,
        })
    }

    fn settle(&mut self, keep: usize, ids: &[usize]) {
        self.held.sort_unstable_by(|a, b| order(a, b, ids));
        self.held.truncate(keep);
    }
}

/// Larger keys first, then smaller ids.
fn order(a: &(f64, usize), b: &(f64, usize), ids: &[usize]) -> Ordering {
    b.0.total_cmp(&a.0).then_with(|| ids[a.1].cmp(&ids[b.1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn equals_a_full_sort_for_any_blocks_with_ties_by_id() {
        let (queries, training) = (5, 97);
        // Few distinct values, so that most are ties; in each row zeros of both signs among them, about as many of each.
        let scores = Array2::from_shape_fn((queries, training), |(q, t)| {
            let sign = if t % 2 == 0 { -0.5 } else { 0.5 };
            (((q * 31 + t * 17) % 7) as f64 - 3.0) * sign
        });
        let ids: Vec<usize> = (0..training).map(|t| (t * 40 + 11) % 97).collect();
        // Of the sizes one ends among the zeros from either side.
        let sizes = [
            (10, 4, 97),
            (1, 1, 1),
            (20, 97, 13),
            (48, 48, 13),
            (200, 0, 50),
        ];
        for (top, bottom, block) in sizes {
            let mut sink = TopRanks::new(top, bottom);
            sink.begin(&ScoreHeader {
                queries: (0..queries).collect(),
                training: ids.clone(),
                provenance: Default::default(),
            })
            .unwrap();
            for start in (0..training).step_by(block) {
                let range = start..training.min(start + block);
                let part = scores.slice(ndarray::s![.., range.clone()]);
                sink.write(&ScoreBlock {
                    queries: 0..queries,
                    training: range,
                    scores: part,
                })
                .unwrap();
            }
            sink.finish().unwrap();
            for query in 0..queries {
                let mut all: Vec<(usize, f64)> =
                    scores.row(query).iter().copied().enumerate().collect();
                all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(ids[a.0].cmp(&ids[b.0])));
                assert_eq!(sink.helpful(query), all[..top.min(training)]);
                all.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then(ids[a.0].cmp(&ids[b.0])));
                assert_eq!(sink.harmful(query), all[..bottom.min(training)]);
            }
        }
    }

    #[test]
    fn a_saved_state_goes_on_to_the_same_ranks_and_no_other_fits() {
        let (queries, training) = (4, 60);
        let scores = Array2::from_shape_fn((queries, training), |(q, t)| {
            ((q * 31 + t * 17) % 13) as f64 - 6.0
        });
        let header = ScoreHeader {
            queries: (0..queries).collect(),
            training: (0..training).rev().collect(),
            provenance: Default::default(),
        };
        let begun = || {
            let mut sink = TopRanks::new(7, 3);
            sink.begin(&header).unwrap();
            sink
        };
        let write = |sink: &mut TopRanks, columns: std::ops::Range<usize>| {
            let scores = scores.slice(ndarray::s![.., columns.clone()]);
            sink.write(&ScoreBlock {
                queries: 0..queries,
                training: columns,
                scores,
            })
            .unwrap();
        };
        let mut whole = begun();
        write(&mut whole, 0..training);
        whole.finish().unwrap();
        for cut in [1, 8, 30, 59] {
            let mut first = begun();
            write(&mut first, 0..cut);
            let state = first.save().unwrap().unwrap();
            let mut second = begun();
            assert!(second.restore(&state).unwrap());
            write(&mut second, cut..training);
            second.finish().unwrap();
            for query in 0..queries {
                assert_eq!(second.helpful(query), whole.helpful(query));
                assert_eq!(second.harmful(query), whole.harmful(query));
            }
            let (mut short, mut beyond) = (state.clone(), state);
            short.numbers.pop();
            beyond.integers[1] = training as u64;
            assert!(!begun().restore(&short).unwrap() && !begun().restore(&beyond).unwrap());
        }
    }
}
