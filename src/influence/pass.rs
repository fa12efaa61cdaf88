//! One pass over all scores of a run: which side is solved for, where the scores go, what is written of them.

use super::checkpoint::Checkpoint;
use super::job::{RankJob, Sides};
use super::{
    Certification, CertifiedRanks, Diagonal, EqualImages, Examples, ExtremeBlock, ExtremeSink,
    GroupScores, Grouping, Groups, Kept, Progress, Provenance, Queries, QueryRanking,
    RankedQueries, ScoreBlock, ScoreFile, ScoreHeader, ScoreSink, Scoring, SinkState, Solves,
    TopRanks, write_group_rankings, write_group_scores, write_rankings, write_self_influence,
};
use crate::Result;
use crate::data::little_endian;
use crate::operator::Damped;
use crate::solve::{Inverse, Refinement};
use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

/// What a pass works with.
pub(super) struct Pass<'a> {
    pub(super) job: &'a RankJob<'a>,
    pub(super) folder: &'a Path,
    pub(super) sides: &'a Sides,
    /// The same in f64, where ranks are certified or a damping path is asked for.
    pub(super) exact: &'a Sides,
    /// The training images as those that are left out.
    pub(super) training: &'a Examples,
    pub(super) inverse: &'a dyn Inverse,
    pub(super) provenance: &'a Provenance,
}

/// What came of a pass.
pub(super) struct Scored {
    pub(super) solves: Solves,
    pub(super) certified: Option<Certified>,
    /// Rows that an earlier process had scored.
    pub(super) resumed: usize,
    pub(super) group_scores: Option<GroupScores>,
}

/// How much was certified.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Certified {
    /// The ranks asked for, or all there are where these are fewer.
    pub ranks: usize,
    /// Share of these ranks, over all test queries.
    pub share_of_ranks: f64,
    /// Share of test queries with all of these ranks.
    pub share_of_queries: f64,
}

/// The sinks of one set of queries.
struct Outputs<'a, 'b> {
    top: TopRanks,
    certified: Option<CertifiedRanks>,
    diagonal: Option<Diagonal>,
    file: Option<ScoreFile>,
    groups: Option<GroupScores>,
    counted: Counted<'a, 'b>,
}

impl<'a, 'b> Outputs<'a, 'b> {
    fn sinks(&mut self) -> Vec<&mut dyn ScoreSink> {
        let mut sinks: Vec<&mut dyn ScoreSink> = vec![&mut self.top, &mut self.counted];
        sinks.extend(self.diagonal.iter_mut().map(|sink| sink as _));
        sinks.extend(self.file.iter_mut().map(|sink| sink as _));
        sinks.extend(self.groups.iter_mut().map(|sink| sink as _));
        sinks
    }
}

