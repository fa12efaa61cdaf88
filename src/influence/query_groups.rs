//! Influence on groups of queries: one solve a group.
//!
//! A score is linear in ∇m, so that the mean rise of a group's losses is the score of the mean of their gradients: what helps
//! or harms a class, or a kind of confusion, takes as many solves as there are groups.

use super::rankings::from_both_ends;
use super::scores::{against, check_solved, ranges};
use super::{
    BlockSizes, Examples, Groups, Images, Provenance, ScoreBlock, ScoreHeader, ScoreSink, TopRanks,
    table,
};
use crate::Result;
use crate::artefact::Columns;
use crate::operator::Vectors;
use crate::solve::{Inverse, Report};
use candle_core::Tensor;
use std::path::Path;

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

impl Groups {
    /// Ranks all training images for every group of `queries`, `blocks.solved` groups at a time; how each group's solve ended comes back too.
    ///
    /// # Errors
    /// A solve diverged, a score is not finite, or a tensor operation failed.
    pub fn rank_training(
        &self,
        inverse: &dyn Inverse,
        training: &Examples,
        queries: &Examples,
        (top, bottom): (usize, usize),
        blocks: BlockSizes,
    ) -> Result<(Vec<GroupRanking>, Vec<Report>)> {
        let groups: Vec<(&str, &[usize])> = self.iter().collect();
        let name = |place: usize| format!("the group {}", groups[place].0);
        let header = ScoreHeader {
            queries: (0..groups.len()).collect(),
            training: training.ids().to_vec(),
            provenance: Provenance::default(),
        };
        let mut ranks = TopRanks::new(top, bottom);
        ranks.begin(&header)?;
        let mut reports = Vec::with_capacity(groups.len());
        for rows in ranges(groups.len(), blocks.solved) {
            let members = groups[rows.clone()].iter();
            let gradients = members.map(|(_, at)| queries.mean_gradient(at));
            let gradients = gradients.collect::<Result<Vec<_>>>()?;
            let solution = inverse.solve(&Vectors::new(Tensor::stack(&gradients, 0)?)?)?;
            check_solved(&solution.reports, |row| name(rows.start + row))?;
            for columns in ranges(training.count(), blocks.gradients) {
                let scores = against(&solution.value, training, columns.clone())?;
                let (of, scores) = ((&header, &name as _), scores.view());
                ranks.write(&ScoreBlock::of_finite(of, rows.clone(), columns, scores)?)?;
            }
            reports.extend(solution.reports);
        }
        ranks.finish()?;
        Ok((GroupRanking::each(self, &ranks), reports))
    }
}

impl GroupRanking {
    /// Of all groups, whose places are those of queries in `ranks`.
    pub(super) fn each(groups: &Groups, ranks: &TopRanks) -> Vec<Self> {
        let ranking = |(place, (name, members)): (usize, (&str, &[usize]))| Self {
            name: name.to_owned(),
            query_count: members.len(),
            helpful: ranks.helpful(place),
            harmful: ranks.harmful(place),
        };
        groups.iter().enumerate().map(ranking).collect()
    }
}

/// Writes `group_rankings.parquet`: group, queries, rank (from 1; −1 is the most harmful), train, train_label, score.
///
/// # Errors
/// The file cannot be written.
pub fn write_group_rankings(
    path: &Path,
    rankings: &[GroupRanking],
    training: Images,
    provenance: &Provenance,
) -> Result<()> {
    let rows: Vec<(&GroupRanking, i32, (usize, f64))> = rankings
        .iter()
        .flat_map(|group| {
            from_both_ends(&group.helpful, &group.harmful)
                .map(move |(rank, &image)| (group, rank, image))
        })
        .collect();
    let columns = Columns::of(rows.iter())
        .words("group", |row| &row.0.name)
        .integers("queries", |row| row.0.query_count as i64)
        .narrow_integers("rank", |row| row.1)
        .integers("train", |row| training.ids[row.2.0] as i64)
        .narrow_integers("train_label", |row| training.labels[row.2.0] as i32)
        .numbers("score", |row| row.2.1);
    table::write(path, provenance, columns.done())
}
