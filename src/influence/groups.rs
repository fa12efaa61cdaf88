//! Influence on groups of queries: one solve a group.
//!
//! A score is linear in ∇m, so that the mean rise of a group's losses is the score of the mean of their gradients: what helps
//! or harms a class, or a kind of confusion, takes as many solves as there are groups.

use super::scores::{against, diverged_at, not_finite};
use super::{Examples, Provenance, ScoreBlock, ScoreHeader, ScoreSink, TopRanks, table};
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
        for (line, row) in reader.deserialize::<Row>().enumerate() {
            let wrong = |found: String| malformed(format!("row {}", line + 1), found);
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

    /// The mean gradients, `[groups, p]`.
    fn gradients(&self, queries: &Examples) -> Result<Tensor> {
        let members = self.groups.values();
        let rows = members
            .map(|members| queries.mean_gradient(members))
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::stack(&rows, 0)?)
    }

    /// Ranks all training images for every group; how each group's solve ended comes back too.
    ///
    /// # Errors
    /// A solve diverged, a score is not finite, or a tensor operation failed.
    pub fn rank(
        &self,
        inverse: &dyn Inverse,
        training: &Examples,
        queries: &Examples,
        (top, bottom): (usize, usize),
        block: usize,
    ) -> Result<(Vec<GroupRanking>, Vec<Report>)> {
        let solution = inverse.solve(&Vectors::new(self.gradients(queries)?)?)?;
        let diverged = |report: &Report| report.outcome == Outcome::Diverged;
        let diverged = solution.reports.iter().position(diverged);
        if let Some(name) = diverged.and_then(|group| self.groups.keys().nth(group)) {
            return Err(diverged_at(format!("the solve of the group {name}")));
        }
        let mut ranks = TopRanks::new(top, bottom);
        ranks.begin(&ScoreHeader {
            queries: (0..self.groups.len()).collect(),
            training: training.ids().to_vec(),
            provenance: Provenance::default(),
        })?;
        let scores = against(&solution.value, training, block)?;
        let wrong = scores.indexed_iter().find(|(_, score)| !score.is_finite());
        if let Some(name) = wrong.and_then(|((group, _), _)| self.groups.keys().nth(group)) {
            return Err(not_finite(format!("group {name}")));
        }
        ranks.write(&ScoreBlock {
            queries: 0..self.groups.len(),
            training: 0..training.count(),
            scores: scores.view(),
        })?;
        ranks.finish()?;
        let ranking = |(place, (name, members)): (usize, (&String, &Vec<usize>))| GroupRanking {
            name: name.clone(),
            query_count: members.len(),
            helpful: ranks.helpful(place),
            harmful: ranks.harmful(place),
        };
        let rankings = self.groups.iter().enumerate().map(ranking).collect();
        Ok((rankings, solution.reports))
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
