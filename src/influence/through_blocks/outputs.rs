//! Where the scores through the blocks go, and what of it a killed run goes on from.

use super::NetworkOptions;
use super::asked::Asked;
use super::scoring::{PairScores, RankError, segment_names};
use super::shares::SegmentShares;
use crate::Result;
use crate::derivative::network::ParameterSpace;
use crate::influence::checkpoint::Recordable;
use crate::influence::group_scores::write_scores_between_groups;
use crate::influence::{
    GroupRanking, GroupScores, Images, QueryGroupScores, QueryRanking, ScoreBlock, ScoreFile,
    ScoreHeader, ScoreSink, SinkState, TopRanks, write_group_rankings, write_group_scores,
    write_rankings, write_shares,
};
use candle_core::DType;
use std::ops::Range;
use std::path::Path;

/// Everything that blocks of scores are written to. Rows are those that are asked for.
pub(super) struct Outputs<'a> {
    asked: &'a Asked<'a>,
    header: ScoreHeader,
    top: TopRanks,
    /// Ranks of either end.
    kept: (usize, usize),
    file: Option<ScoreFile>,
    /// Of queries, by the means of their scores.
    query_groups: Option<QueryGroupScores>,
    /// Of training images.
    train_groups: Option<GroupScores>,
    shares: Option<SegmentShares>,
    /// Of each query so far, where a rank is given.
    errors: Vec<RankError>,
    /// Of each so far, by the way back through training.
    growth: Vec<f64>,
}

/// What there is beside the files.
pub(super) struct Finished {
    /// What approximating did to each query.
    pub(super) rank_errors: Vec<RankError>,
    /// How the way back through training grew for each.
    pub(super) growth: Vec<f64>,
    /// The scores of groups of training images.
    pub(super) train_groups: Option<GroupScores>,
}

impl<'a> Outputs<'a> {
    /// Begun, with nothing in them.
    pub(super) fn begin(
        options: NetworkOptions,
        asked: &'a Asked<'a>,
        (space, precision): (&ParameterSpace, DType),
        header: ScoreHeader,
        folder: &Path,
    ) -> Result<Self> {
        let names = || segment_names(space);
        let query_groups = match asked {
            Asked::Queries(_, groups) => groups.clone(),
            Asked::Groups(_) => None,
        };
        let mut outputs = Self {
            asked,
            header,
            top: TopRanks::new(options.top, options.bottom),
            file: (options.scores).then(|| ScoreFile::new(&folder.join("scores.npy"), precision)),
            query_groups: query_groups.map(QueryGroupScores::new),
            train_groups: options.train_groups.map(GroupScores::new),
            kept: (options.top, options.bottom),
            shares: (options.shares).then(|| SegmentShares::new(names())),
            errors: Vec::new(),
            growth: Vec::new(),
        };
        outputs.begin_anew()?;
        Ok(outputs)
    }

    fn sinks(&mut self) -> impl Iterator<Item = &mut dyn ScoreSink> {
        let file = self.file.iter_mut().map(|file| file as &mut dyn ScoreSink);
        let of_queries = self.query_groups.iter_mut().map(|groups| groups as _);
        let of_training = self.train_groups.iter_mut().map(|groups| groups as _);
        let top = std::iter::once(&mut self.top as &mut dyn ScoreSink);
        top.chain(file).chain(of_queries).chain(of_training)
    }

    /// Takes the scores of the queries at `rows`, if all are finite.
    pub(super) fn write(&mut self, rows: Range<usize>, pairs: &PairScores) -> Result<()> {
        let training = 0..self.header.training.len();
        let (asked, scores) = (self.asked, pairs.scores.view());
        let name = |place: usize| asked.name(place);
        let block = ScoreBlock::of_finite((&self.header, &name), rows.clone(), training, scores)?;
        self.sinks().try_for_each(|sink| sink.write(&block))?;
        self.errors.extend(&pairs.errors);
        self.growth.extend(&pairs.growth);
        if let Some(shares) = &mut self.shares {
            for (row, query) in rows.enumerate() {
                let (helpful, harmful) = (self.top.helpful(query), self.top.harmful(query));
                let ranked = helpful.into_iter().chain(harmful);
                shares.take(query, pairs, row, ranked.map(|(image, _)| image));
            }
        }
        Ok(())
    }

