//! Influence on groups of queries, from the scores of the queries themselves.
//!
//! score(Q, i) = (1/|Q|) Σ_{q ∈ Q} score(q, i), in nats, positive = helpful: where every query is solved for anyway, as it is
//! through the blocks, the mean of a group's scores costs no solve, and is what its own solve would give
//! ([`query_groups`](super::query_groups)).
//!
//! Scores are added in f64 query by query, in their order, so that sums do not depend on blocks.

use super::group_scores::MOST_SUMS;
use super::{GroupRanking, Groups, ScoreBlock, ScoreHeader, ScoreSink, SinkState, TopRanks};
use crate::{Error, Result};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, Axis, s};

/// Adds the scores of each group's queries up, training image by training image.
#[derive(Debug, Clone)]
pub struct QueryGroupScores {
    groups: Groups,
    header: ScoreHeader,
    /// `[group, train]`
    sums: Array2<f64>,
}

impl QueryGroupScores {
    /// A sink for the scores of `groups`, whose members are positions in [`ScoreHeader::queries`].
    pub fn new(groups: Groups) -> Self {
        Self {
            groups,
            header: ScoreHeader::default(),
            sums: Array2::default((0, 0)),
        }
    }

    /// The groups.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The `top` most helpful and the `bottom` most harmful training images of each group.
    ///
    /// # Errors
    /// None that scores which were written could lead to.
    pub fn rankings(&self, (top, bottom): (usize, usize)) -> Result<Vec<GroupRanking>> {
        let mut ranks = TopRanks::new(top, bottom);
        ranks.begin(&ScoreHeader {
            queries: (0..self.groups.count()).collect(),
            ..self.header.clone()
        })?;
        let mut means = self.sums.clone();
        for ((_, members), mut row) in self.groups.iter().zip(means.rows_mut()) {
            row /= members.len() as f64;
        }
        ranks.write(&ScoreBlock {
            queries: 0..means.nrows(),
            training: 0..means.ncols(),
            scores: means.view(),
        })?;
        ranks.finish()?;
        Ok(GroupRanking::each(&self.groups, &ranks))
    }
}

impl ScoreSink for QueryGroupScores {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        let (images, groups) = (header.training.len(), self.groups.count());
        if images.saturating_mul(groups) > MOST_SUMS {
            let most = MOST_SUMS / images.max(1);
            let reason = format!(
                "makes {groups} groups, too many for {images} training images; give at most {most}"
            );
            return Err(Error::config("query-groups", reason));
        }
        self.header = header.clone();
        self.sums = Array2::zeros((groups, images));
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        let columns = s![.., block.training.clone()];
        let sums = self.sums.slice_mut(columns).into_axis_iter_mut(Axis(0));
        let groups: Vec<&[usize]> = self.groups.iter().map(|(_, members)| members).collect();
        let first = block.queries.start;
        (sums.into_par_iter().zip(groups)).for_each(|(mut sums, members)| {
            let within = members.iter().filter(|at| block.queries.contains(at));
            within.for_each(|at| sums += &block.scores.row(at - first));
        });
        Ok(())
    }

    fn save(&mut self) -> Result<Option<SinkState>> {
        Ok(Some(SinkState::of_array(&self.sums)))
    }

    fn restore(&mut self, state: &SinkState) -> Result<bool> {
        Ok(state.restore_array(&mut self.sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERIES: usize = 7;
    const TRAINING: usize = 5;

    fn header() -> ScoreHeader {
        ScoreHeader {
            queries: (0..QUERIES).map(|at| at * 2).collect(),
            training: (10..10 + TRAINING).collect(),
            ..ScoreHeader::default()
        }
    }

    fn scores() -> Array2<f64> {
        Array2::from_shape_fn((QUERIES, TRAINING), |(query, train)| {
            ((query * 13 + train * 7) % 11) as f64 * 0.1 - 0.45
        })
    }

    fn begun() -> QueryGroupScores {
        let labels: Vec<usize> = (0..QUERIES).map(|at| usize::from(at % 3 == 0)).collect();
        let mut sink = QueryGroupScores::new(Groups::by_class(&labels, &[]));
        sink.begin(&header()).unwrap();
        sink
    }

    fn write(sink: &mut QueryGroupScores, from: usize, (rows, columns): (usize, usize)) {
        let scores = scores();
        for start in (from..QUERIES).step_by(rows) {
            for first in (0..TRAINING).step_by(columns) {
                let queries = start..QUERIES.min(start + rows);
                let training = first..TRAINING.min(first + columns);
                let scores = scores.slice(s![queries.clone(), training.clone()]);
                sink.write(&ScoreBlock {
                    queries,
                    training,
                    scores,
                })
                .unwrap();
            }
        }
    }

    #[test]
    fn means_are_those_of_the_members_to_the_bit_for_any_blocks() {
        let scores = scores();
        let members = [vec![1, 2, 4, 5], vec![0, 3, 6]];
        let means = members.each_ref().map(|members| {
            let of = |train: usize| {
                let sum = members
                    .iter()
                    .fold(0.0, |sum, &at| sum + scores[[at, train]]);
                sum / members.len() as f64
            };
            (0..TRAINING).map(of).collect::<Vec<f64>>()
        });
        for blocks in [(1, 1), (QUERIES, TRAINING), (3, 2), (2, 4)] {
            let mut sink = begun();
            write(&mut sink, 0, blocks);
            let rankings = sink.rankings((TRAINING, 2)).unwrap();
            for ((ranking, means), members) in rankings.iter().zip(&means).zip(&members) {
                assert_eq!(ranking.query_count, members.len());
                let mut order: Vec<usize> = (0..TRAINING).collect();
                order.sort_by(|&a, &b| means[b].total_cmp(&means[a]));
                let ranked = |at: &usize| (*at, means[*at]);
                let expected: Vec<(usize, f64)> = order.iter().map(ranked).collect();
                assert_eq!(ranking.helpful, expected, "{blocks:?}");
                let lowest: Vec<(usize, f64)> = order.iter().rev().take(2).map(ranked).collect();
                assert_eq!(ranking.harmful, lowest);
            }
        }
    }

    #[test]
    fn goes_on_from_its_state_and_refuses_that_of_others() {
        let mut whole = begun();
        write(&mut whole, 0, (2, TRAINING));
        let mut first = begun();
        write(&mut first, 4, (3, 2));
        let mut second = begun();
        let state = first.save().unwrap().unwrap();
        assert!(second.restore(&state).unwrap());
        assert_eq!(second.sums, first.sums);
        let other = SinkState {
            numbers: vec![0.0; 3],
            ..SinkState::default()
        };
        assert!(!second.restore(&other).unwrap());
    }

    #[test]
    fn more_groups_than_memory_is_to_take_are_refused() {
        let mut sink = QueryGroupScores::new(Groups::by_class(&[0, 1, 2, 3], &[]));
        let header = ScoreHeader {
            training: (0..MOST_SUMS / 2).collect(),
            ..header()
        };
        let refusal = sink.begin(&header).unwrap_err().to_string();
        assert!(
            refusal.starts_with("--query-groups: makes 4 groups, too many"),
            "{refusal}"
        );
    }
}
