//! Influence on groups of queries: one solve a group.
//!
//! A score is linear in ∇m, so that the mean rise of a group's losses is the score of the mean of their gradients: what helps
//! or harms a class, or a kind of confusion, takes as many solves as there are groups.

use super::scores::{against, diverged_at, not_finite, ranges};
use super::{
    BlockSizes, Examples, Provenance, ScoreBlock, ScoreHeader, ScoreSink, TopRanks, table,
};
use crate::data::line_of;
use crate::operator::Vectors;
use crate::solve::{Inverse, Outcome, Report};
use crate::{Error, Result};
use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};
use candle_core::Tensor;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Named groups of queries, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryGroups {
    groups: BTreeMap<String, Vec<usize>>,
}

#[derive(serde::Deserialize)]
struct Row {
    query: usize,
    group: String,
}

/// One group's training images.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRanking {
    /// The group.
    pub name: String,
    /// Its queries.
    pub query_count: usize,
    /// Most helpful first: position among the training images, and the mean rise of the losses without it, in nats.
    pub helpful: Vec<(usize, f64)>,
    /// Most harmful first.
    pub harmful: Vec<(usize, f64)>,
}

impl QueryGroups {
    /// A group for each label.
    pub fn by_class(queries: &Examples, classes: &[String]) -> Self {
        let label = |position: usize| name(classes, queries.labels()[position]);
        Self::by(queries.count(), label)
    }

    /// A group for each pair of label and prediction, `label → prediction`.
    pub fn by_confusion(queries: &Examples, classes: &[String]) -> Self {
        let cell = |position: usize| {
            let label = name(classes, queries.labels()[position]);
            let prediction = name(classes, queries.outputs().predictions[position]);
            format!("{label} → {prediction}")
        };
        Self::by(queries.count(), cell)
    }

    /// Groups of the queries with these `ids` from a CSV file with the columns `query` (an id) and `group`.
    ///
    /// # Errors
    /// A file that cannot be read or is not such a table, or names a query that is none, or one twice in a group.
    pub fn from_file(path: &Path, ids: &[usize]) -> Result<Self> {
        let malformed = |place: String, found: String| {
            let remedy = "give a CSV file with the columns query,group";
            Error::format(path, place, "a query's id and its group", found, remedy)
        };
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let positions: BTreeMap<usize, usize> = ids.iter().copied().zip(0..).collect();
        let mut groups = BTreeMap::<String, BTreeSet<usize>>::new();
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let header = reader
            .headers()
            .map_err(|reason| malformed("columns".into(), reason.to_string()))?;
        let names: BTreeSet<&str> = header.iter().collect();
        if header.len() != 2 || names != BTreeSet::from(["query", "group"]) {
            let found = header.iter().collect::<Vec<_>>().join(",");
            return Err(malformed("columns".into(), found));
        }
        let header = header.clone();
        for row in reader.records() {
            let place = line_of(&row);
            let wrong = |found: String| malformed(place.clone(), found);
            let row = row.and_then(|row| row.deserialize(Some(&header)));
            let Row { query, group } = row.map_err(|reason| wrong(reason.to_string()))?;
            let position = positions.get(&query).copied();
            let position = position.ok_or_else(|| wrong(format!("{query}, which is no query")))?;
            if group.is_empty() {
                return Err(wrong(format!("query {query} without a group")));
            }
            let members = groups.entry(group).or_default();
            if !members.insert(position) {
                return Err(wrong(format!("query {query} once more")));
            }
        }
        if groups.is_empty() {
            return Err(malformed("table".into(), "no rows".into()));
        }
        let listed = |(name, members): (String, BTreeSet<usize>)| {
            let members = members.into_iter().collect();
            (name, members)
        };
        Ok(Self {
            groups: groups.into_iter().map(listed).collect(),
        })
    }

    fn by(count: usize, group: impl Fn(usize) -> String) -> Self {
        let mut groups = BTreeMap::<String, Vec<usize>>::new();
        for position in 0..count {
            groups.entry(group(position)).or_default().push(position);
        }
        Self { groups }
    }