    /// Completes the files.
    pub(super) fn finish(
        mut self,
        folder: &Path,
        (train, test): (Images, Images),
    ) -> Result<Finished> {
        self.sinks().try_for_each(|sink| sink.finish())?;
        let provenance = &self.header.provenance;
        if let Asked::Groups(groups) = self.asked {
            let path = folder.join("group_rankings.parquet");
            let rankings = GroupRanking::each(groups, &self.top);
            write_group_rankings(&path, &rankings, train, provenance)?;
            if let Some(scores) = &self.train_groups {
                write_scores_between_groups(folder, scores, groups, provenance)?;
            }
            return Ok(self.left(false));
        }
        let rankings: Vec<_> = QueryRanking::each(&self.top, None, train, test).collect();
        write_rankings(&folder.join("rankings.parquet"), &rankings, provenance)?;
        if let Some(shares) = &self.shares {
            let path = folder.join("shares.parquet");
            write_shares(&path, &rankings, (train, test), shares, provenance)?;
        }
        let query_groups = self.query_groups.as_ref();
        if let Some(scores) = query_groups {
            let path = folder.join("group_rankings.parquet");
            write_group_rankings(&path, &scores.rankings(self.kept)?, train, provenance)?;
        }
        if let Some(scores) = &self.train_groups {
            let queries = (test, query_groups.map(QueryGroupScores::groups));
            write_group_scores(folder, scores, queries, self.kept, provenance)?;
        }
        Ok(self.left(true))
    }

    fn left(self, train_groups: bool) -> Finished {
        Finished {
            rank_errors: self.errors,
            growth: self.growth,
            train_groups: self.train_groups.filter(|_| train_groups),
        }
    }
}

impl Recordable for Outputs<'_> {
    fn save(&mut self) -> Result<Option<Vec<SinkState>>> {
        let mut states = Vec::new();
        for sink in self.sinks() {
            let Some(state) = sink.save()? else {
                return Ok(None);
            };
            states.push(state);
        }
        states.extend(self.shares.as_ref().map(SegmentShares::save));
        let errors = self.errors.iter();
        states.push(SinkState {
            integers: Vec::new(),
            numbers: errors.flat_map(|e| [e.solution, e.scores]).collect(),
        });
        states.push(SinkState {
            integers: Vec::new(),
            numbers: self.growth.clone(),
        });
        Ok(Some(states))
    }

    fn restore(&mut self, states: &mut std::slice::Iter<SinkState>) -> Result<bool> {
        for sink in self.sinks() {
            let restored = states.next().map(|state| sink.restore(state)).transpose()?;
            if restored != Some(true) {
                return Ok(false);
            }
        }
        let places = [self.header.queries.len(), self.header.training.len()];
        if let Some(shares) = &mut self.shares
            && !states
                .next()
                .is_some_and(|state| shares.restore(state, places))
        {
            return Ok(false);
        }
        let (Some(errors), Some(growth)) = (states.next(), states.next()) else {
            return Ok(false);
        };
        let (pairs, rest) = errors.numbers.as_chunks::<2>();
        self.errors = pairs
            .iter()
            .map(|&[solution, scores]| RankError { solution, scores })
            .collect();
        self.growth.clone_from(&growth.numbers);
        Ok(rest.is_empty() && errors.integers.is_empty() && growth.integers.is_empty())
    }

    fn begin_anew(&mut self) -> Result<()> {
        let header = self.header.clone();
        self.errors.clear();
        self.growth.clear();
        if let Some(shares) = &mut self.shares {
            shares.clear();
        }
        self.sinks().try_for_each(|sink| sink.begin(&header))
    }
}