impl Pass<'_> {
    /// Scores all queries, by solving for whichever side takes fewer solves, and writes what came of it.
    pub(super) fn score(&self, progress: &mut dyn Progress) -> Result<Scored> {
        let options = &self.job.options;
        let progress = RefCell::new(progress);
        let equal = match options.certify {
            Some(_) => Some(EqualImages::among(&self.job.train)?),
            None => None,
        };
        let top = options.top.max(options.certify.unwrap_or(0));
        let mut test = Outputs {
            top: TopRanks::new(top, options.bottom),
            certified: None,
            diagonal: None,
            file: (options.scores)
                .then(|| ScoreFile::new(&self.folder.join("scores.npy"), options.precision)),
            groups: options.train_groups.clone().map(GroupScores::new),
            counted: Counted::new("test", &progress),
        };
        let mut train = Outputs {
            top: TopRanks::new(top.saturating_add(1), options.bottom),
            certified: None,
            diagonal: Some(Diagonal::default()),
            file: (options.scores && options.train_queries)
                .then(|| ScoreFile::new(&self.folder.join("train_scores.npy"), options.precision)),
            groups: None,
            counted: Counted::new("train", &progress),
        };
        let say = |text: &str| progress.borrow_mut().note(text);
        let material = self.material()?;
        let mut checkpoint = Checkpoint::new(self.folder, options, &material, &say);
        let solves = match equal {
            Some(equal) => self.certified(equal, &mut test, &mut train, &mut checkpoint)?,
            None => self.plain(&mut test, &mut train, &mut checkpoint)?,
        };
        self.write("rankings.parquet", &test, &self.sides.test)?;
        if let (true, Some(diagonal)) = (options.train_queries, &train.diagonal) {
            self.write("train_rankings.parquet", &train, &self.sides.train)?;
            let path = self.folder.join("self_influence.parquet");
            write_self_influence(&path, &self.sides.train, diagonal, self.provenance)?;
        }
        if let Some(scores) = &test.groups {
            let query_groups = self.query_groups()?;
            let queries = (self.sides.test.images(), query_groups.as_ref());
            let kept = (options.top, options.bottom);
            write_group_scores(self.folder, scores, queries, kept, self.provenance)?;
        }
        let certified = self.certified_share(&test);
        Ok(Scored {
            group_scores: test.groups,
            solves,
            certified,
            resumed: checkpoint.resumed,
        })
    }

    /// What decides the scores besides the options.
    fn material(&self) -> Result<Vec<u8>> {
        let mut material = format!("{:?}", self.provenance).into_bytes();
        for side in [self.training, &self.sides.test] {
            material.extend(format!("{:?} {:?}", side.ids(), side.labels()).into_bytes());
            material.extend(little_endian(side.residuals())?);
        }
        Ok(material)
    }

    fn plain(
        &self,
        test: &mut Outputs,
        train: &mut Outputs,
        checkpoint: &mut Checkpoint,
    ) -> Result<Solves> {
        let normalise = self.job.options.normalise;
        let scoring = Scoring {
            inverse: self.inverse,
            training: self.training,
            normalise,
            blocks: self.job.blocks(self.training),
            provenance: self.provenance,
        };
        let (mut test, mut train) = (test.sinks(), train.sinks());
        let (test, train) = self.queries(self.sides, &mut test, &mut train);
        if self.solves_queries() && !normalise.needs_training_solves() {
            return Ok(solves(
                "test",
                &self.sides.test,
                scoring.resume_by_queries(test, checkpoint)?,
            ));
        }
        let sets = std::iter::once(test).chain(train).collect();
        let reports = scoring.resume_by_training(sets, checkpoint)?;
        Ok(solves("train", &self.sides.train, reports))
    }

    fn certified(
        &self,
        equal: EqualImages,
        test: &mut Outputs,
        train: &mut Outputs,
        checkpoint: &mut Checkpoint,
    ) -> Result<Solves> {
        let options = &self.job.options;
        let sides = self.exact;
        let hessian = sides.hessian(options.l2)?;
        let operator = Damped::new(&hessian, options.damping)?;
        let smallest = options.l2 + options.damping;
        let solved_by = (&options.solver, options.precision);
        let certification = Certification {
            refinement: Refinement::new(&operator, self.inverse, solved_by, smallest)?,
            ranks: options.certify.unwrap_or(0),
            equal,
            weights: self.job.head.longest_row()?,
            coordinates: sides.coordinates.error(&self.job.device)?,
            blocks: self.job.blocks(&sides.train),
        };
        let scores = {
            let top = options.top.max(options.certify.unwrap_or(0));
            let (mut test, mut train) = (test.sinks(), train.sinks());
            let (test, train) = self.queries(sides, &mut test, &mut train);
            let ranked = |queries, kept| RankedQueries { queries, kept };
            let (test, train) = (
                ranked(test, top),
                train.map(|train| ranked(train, top.saturating_add(1))),
            );
            if self.solves_queries() {
                certification.resume_by_queries(&sides.train, test, self.provenance, checkpoint)?
            } else {
                let sets = std::iter::once(test).chain(train).collect();
                certification.resume_by_training(&sides.train, sets, self.provenance, checkpoint)?
            }
        };
        let mut ranks = scores.ranks.into_iter();
        (test.certified, train.certified) = (ranks.next(), ranks.next());
        let (set, examples) = match self.solves_queries() {
            true => ("test", &sides.test),
            false => ("train", &sides.train),
        };
        Ok(solves(set, examples, scores.reports))
    }

    /// Whether solving for the queries is less work: the training images need solves of their own as queries.
    fn solves_queries(&self) -> bool {
        !self.job.options.train_queries && self.sides.test.count() < self.sides.train.count()
    }

    fn queries<'q, 's>(
        &self,
        sides: &'q Sides,
        test: &'q mut [&'s mut dyn ScoreSink],
        train: &'q mut [&'s mut dyn ScoreSink],
    ) -> (Queries<'q, 's>, Option<Queries<'q, 's>>) {
        let test = Queries {
            examples: &sides.test,
            sinks: test,
        };
        let train = Queries {
            examples: &sides.train,
            sinks: train,
        };
        (test, self.job.options.train_queries.then_some(train))
    }

    /// The rankings of every group of queries, where the options ask for them.
    pub(super) fn groups(&self) -> Result<Option<Solves>> {
        let Some(groups) = self.query_groups()? else {
            return Ok(None);
        };
        let queries = &self.sides.test;
        let kept = (self.job.options.top, self.job.options.bottom);
        let blocks = self.job.blocks(self.training);
        let (rankings, reports) =
            groups.rank_training(self.inverse, self.training, queries, kept, blocks)?;
        let path = self.folder.join("group_rankings.parquet");
        // Groups are of plain scores, whatever those of queries are divided by.
        let provenance = Provenance {
            digests: self.provenance.digests.clone(),
            ..Provenance::default()
        };
        write_group_rankings(&path, &rankings, self.sides.train.images(), &provenance)?;
        Ok(Some(Solves {
            set: "group",
            ids: (0..rankings.len()).collect(),
            groups: groups.names(),
            reports,
        }))
    }

    /// The groups of queries, where the options ask for them.
    fn query_groups(&self) -> Result<Option<Groups>> {
        let grouping = self.job.options.query_groups.as_ref();
        let groups =
            |grouping: &Grouping| grouping.groups(self.sides.test.images(), &self.job.classes);
        grouping.map(groups).transpose()
    }

    fn write(&self, name: &str, outputs: &Outputs, queries: &Examples) -> Result<()> {
        let certified = outputs.certified.as_ref();
        let rankings = QueryRanking::each(
            &outputs.top,
            certified,
            self.sides.train.images(),
            queries.images(),
        );
        write_rankings(&self.folder.join(name), rankings, self.provenance)
    }

    fn certified_share(&self, outputs: &Outputs) -> Option<Certified> {
        let (ranks, certified) = (self.job.options.certify?, outputs.certified.as_ref()?);
        let (mut all, mut proven, mut whole) = (0, 0, 0);
        let count = self.sides.test.count();
        for query in 0..count {
            let wanted = certified.ranks(query).iter().take(ranks);
            all += wanted.clone().count();
            proven += wanted.filter(|rank| rank.2.certified).count();
            whole += usize::from(certified.is_certified(query, ranks));
        }
        Some(Certified {
            ranks: ranks.min(self.sides.train.count()),
            share_of_ranks: proven as f64 / all.max(1) as f64,
            share_of_queries: whole as f64 / count.max(1) as f64,
        })
    }
}