    /// Ranks all training images for every group, `blocks.solved` groups at a time; how each group's solve ended comes back too.
    ///
    /// # Errors
    /// A solve diverged, a score is not finite, or a tensor operation failed.
    pub fn rank(
        &self,
        inverse: &dyn Inverse,
        training: &Examples,
        queries: &Examples,
        (top, bottom): (usize, usize),
        blocks: BlockSizes,
    ) -> Result<(Vec<GroupRanking>, Vec<Report>)> {
        let groups: Vec<(&String, &Vec<usize>)> = self.groups.iter().collect();
        let mut ranks = TopRanks::new(top, bottom);
        ranks.begin(&ScoreHeader {
            queries: (0..groups.len()).collect(),
            training: training.ids().to_vec(),
            provenance: Provenance::default(),
        })?;
        let mut reports = Vec::with_capacity(groups.len());
        for rows in ranges(groups.len(), blocks.solved) {
            let members = &groups[rows.clone()];
            let gradients = members.iter().map(|(_, at)| queries.mean_gradient(at));
            let gradients = gradients.collect::<Result<Vec<_>>>()?;
            let solution = inverse.solve(&Vectors::new(Tensor::stack(&gradients, 0)?)?)?;
            let diverged = |report: &Report| report.outcome == Outcome::Diverged;
            if let Some(group) = solution.reports.iter().position(diverged) {
                let place = format!("the solve of the group {}", members[group].0);
                return Err(diverged_at(place));
            }
            for columns in ranges(training.count(), blocks.gradients) {
                let scores = against(&solution.value, training, columns.clone())?;
                let wrong = scores.indexed_iter().find(|(_, score)| !score.is_finite());
                if let Some(((group, _), _)) = wrong {
                    return Err(not_finite(format!("group {}", members[group].0)));
                }
                ranks.write(&ScoreBlock {
                    queries: rows.clone(),
                    training: columns,
                    scores: scores.view(),
                })?;
            }
            reports.extend(solution.reports);
        }
        ranks.finish()?;
        let ranking = |(place, (name, members)): (usize, (&String, &Vec<usize>))| GroupRanking {
            name: name.clone(),
            query_count: members.len(),
            helpful: ranks.helpful(place),
            harmful: ranks.harmful(place),
        };
        let rankings = groups.into_iter().enumerate().map(ranking).collect();
        Ok((rankings, reports))
    }
}

fn name(classes: &[String], class: usize) -> String {
    classes
        .get(class)
        .cloned()
        .unwrap_or_else(|| class.to_string())
}

/// Writes `group_rankings.parquet`: group, queries, rank (from 1; −1 is the most harmful), train, train_label, score.
///
/// # Errors
/// The file cannot be written.
pub fn write_group_rankings(
    path: &Path,
    rankings: &[GroupRanking],
    training: &Examples,
    provenance: &Provenance,
) -> Result<()> {
    let rows: Vec<(&GroupRanking, i32, (usize, f64))> = rankings
        .iter()
        .flat_map(|group| {
            let helpful = group
                .helpful
                .iter()
                .zip(1..)
                .map(|(&image, rank)| (rank, image));
            let harmful = group
                .harmful
                .iter()
                .zip(1..)
                .map(|(&image, rank)| (-rank, image));
            helpful
                .chain(harmful)
                .map(move |(rank, image)| (group, rank, image))
        })
        .collect();
    let groups: StringArray = rows.iter().map(|row| Some(row.0.name.as_str())).collect();
    let counts: Int64Array = rows.iter().map(|row| row.0.query_count as i64).collect();
    let ranks: Int32Array = rows.iter().map(|row| row.1).collect();
    let ids: Int64Array = rows
        .iter()
        .map(|row| training.ids()[row.2.0] as i64)
        .collect();
    let labels: Int32Array = rows
        .iter()
        .map(|row| training.labels()[row.2.0] as i32)
        .collect();
    let scores: Float64Array = rows.iter().map(|row| row.2.1).collect();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("group", Arc::new(groups), false),
        ("queries", Arc::new(counts), false),
        ("rank", Arc::new(ranks), false),
        ("train", Arc::new(ids), false),
        ("train_label", Arc::new(labels), false),
        ("score", Arc::new(scores), false),
    ];
    table::write(path, provenance, columns)
}
