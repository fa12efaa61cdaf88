//! Groups of training images that the run scored as a whole: what it predicted without each, and what refits of the head say.
//!
//! The others keep their weight. Where a group is all that there is of a class, or most of it, what happens is far from the first
//! order: that is what the refits are for.

use super::fitted::Fitted;
use crate::derivative::head::HeadInputs;
use crate::evaluate::{Bootstrap, GroupsLeftOut, Kept, Retrained};
use crate::influence::{Groups, RankJob, StoredGroups};
use crate::report::{MeasuredGroup, TrainingGroup};
use crate::{Error, Result};
use candle_core::DType;

/// Bootstrap draws behind the intervals.
const BOOTSTRAP: Bootstrap = Bootstrap {
    seed: 0,
    draws: 1000,
};

/// The groups of a run, and which images they are.
#[derive(Debug, Clone, Copy)]
pub struct RunGroups<'a> {
    /// Scores.
    pub stored: &'a StoredGroups,
    /// Members, by position among the training images.
    pub members: &'a Groups,
}

impl RunGroups<'_> {
    /// The groups as the page shows them, their members by `place` in its list; up to `most` of those that are predicted to
    /// change most are measured where there is a head that was `fitted`.
    pub(super) fn shown(
        &self,
        job: &RankJob,
        fitted: Option<&Fitted>,
        most: usize,
        place: impl Fn(usize) -> usize,
    ) -> Result<Vec<TrainingGroup>> {
        self.check()?;
        let mut groups: Vec<TrainingGroup> = (self.stored.groups.iter())
            .zip(self.members.iter())
            .map(|(group, (_, members))| TrainingGroup {
                name: group.name.clone(),
                images: members.iter().map(|&at| place(at)).collect(),
                score: group.score,
                measured: None,
            })
            .collect();
        let Some(fitted) = fitted.filter(|_| most > 0) else {
            return Ok(groups);
        };
        let count = job.train.ids.len();
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.retain(|&at| groups[at].images.len() < count);
        order.sort_by(|&a, &b| groups[b].score.abs().total_cmp(&groups[a].score.abs()));
        order.truncate(most);
        order.sort_unstable();
        for (&at, measured) in order.iter().zip(self.measured(job, fitted, &order)?) {
            groups[at].measured = Some(measured);
        }
        Ok(groups)
    }

    /// The tables must be of these groups.
    fn check(&self) -> Result<()> {
        let stored = self.stored.groups.iter();
        let stored = stored.map(|group| (group.name.as_str(), group.images));
        let members = self.members.iter();
        match stored.eq(members.map(|(name, members)| (name, members.len()))) {
            true => Ok(()),
            false => Err(Error::mismatch(
                "train_groups.parquet",
                "the groups that --train-groups named",
                "others",
                "run ascribe rank again",
            )),
        }
    }

    /// What happens without each of the groups at `places`.
    fn measured(
        &self,
        job: &RankJob,
        fitted: &Fitted,
        places: &[usize],
    ) -> Result<Vec<MeasuredGroup>> {
        let groups = self.members.at(places);
        let count = job.train.ids.len();
        let kept: Vec<Kept> = (groups.iter())
            .map(|(_, members)| Kept::without(count, members))
            .collect();
        let queries = HeadInputs::new(job.test.features, job.test.labels, DType::F64)?;
        let refits = fitted.refits(&queries)?;
        let (found, work) = refits.of(&kept)?;
        let converged: Vec<bool> = found.iter().map(|refit| refit.converged).collect();
        let retrained = Retrained::of_refits(&kept, found, refits.full, work);
        let found = GroupsLeftOut::of(&groups, &[], &retrained, &BOOTSTRAP);
        let measured = found.groups.into_iter().zip(converged);
        Ok(measured
            .map(|(group, converged)| MeasuredGroup {
                rise: group.actual,
                right_change: group.correct_change,
                converged,
            })
            .collect())
    }
}
