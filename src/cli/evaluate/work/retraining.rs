//! Leave-one-out, random subsets and whole groups: what was predicted, held against retraining.

use super::{Work, progress};
use crate::artefact::RunFolder;
use crate::cli::evaluate::asked::LEAVE_GROUP_OUT;
use crate::cli::progress::Pace;
use crate::derivative::head::HeadInputs;
use crate::evaluate::{
    Comparison, GroupsLeftOut, Kept, Retrained, Retrainer, left_out_alone, random_subsets,
};
use crate::figure::{GroupEffects, LeaveOneOut, QualityAndCost};
use crate::influence::{Groups, SIGN};
use crate::{Error, Result};
use candle_core::DType;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

impl Work<'_> {
    /// Leave-one-out and LDS.
    pub(super) fn held_against_retraining(&mut self, run: &mut RunFolder) -> Result<()> {
        let queries = HeadInputs::new(
            &self.subject.queries.features,
            &self.subject.queries.labels,
            DType::F64,
        )?;
        let retrainer = (self.fit).map(|fit| Retrainer::new(fit, &queries, &self.folder));
        let retrainer = retrainer.as_ref();
        let asked = &self.evaluate.asked;
        let mut compared = Vec::new();
        if let Some(number) = asked.leave_one_out {
            let kept = self.unless_retrained("leave_one_out", || self.each_alone(number))?;
            compared.push(self.compare(run, retrainer, "leave_one_out", &kept)?);
        }
        if let Some(number) = asked.lds {
            let count = self.subject.train.ids.len();
            let subsets = || random_subsets(count, number, asked.share(), self.evaluate.seed);
            let kept = self.unless_retrained("lds", subsets)?;
            compared.push(self.compare(run, retrainer, "lds", &kept)?);
        }
        self.groups_left_out(run, retrainer)?;
        if let Some(comparison) = compared.last() {
            let figure = QualityAndCost::of(comparison, self.evaluate.asked.lds.is_some());
            self.draw(&figure, "quality_and_cost")?;
        }
        Ok(())
    }

    /// What is to be retrained on; nothing where --retrained decides that.
    fn unless_retrained(
        &self,
        name: &str,
        kept: impl FnOnce() -> Result<Vec<Kept>>,
    ) -> Result<Vec<Kept>> {
        match self.evaluate.asked.has_retrained(name) {
            true => Ok(Vec::new()),
            false => kept(),
        }
    }

    /// So many training images, each left out alone.
    fn each_alone(&self, number: usize) -> Result<Vec<Kept>> {
        let count = self.subject.train.ids.len();
        let (choose, seed) = (self.evaluate.asked.choose(), self.evaluate.seed);
        let chosen = left_out_alone(self.scores(), number, choose, seed)?;
        if chosen.len() != number {
            note!("ascribe: leave-one-out: all {count} training images, not {number}");
        }
        let kept = chosen.iter().map(|&at| Kept::without(count, &[at]));
        Ok(kept.collect())
    }

    /// Refits of a head say nothing of scores through residual blocks, which stay where they are in these.
    fn check_retrained(&self, folder: &Path, retrained: &Retrained) -> Result<()> {
        match self.subject.through_blocks.is_some() && retrained.is_of_heads() {
            false => Ok(()),
            true => Err(Error::conflict(
                folder,
                "holds heads that were fitted again, and the run's scores go through residual blocks or training itself",
                "give measurements of a whole training, or train again with --retrain SEEDS",
            )),
        }
    }

    /// Retrains, or takes up what was retrained, and holds every estimator against it.
    fn compare(
        &mut self,
        run: &mut RunFolder,
        retrainer: Option<&Retrainer>,
        name: &'static str,
        kept: &[Kept],
    ) -> Result<Comparison> {
        let retrained = self.retrained(run, retrainer, name, kept)?;
        self.against(run, name, &retrained)
    }

    /// Each group of training images left out as a whole.
    fn groups_left_out(
        &mut self,
        run: &mut RunFolder,
        retrainer: Option<&Retrainer>,
    ) -> Result<()> {
        let Some(groups) = &self.subject.groups else {
            return Ok(());
        };
        let count = self.subject.train.ids.len();
        let kept: Vec<Kept> = (groups.iter())
            .map(|(_, members)| Kept::without(count, members))
            .collect();
        let retrained = self.retrained(run, retrainer, LEAVE_GROUP_OUT, &kept)?;
        let found = GroupsLeftOut::of(groups, &self.estimators, &retrained, &self.bootstrap);
        // Of one group, or two, there is no correlation.
        if groups.count() >= 3 {
            self.against(run, LEAVE_GROUP_OUT, &retrained)?;
        } else {
            self.write_changes(LEAVE_GROUP_OUT, &retrained)?;
        }
        run.set_result("groups_left_out", &found)?;
        self.draw(&GroupEffects { found }, LEAVE_GROUP_OUT)
    }

    /// Retrains on each of `kept`, or takes up what was retrained, and leaves the measurements in the folder.
    fn retrained(
        &mut self,
        run: &mut RunFolder,
        retrainer: Option<&Retrainer>,
        name: &'static str,
        kept: &[Kept],
    ) -> Result<Retrained> {
        run.stage(name)?;
        let metadata = self.metadata("unit");
        let retrained = match (&self.again, retrainer) {
            (Some(again), _) => {
                let pace = Pace::default();
                let trained = again.table(&self.folder, name, kept, |done, all| {
                    let left = pace.and_left((done, all));
                    note!("{name}: {done} of {all} trainings{left}");
                })?;
                run.set_result(&format!("{name}_seeds"), trained.agreement)?;
                trained.retrained
            }
            (None, Some(retrainer)) if !self.evaluate.asked.has_retrained(name) => {
                retrainer.table(name, kept, progress(name))?
            }
            (None, _) => self.read(name, kept, &metadata)?,
        };
        retrained.write(&self.folder, name, self.ids(), &metadata)?;
        let short = retrained.refits.iter().filter(|end| !end.converged);
        let worst = (short.clone()).fold(0.0, |most: f64, end| most.max(end.gradient_norm));
        self.report(short.count(), worst);
        let factor = retrainer.filter(|_| retrained.work.refits > 0);
        let factor = factor.map_or(0.0, Retrainer::factor_operations);
        let elsewhere = &self.evaluate.asked.retrained;
        run.set_result(
            &format!("{name}_work"),
            json!({
                "refits": retrained.work, "factor_operations": factor, "measurements_from": elsewhere,
                "losses_alone": retrained.losses_alone,
            }),
        )?;
        Ok(retrained)
    }

    /// What was retrained elsewhere.
    fn read(
        &self,
        name: &str,
        kept: &[Kept],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Retrained> {
        let folder = (self.evaluate.asked.retrained.as_deref()).unwrap_or(&self.folder);
        let read = Retrained::read(folder, name, self.ids(), metadata)?;
        self.check_retrained(folder, &read)?;
        let asked = match name {
            LEAVE_GROUP_OUT => return check_groups(folder, &read, kept).map(|()| read),
            "lds" => self.evaluate.asked.lds,
            _ => self.evaluate.asked.leave_one_out,
        };
        let there = read.left_out.len();
        if let Some(asked) = asked.filter(|&asked| asked != there) {
            note!(
                "ascribe: {name}: {there} retrainings, those of {}, not {asked}",
                folder.display()
            );
        }
        Ok(read)
    }

    /// A table of what every estimator predicted and what was measured.
    fn write_changes(&self, name: &str, retrained: &Retrained) -> Result<()> {
        let path = self.folder.join(format!("{name}.parquet"));
        let mut metadata = self.metadata("actual_unit");
        metadata.insert("sign".into(), SIGN.into());
        let groups = (self.subject.groups.as_ref()).filter(|_| name == LEAVE_GROUP_OUT);
        let groups = groups.map(Groups::names);
        Comparison::write_changes(
            &path,
            &self.estimators,
            (retrained, groups.as_deref()),
            self.ids(),
            &metadata,
        )
    }

    /// Holds every estimator against what was measured.
    fn against(
        &mut self,
        run: &mut RunFolder,
        name: &'static str,
        retrained: &Retrained,
    ) -> Result<Comparison> {
        let comparison = Comparison::of(&self.estimators, retrained, &self.bootstrap)?;
        self.write_changes(name, retrained)?;
        if name == "leave_one_out" {
            let first = &comparison.rows[0];
            let predicted = retrained.predicted(self.scores());
            let ids = self.ids();
            let left_out = retrained.left_out.iter().flat_map(|images| images.first());
            let left_out: Vec<usize> = left_out.map(|&at| ids.train[at]).collect();
            let ids = (ids.queries, &*left_out);
            let figure = LeaveOneOut {
                unit: first.unit.clone(),
                of_heads: retrained.is_of_heads(),
                losses_alone: retrained.losses_alone,
                ..LeaveOneOut::of(&predicted, &retrained.rises(), ids, &first.agreement)
            };
            self.draw(&figure, name)?;
        }
        run.set_result(name, &comparison)?;
        Ok(comparison)
    }
}

/// Groups have names, which retrainings without other images have not.
fn check_groups(folder: &Path, read: &Retrained, kept: &[Kept]) -> Result<()> {
    let in_order = |images: &Vec<usize>| images.iter().copied().collect::<BTreeSet<_>>();
    let there = read.left_out.iter().map(in_order);
    match there.eq(kept.iter().map(|kept| in_order(&kept.left_out()))) {
        true => Ok(()),
        false => Err(Error::conflict(
            folder,
            "holds measurements of other groups than those of --leave-group-out",
            "give the groups that it was made with, or leave --retrained out",
        )),
    }
}
