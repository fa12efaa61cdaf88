//! Influence of groups of training images: what leaving a whole group out is predicted to do.
//!
//! score(q, G) = Σ_{i ∈ G} score(q, i) = (1/n) ∇m(q)ᵀ A⁻¹ Σ_{i ∈ G} ∇ℓ_i, in nats, positive = helpful, n staying as it is: the
//! first order of the rise of the query's loss without the group (Koh, Ang, Teo & Liang 2019). Of a group that is no
//! small part of the training images it says direction and order rather than size; `ascribe evaluate --leave-group-out` measures
//! both.
//!
//! Scores are added in f64 image by image, in the order of the training images, so that sums do not depend on blocks.

use super::rankings::from_both_ends;
use super::{Groups, Images, Provenance, ScoreBlock, ScoreHeader, ScoreSink, SinkState, table};
use crate::artefact::{Column, Columns};
use crate::descending::descending;
use crate::{Error, Result};
use ndarray::parallel::prelude::*;
use ndarray::{Array2, Axis};
use std::path::Path;

/// Most sums that are held: 512 MiB.
pub(super) const MOST_SUMS: usize = 1 << 26;
/// Queries whose rows are in memory at once while they are written.
const AT_ONCE: usize = 512;

/// Adds the scores of each group up, query by query.
#[derive(Debug, Clone)]
pub struct GroupScores {
    groups: Groups,
    /// The groups that each training image is in, by their places.
    of_image: Vec<Vec<usize>>,
    /// `[query, group]`
    sums: Array2<f64>,
}

impl GroupScores {
    /// A sink for the scores of `groups`, whose members are positions in [`ScoreHeader::training`].
    pub fn new(groups: Groups) -> Self {
        Self {
            groups,
            of_image: Vec::new(),
            sums: Array2::default((0, 0)),
        }
    }

    /// The groups.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// `[query, group]` in nats, groups in the order of their names.
    pub fn sums(&self) -> &Array2<f64> {
        &self.sums
    }

    /// Rank and place of the `top` most helpful and, from the other end, the `bottom` most harmful groups of a query; of equal ones
    /// the first by name comes first.
    fn ranked(&self, position: usize, (top, bottom): (usize, usize)) -> Vec<(i32, usize)> {
        let sums = self.sums.row(position);
        let mut helpful = descending(&sums.to_vec());
        let mut harmful = descending(&sums.mapv(|sum| -sum).to_vec());
        helpful.truncate(top);
        harmful.truncate(bottom);
        from_both_ends(helpful, harmful).collect()
    }

    /// The mean over all queries, group by group.
    pub fn mean_of_all(&self) -> Vec<f64> {
        let all: Vec<usize> = (0..self.sums.nrows()).collect();
        self.mean(&all)
    }

    /// The mean of the scores of the queries at `positions`, group by group.
    pub fn mean(&self, positions: &[usize]) -> Vec<f64> {
        let mut mean = vec![0.0; self.groups.count()];
        for &position in positions {
            let sums = self.sums.row(position);
            mean.iter_mut()
                .zip(sums)
                .for_each(|(mean, sum)| *mean += sum);
        }
        let count = positions.len().max(1) as f64;
        mean.iter_mut().for_each(|mean| *mean /= count);
        mean
    }
}

