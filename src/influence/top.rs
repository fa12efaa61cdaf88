//! The most helpful and most harmful training images of every query, without the full matrix.

use super::{ScoreBlock, ScoreHeader, ScoreSink};
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

    fn finish(&mut self) -> Result<()> {
        let (top, bottom, ids) = (self.top, self.bottom, &self.training);
        self.queries.par_iter_mut().for_each(|extremes| {
            extremes.highest.settle(top, ids);
            extremes.lowest.settle(bottom, ids);
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
        if self.held.len() >= 4 * keep {
            self.held
                .select_nth_unstable_by(keep - 1, |a, b| order(a, b, ids));
            self.held.truncate(keep);
            self.threshold = Some(self.held[keep - 1].0);
        }
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
        // Few distinct values, so that most are ties; zeros of both signs among them.
        let scores = Array2::from_shape_fn((queries, training), |(q, t)| {
            (((q * 31 + t * 17) % 7) as f64 - 3.0) * -0.5
        });
        let ids: Vec<usize> = (0..training).map(|t| (t * 40 + 11) % 97).collect();
        for (top, bottom, block) in [(10, 4, 97), (1, 1, 1), (20, 97, 13), (200, 0, 50)] {
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
}