fn solves(set: &'static str, examples: &Examples, reports: Vec<crate::solve::Report>) -> Solves {
    Solves {
        set,
        ids: examples.ids().to_vec(),
        groups: Vec::new(),
        reports,
    }
}

/// Counts scores.
struct Counted<'a, 'b> {
    set: &'static str,
    done: usize,
    total: usize,
    progress: &'a RefCell<&'b mut dyn Progress>,
}

impl<'a, 'b> Counted<'a, 'b> {
    fn new(set: &'static str, progress: &'a RefCell<&'b mut dyn Progress>) -> Self {
        Self {
            set,
            done: 0,
            total: 0,
            progress,
        }
    }

    fn count(&mut self, queries: &Range<usize>, training: &Range<usize>) {
        self.done += queries.len() * training.len();
        let mut progress = self.progress.borrow_mut();
        progress.scores(self.set, self.done, self.total);
    }
}

impl ExtremeSink for Counted<'_, '_> {
    fn kept(&self) -> Kept {
        Kept::NONE
    }

    fn write_extremes(&mut self, block: &ExtremeBlock) -> Result<()> {
        self.count(&block.queries, &block.training);
        Ok(())
    }
}

impl ScoreSink for Counted<'_, '_> {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        self.total = header.queries.len() * header.training.len();
        let mut progress = self.progress.borrow_mut();
        progress.scores(self.set, 0, self.total);
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        self.count(&block.queries, &block.training);
        Ok(())
    }

    fn as_extremes(&mut self) -> Option<&mut dyn ExtremeSink> {
        Some(self)
    }

    fn save(&mut self) -> Result<Option<SinkState>> {
        Ok(Some(SinkState {
            integers: vec![self.done as u64],
            numbers: Vec::new(),
        }))
    }

    fn restore(&mut self, state: &SinkState) -> Result<bool> {
        let mut reader = state.reader();
        let done = reader.position(self.total + 1);
        self.done = done.unwrap_or_default();
        let mut progress = self.progress.borrow_mut();
        progress.resumed(self.set, self.done, self.total);
        Ok(done.is_some() && reader.is_at_end())
    }
}