impl ScoreSink for GroupScores {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        let (queries, groups) = (header.queries.len(), self.groups.count());
        if queries.saturating_mul(groups) > MOST_SUMS {
            let most = MOST_SUMS / queries.max(1);
            let reason = format!(
                "names {groups} groups, too many for {queries} queries; give at most {most}, or fewer --queries"
            );
            return Err(Error::config("train-groups", reason));
        }
        let mut of_image = vec![Vec::new(); header.training.len()];
        for (place, (_, members)) in self.groups.iter().enumerate() {
            members.iter().for_each(|&at| of_image[at].push(place));
        }
        self.of_image = of_image;
        self.sums = Array2::zeros((queries, groups));
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        let of_image = &self.of_image[block.training.clone()];
        let mut sums = self.sums.slice_mut(ndarray::s![block.queries.clone(), ..]);
        let rows = block.scores.axis_iter(Axis(0)).into_par_iter();
        (sums.axis_iter_mut(Axis(0)).into_par_iter().zip(rows)).for_each(|(mut sums, scores)| {
            for (score, places) in scores.iter().zip(of_image) {
                places.iter().for_each(|&place| sums[place] += score);
            }
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

/// Writes `train_group_rankings.parquet` (query, query_label, query_prediction, rank, group, images, score), as many ranks as `kept`
/// says from the helpful and the harmful end, and `train_groups.parquet` into `folder`.
///
/// # Errors
/// A file cannot be written.
pub fn write_group_scores(
    folder: &Path,
    scores: &GroupScores,
    (queries, query_groups): (Images, Option<&Groups>),
    kept: (usize, usize),
    provenance: &Provenance,
) -> Result<()> {
    let count = queries.ids.len();
    let part = |start: usize| {
        let positions = start..count.min(start + AT_ONCE);
        ranking_columns(scores, queries, positions, kept)
    };
    let others = (AT_ONCE..count).step_by(AT_ONCE).map(part);
    let path = folder.join("train_group_rankings.parquet");
    table::write_in_parts(&path, provenance, part(0), others)?;
    let all: Vec<usize> = (0..count).collect();
    let asked = std::iter::once((None, &*all));
    let named = query_groups.into_iter().flat_map(Groups::iter);
    let asked = asked.chain(named.map(|(name, at)| (Some(name), at)));
    let means = asked.map(|(name, at)| (name, at.len(), scores.mean(at)));
    write_means(folder, scores, &means.collect::<Vec<_>>(), provenance)
}

/// Writes `train_groups.parquet` into `folder` where every row of `scores` is that of a group of queries.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_scores_between_groups(
    folder: &Path,
    scores: &GroupScores,
    query_groups: &Groups,
    provenance: &Provenance,
) -> Result<()> {
    let groups = query_groups.iter().zip(scores.sums.rows());
    let means = groups.map(|((name, queries), sums)| (Some(name), queries.len(), sums.to_vec()));
    write_means(folder, scores, &means.collect::<Vec<_>>(), provenance)
}

/// Scores of all groups of training images for some queries together: their group, none of all, and how many they are.
type Mean<'a> = (Option<&'a str>, usize, Vec<f64>);

/// A row for each group and each of `means`: group, images, query_group, queries, score.
fn write_means(
    folder: &Path,
    scores: &GroupScores,
    means: &[Mean],
    provenance: &Provenance,
) -> Result<()> {
    let columns = mean_columns(scores, means);
    table::write(&folder.join("train_groups.parquet"), provenance, columns)
}

fn ranking_columns(
    scores: &GroupScores,
    queries: Images,
    positions: std::ops::Range<usize>,
    kept: (usize, usize),
) -> Vec<Column<'static>> {
    let rows: Vec<(usize, i32, usize)> = positions
        .flat_map(|query| {
            let ranked = scores.ranked(query, kept).into_iter();
            ranked.map(move |(rank, place)| (query, rank, place))
        })
        .collect();
    let groups: Vec<(&str, &[usize])> = scores.groups.iter().collect();
    Columns::of(rows.iter())
        .integers("query", |row| queries.ids[row.0] as i64)
        .narrow_integers("query_label", |row| queries.labels[row.0] as i32)
        .narrow_integers("query_prediction", |row| queries.predictions[row.0] as i32)
        .narrow_integers("rank", |row| row.1)
        .words("group", |row| groups[row.2].0)
        .integers("images", |row| groups[row.2].1.len() as i64)
        .numbers("score", |row| scores.sums[[row.0, row.2]])
        .done()
}

