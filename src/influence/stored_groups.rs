//! What a run left of the scores of groups of training images, taken up again.

use super::table;
use crate::{Error, Result};
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// `train_groups.parquet` and `train_group_rankings.parquet` of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredGroups {
    /// In the order of their names.
    pub groups: Vec<StoredGroup>,
    /// By the query's id: places in [`StoredGroups::groups`] with scores in nats, as ranked, the most helpful first; then the
    /// most harmful, where these were kept.
    pub by_query: BTreeMap<usize, Vec<(usize, f64)>>,
}

/// One group of training images.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredGroup {
    /// Its name.
    pub name: String,
    /// Its images.
    pub images: usize,
    /// The rise of the queries' mean loss in nats that is predicted without it.
    pub score: f64,
}

impl StoredGroups {
    /// Of the run in `folder`; none where it scored no groups.
    ///
    /// # Errors
    /// A file that cannot be read, is not such a table, or names a group that the other does not.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("train_groups.parquet");
        if !path.exists() {
            return Ok(Self::default());
        }
        let groups = read_groups(&path)?;
        let by_query = read_rankings(&folder.join("train_group_rankings.parquet"), &groups)?;
        Ok(Self { groups, by_query })
    }
}

fn read_groups(path: &Path) -> Result<Vec<StoredGroup>> {
    let batch = table::read(path)?;
    let (names, images) = (
        words(path, &batch, "group")?,
        table::ids(path, &batch, "images")?,
    );
    let (asked, scores) = (
        words(path, &batch, "query_group")?,
        table::numbers(path, &batch, "score")?,
    );
    let of_all = (0..batch.num_rows()).filter(|&row| asked.is_null(row));
    Ok(of_all
        .map(|row| StoredGroup {
            name: names.value(row).to_owned(),
            images: images.value(row) as usize,
            score: scores.value(row),
        })
        .collect())
}

fn read_rankings(
    path: &Path,
    groups: &[StoredGroup],
) -> Result<BTreeMap<usize, Vec<(usize, f64)>>> {
    let batch = table::read(path)?;
    let (queries, names) = (
        table::ids(path, &batch, "query")?,
        words(path, &batch, "group")?,
    );
    let scores = table::numbers(path, &batch, "score")?;
    let named = groups
        .iter()
        .zip(0..)
        .map(|(group, place)| (group.name.as_str(), place));
    let places: HashMap<&str, usize> = named.collect();
    let mut by_query = BTreeMap::<usize, Vec<(usize, f64)>>::new();
    for row in 0..batch.num_rows() {
        let name = names.value(row);
        let place = places.get(name).copied();
        let place = place.ok_or_else(|| unknown(path, name))?;
        let ranked = by_query.entry(queries.value(row) as usize).or_default();
        // A group may be at both ends where as many are kept as there are.
        if ranked.iter().all(|&(known, _)| known != place) {
            ranked.push((place, scores.value(row)));
        }
    }
    Ok(by_query)
}

fn unknown(path: &Path, name: &str) -> Error {
    table::damaged(
        path,
        format!("a group {name} that train_groups.parquet has not"),
    )
}

fn words<'a>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray> {
    let column = table::column(path, batch, name)?.as_string_opt::<i32>();
    column.ok_or_else(|| table::damaged(path, format!("a column {name} of another type")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::influence::{
        GroupScores, Groups, Images, Provenance, ScoreBlock, ScoreHeader, ScoreSink,
        write_group_scores,
    };
    use ndarray::array;

    /// Two groups, three queries.
    fn left_in(folder: &Path, kept: (usize, usize)) {
        let groups = Groups::by_class(&[0, 1, 0], &["a".into(), "b".into()]);
        let mut scores = GroupScores::new(groups);
        let header = ScoreHeader {
            queries: vec![4, 7, 9],
            training: vec![0, 1, 2],
            provenance: Provenance::default(),
        };
        scores.begin(&header).unwrap();
        let values = array![[1.0, 0.5, 1.0], [-1.0, 2.0, 0.0], [0.25, 0.5, 0.25]];
        let block = ScoreBlock {
            queries: 0..3,
            training: 0..3,
            scores: values.view(),
        };
        scores.write(&block).unwrap();
        let images = Images {
            ids: &header.queries,
            labels: &[0, 1, 0],
            predictions: &[0, 1, 1],
        };
        let by_label = Groups::by_class(&[0, 1, 0], &[]);
        let queries = (images, Some(&by_label));
        write_group_scores(folder, &scores, queries, kept, &Provenance::default()).unwrap();
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            StoredGroups::read(folder.path()).unwrap(),
            StoredGroups::default()
        );
        left_in(folder.path(), (2, 2));
        let found = StoredGroups::read(folder.path()).unwrap();
        let group = |name: &str, images, score| StoredGroup {
            name: name.into(),
            images,
            score,
        };
        assert_eq!(found.groups, [group("a", 2, 0.5), group("b", 1, 1.0)]);
        assert_eq!(found.by_query[&4], [(0, 2.0), (1, 0.5)]);
        assert_eq!(found.by_query[&7], [(1, 2.0), (0, -1.0)]);
        // Equal ones by name.
        assert_eq!(found.by_query[&9], [(0, 0.5), (1, 0.5)]);
    }

    #[test]
    fn a_group_that_the_other_table_has_not_is_refused() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        left_in(folder.path(), (1, 1));
        let groups = Groups::by_class(&[0], &["c".into()]);
        let mut scores = GroupScores::new(groups);
        let header = ScoreHeader {
            queries: vec![4],
            training: vec![0],
            provenance: Provenance::default(),
        };
        scores.begin(&header).unwrap();
        let images = Images {
            ids: &[4],
            labels: &[0],
            predictions: &[0],
        };
        let queries = (images, None);
        write_group_scores(
            other.path(),
            &scores,
            queries,
            (1, 0),
            &Provenance::default(),
        )
        .unwrap();
        let name = "train_group_rankings.parquet";
        std::fs::copy(other.path().join(name), folder.path().join(name)).unwrap();
        let refusal = StoredGroups::read(folder.path()).unwrap_err().to_string();
        assert!(
            refusal.contains("a group c that train_groups.parquet has not; run ascribe rank again"),
            "{refusal}"
        );
    }
}