fn mean_columns(scores: &GroupScores, means: &[Mean]) -> Vec<Column<'static>> {
    let groups: Vec<(&str, &[usize])> = scores.groups.iter().collect();
    let rows = (0..groups.len()).flat_map(|place| means.iter().map(move |mean| (place, mean)));
    Columns::of(rows)
        .words("group", |(place, _)| groups[place].0)
        .integers("images", |(place, _)| groups[place].1.len() as i64)
        .optional_words("query_group", |(_, mean)| mean.0)
        .integers("queries", |(_, mean)| mean.1 as i64)
        .numbers("score", |(place, mean)| mean.2[place])
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::influence::Grouped;

    const QUERIES: usize = 4;
    const TRAINING: usize = 9;

    fn header() -> ScoreHeader {
        ScoreHeader {
            queries: (10..10 + QUERIES).collect(),
            training: (0..TRAINING).map(|at| at * 3).collect(),
            provenance: Provenance::default(),
        }
    }

    fn scores() -> Array2<f64> {
        Array2::from_shape_fn((QUERIES, TRAINING), |(query, train)| {
            ((query * 13 + train * 7) % 11) as f64 * 0.1 - 0.45
        })
    }

    /// Three classes; every third image is of the same one.
    fn groups() -> Groups {
        let labels: Vec<usize> = (0..TRAINING).map(|at| at % 3).collect();
        Groups::by_class(&labels, &["a".into(), "b".into()])
    }

    fn written(sink: &mut GroupScores, rows: usize, columns: usize, from: usize) {
        let scores = scores();
        for start in (from..QUERIES).step_by(rows) {
            for first in (0..TRAINING).step_by(columns) {
                let queries = start..QUERIES.min(start + rows);
                let training = first..TRAINING.min(first + columns);
                let part = scores.slice(ndarray::s![queries.clone(), training.clone()]);
                let block = ScoreBlock {
                    queries,
                    training,
                    scores: part,
                };
                sink.write(&block).unwrap();
            }
        }
    }

    fn begun() -> GroupScores {
        let mut sink = GroupScores::new(groups());
        sink.begin(&header()).unwrap();
        sink
    }

    #[test]
    fn sums_are_those_of_the_matrix_to_the_bit_for_any_blocks() {
        let scores = scores();
        let expected = Array2::from_shape_fn((QUERIES, 3), |(query, group)| {
            // By name: "2" comes before "a" and "b".
            let label = [2, 0, 1][group];
            let members = (0..TRAINING).filter(|at| at % 3 == label);
            members.fold(0.0, |sum, at| sum + scores[[query, at]])
        });
        for (rows, columns) in [(1, 1), (4, 9), (3, 2), (2, 5)] {
            let mut sink = begun();
            written(&mut sink, rows, columns, 0);
            assert_eq!(sink.sums(), expected, "{rows} {columns}");
        }
    }

    #[test]
    fn an_image_counts_in_every_group_that_it_is_in_and_in_none_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("groups.csv");
        std::fs::write(
            &path,
            "group,train\nboth,0\nboth,3\nfirst,0\nfirst,1\nnone,2\n",
        )
        .unwrap();
        let ids = header().training;
        let (groups, aside) = Groups::from_file(&path, Grouped::Training { of: 25 }, &ids).unwrap();
        assert_eq!((aside.rows, aside.groups), (2, 1));
        let mut sink = GroupScores::new(groups);
        sink.begin(&header()).unwrap();
        written(&mut sink, 4, 4, 0);
        let scores = scores();
        for query in 0..QUERIES {
            let (first, second) = (scores[[query, 0]], scores[[query, 1]]);
            assert_eq!(sink.sums()[[query, 0]], first + second);
            assert_eq!(sink.sums()[[query, 1]], first);
        }
        assert_eq!(sink.mean(&[2]), sink.sums().row(2).to_vec());
    }

    #[test]
    fn groups_are_ranked_from_both_ends_and_equal_ones_by_name() {
        let mut sink = begun();
        sink.sums = ndarray::array![[0.5, -1.0, 0.5], [0.0, 2.0, -3.0], [-3.0, 2.0, -3.0]];
        assert_eq!(sink.ranked(0, (3, 0)), [(1, 0), (2, 2), (3, 1)]);
        assert_eq!(sink.ranked(1, (1, 2)), [(1, 1), (-1, 2), (-2, 0)]);
        assert_eq!(sink.ranked(2, (1, 2)), [(1, 1), (-1, 0), (-2, 2)]);
        assert_eq!(sink.mean(&[0, 1]), [0.25, 0.5, -1.25]);
    }

    #[test]
    fn goes_on_from_its_state_and_refuses_that_of_others() {
        let mut whole = begun();
        written(&mut whole, 1, 4, 0);
        let mut first = begun();
        written(&mut first, 4, 9, 0);
        first.sums.slice_mut(ndarray::s![2.., ..]).fill(0.0);
        let state = first.save().unwrap().unwrap();
        let mut second = begun();
        assert!(second.restore(&state).unwrap());
        written(&mut second, 1, 3, 2);
        assert_eq!(second.sums(), whole.sums());
        let other = SinkState {
            numbers: vec![0.0; 5],
            ..SinkState::default()
        };
        assert!(!second.restore(&other).unwrap());
    }

    #[test]
    fn more_groups_than_memory_is_to_take_are_refused() {
        let labels: Vec<usize> = (0..MOST_SUMS / 2 + 1).collect();
        let mut sink = GroupScores::new(Groups::by_class(&labels[..4], &[]));
        let header = ScoreHeader {
            queries: labels,
            ..header()
        };
        let refusal = sink.begin(&header).unwrap_err().to_string();
        assert!(
            refusal.starts_with("--train-groups: names 4 groups, too many"),
            "{refusal}"
        );
    }
}
