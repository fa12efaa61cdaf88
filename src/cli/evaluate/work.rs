//! The questions in order, and what is left of each in the folder.

use super::methods::Name;
use super::subject::Subject;
use super::{At, Evaluate, again, summary};
use crate::artefact::RunFolder;
use crate::cli::progress::Pace;
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use crate::evaluate::{
    Bootstrap, Comparison, Estimator, Fixed, FullFit, GroupsLeftOut, Ids, Kept, Measured, OwnClass,
    Ranked, RefitOptions, Retrained, Retrainer, SMALL_GRADIENT, Setting, TransferAgain,
    forget_recorded, left_out_alone, measured, random_subsets,
};
use crate::figure::{Figure, Format, GroupEffects, LeaveOneOut, QualityAndCost, write};
use crate::influence::{Groups, NATS};
use crate::{Error, Result};
use candle_core::DType;
use ndarray::Array2;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Pictures of every figure.
const FORMATS: [Format; 2] = [Format::Svg, Format::Png];

/// Asks everything that was asked for, fills the folder, prints a summary; exit code 3 where a refit or solve fell short.
pub(super) fn fill(mut run: RunFolder, evaluate: &Evaluate, subject: &Subject) -> Result<ExitCode> {
    if let Some(classes) = &subject.classes {
        run.set_classes(classes.clone())?;
    }
    run.stage("head")?;
    let training = HeadInputs::new(&subject.train.features, &subject.train.labels, DType::F64)?;
    let fit = match evaluate.fits_heads() {
        false => None,
        true => {
            let options = RefitOptions {
                gradient_norm: evaluate.gradient_norm,
                ..RefitOptions::default()
            };
            let start = subject.head.clone();
            Some(FullFit::new(&training, start, subject.l2, options)?)
        }
    };
    let fitted = fit.as_ref().filter(|_| evaluate.at == At::Fitted);
    let head = fitted.map_or(&subject.head, |fit| &fit.head);
    let at_run = subject
        .head
        .to_dtype(DType::F64)?
        .objective(&training, subject.l2)?
        .1;
    let at_run = at_run.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
    note_stopped(evaluate, subject, at_run);
    let at_minimum = fit.as_ref().map(|fit| fit.gradient_norm);
    run.set_result(
        "fit",
        json!({ "gradient_norm_of_the_run": at_run, "gradient_norm": at_minimum }),
    )?;
    let mut work = Work {
        folder: run.path().to_path_buf(),
        evaluate,
        subject,
        again: (evaluate
            .retrain
            .map(|seeds| again::open(evaluate, subject, seeds)))
        .transpose()?,
        head,
        fit: fit.as_ref(),
        bootstrap: Bootstrap {
            seed: evaluate.seed,
            draws: evaluate.draws,
        },
        estimators: Vec::new(),
        shortfalls: 0,
    };
    work.estimate(&mut run)?;
    work.held_against_retraining(&mut run)?;
    work.removal(&mut run)?;
    work.mislabels(&mut run)?;
    work.duplicates(&mut run)?;
    work.randomise(&mut run)?;
    work.classes(&mut run)?;
    let shortfalls = work.shortfalls;
    run.set_result("shortfalls", shortfalls)?;
    forget_recorded(run.path())?;
    let record = run.finish()?;
    summary::print(&record, evaluate.json.is_asked())?;
    Ok(ExitCode::from(if shortfalls > 0 { 3 } else { 0 }))
}

/// Says so where refits, which go on to the minimum, are held against scores at a head that is not there.
fn note_stopped(evaluate: &Evaluate, subject: &Subject, gradient_norm: f64) {
    if evaluate.at == At::Fitted || !evaluate.refits() || gradient_norm <= SMALL_GRADIENT {
        return;
    }
    let trained = subject.trained.map(|trained| {
        format!(
            "; ascribe rank --damping trained ({trained:.2e}) has those of a training that stops there, for --retrain"
        )
    });
    note!(
        "ascribe: scores are at the run's head, which is short of the minimum that refits go on to (gradient norm {gradient_norm:.1e}): --at fitted has them at that minimum{}",
        trained.unwrap_or_default()
    );
}

/// The name of what is measured without whole groups.
pub(super) const LEAVE_GROUP_OUT: &str = "leave_group_out";

pub(super) struct Work<'a> {
    pub(super) folder: PathBuf,
    pub(super) evaluate: &'a Evaluate,
    pub(super) subject: &'a Subject,
    /// What is trained again instead of fitting heads, where that is asked for.
    again: Option<TransferAgain>,
    /// Where scores are computed.
    pub(super) head: &'a SoftmaxHead,
    /// At its minimum, where anything is fitted again.
    pub(super) fit: Option<&'a FullFit>,
    pub(super) bootstrap: Bootstrap,
    /// The run's own first.
    pub(super) estimators: Vec<Measured>,
    /// Refits and solves that missed their tolerance.
    pub(super) shortfalls: usize,
}

impl Work<'_> {
    pub(super) fn setting(&self) -> Setting<'_> {
        Setting {
            train: self.subject.train.set(),
            queries: self.subject.queries.set(),
            head: self.head,
            l2: self.subject.l2,
            scratch: &self.folder,
        }
    }

    /// Leaves a figure in the folder.
    pub(super) fn draw(&self, figure: &dyn Figure, name: &str) -> Result<()> {
        write(figure, &self.folder, name, &FORMATS, self.evaluate.style).map(|_| ())
    }

    fn ids(&self) -> Ids<'_> {
        Ids {
            train: &self.subject.train.ids,
            queries: &self.subject.queries.ids,
        }
    }

    /// The data, the model and the L2 term that numbers are of.
    pub(super) fn provenance(&self) -> BTreeMap<String, String> {
        let inputs = self.subject.inputs.iter();
        let mut metadata: BTreeMap<String, String> = inputs
            .filter(|input| matches!(input.role.as_str(), "train" | "test" | "model"))
            .map(|input| (format!("digest.{}", input.role), input.digest.clone()))
            .collect();
        metadata.insert("l2".into(), self.subject.l2.to_string());
        metadata
    }

    /// What retrained measurements were made with: those of other data, or another model's, are refused. Under `unit` that of the losses.
    fn metadata(&self, unit: &str) -> BTreeMap<String, String> {
        let mut metadata = self.provenance();
        metadata.insert("measurement".into(), self.subject.measurement.clone());
        metadata.insert(unit.into(), NATS.into());
        metadata
    }

    /// The run's own estimator and those it is compared with.
    pub(super) fn methods(&self) -> Result<Vec<Box<dyn Estimator>>> {
        let name = "run".to_owned();
        let run: Box<dyn Estimator> = match &self.subject.through_blocks {
            Some(through) => Box::new(Fixed {
                name,
                unit: self.subject.options.normalise.unit(),
                scores: through.scores.clone(),
            }),
            None => Box::new(Ranked {
                name,
                options: self.subject.options.clone(),
            }),
        };
        let Evaluate {
            compare,
            checkpoints,
            certify,
            seed,
            ..
        } = self.evaluate;
        let others = compare
            .iter()
            .map(|name: &Name| name.estimator(&self.subject.options, checkpoints, *certify, *seed));
        std::iter::once(Ok(run)).chain(others).collect()
    }

    fn estimate(&mut self, run: &mut RunFolder) -> Result<()> {
        for method in self.methods()? {
            run.stage(&format!("scores: {}", method.name()))?;
            let mut found = measured(&*method, &self.setting())?;
            if found.name == "run" {
                found.estimate.certified = self.subject.certified;
                if let Some(through) = &self.subject.through_blocks {
                    (found.seconds, found.bytes) = (through.seconds, None);
                }
            }
            self.report_solves(&found.name, found.estimate.failures);
            self.estimators.push(found);
        }
        // Beside the numbers that say whether a ranking is right, the one that does not (figure 6).
        let (train, queries) = (&self.subject.train.labels, &self.subject.queries.labels);
        let matches: BTreeMap<&str, OwnClass> = (self.estimators.iter())
            .map(|found| {
                let matches = OwnClass::of(&found.estimate.scores, queries, train);
                (found.name.as_str(), matches)
            })
            .collect();
        run.set_result("class_match", matches)
    }

    /// The run's scores, `[query, train]`.
    fn scores(&self) -> &Array2<f64> {
        &self.estimators[0].estimate.scores
    }

    /// Leave-one-out and LDS.
    fn held_against_retraining(&mut self, run: &mut RunFolder) -> Result<()> {
        let queries = HeadInputs::new(
            &self.subject.queries.features,
            &self.subject.queries.labels,
            DType::F64,
        )?;
        let retrainer = (self.fit).map(|fit| Retrainer::new(fit, &queries, &self.folder));
        let retrainer = retrainer.as_ref();
        let count = self.subject.train.ids.len();
        let (choose, seed) = (self.evaluate.choose(), self.evaluate.seed);
        let mut compared = Vec::new();
        if let Some(number) = self.evaluate.leave_one_out {
            let chosen = left_out_alone(self.scores(), number, choose, seed)?;
            if chosen.len() != number {
                note!("ascribe: leave-one-out: all {count} training images, not {number}");
            }
            let kept: Vec<Kept> = chosen
                .iter()
                .map(|&at| Kept::without(count, &[at]))
                .collect();
            compared.push(self.compare(run, retrainer, "leave_one_out", &kept)?);
        }
        if let Some(number) = self.evaluate.lds {
            let kept = random_subsets(count, number, self.evaluate.share(), seed)?;
            compared.push(self.compare(run, retrainer, "lds", &kept)?);
        }
        self.groups_left_out(run, retrainer)?;
        if let Some(comparison) = compared.last() {
            let figure = QualityAndCost::of(comparison, self.evaluate.lds.is_some());
            self.draw(&figure, "quality_and_cost")?;
        }
        Ok(())
    }

    /// Refits of a head say nothing of scores through residual blocks, which stay where they are in these.
    fn check_retrained(&self, folder: &Path, retrained: &Retrained) -> Result<()> {
        match self.subject.through_blocks.is_some() && retrained.is_of_heads() {
            false => Ok(()),
            true => Err(Error::Conflict {
                path: folder.to_path_buf(),
                reason: "holds heads that were fitted again, and the run's scores go through residual blocks".into(),
                remedy: "give measurements of a whole training, or train again with --retrain SEEDS".into(),
            }),
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
            (None, Some(retrainer)) if !self.evaluate.has_retrained(name) => {
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
        let elsewhere = &self.evaluate.retrained;
        run.set_result(
            &format!("{name}_work"),
            json!({ "refits": retrained.work, "factor_operations": factor, "measurements_from": elsewhere }),
        )?;
        Ok(retrained)
    }

    /// What was retrained elsewhere, or here before.
    fn read(
        &self,
        name: &str,
        kept: &[Kept],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Retrained> {
        let folder = (self.evaluate.retrained.as_deref()).unwrap_or(&self.folder);
        let read = Retrained::read(folder, name, self.ids(), metadata)?;
        self.check_retrained(folder, &read)?;
        let (asked, there) = (kept.len(), read.left_out.len());
        if name == LEAVE_GROUP_OUT {
            check_groups(folder, &read, kept)?;
        } else if asked != there {
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
        let metadata = self.metadata("actual_unit");
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
                ..LeaveOneOut::of(&predicted, &retrained.rises(), ids, &first.agreement)
            };
            self.draw(&figure, name)?;
        }
        run.set_result(name, &comparison)?;
        Ok(comparison)
    }

    /// Counts, and says, how many solves of `name` missed their tolerance.
    pub(super) fn report_solves(&mut self, name: &str, count: usize) {
        if count > 0 {
            note!("ascribe: {name}: {count} solves missed their tolerance");
            self.shortfalls += count;
        }
    }

    pub(super) fn report(&mut self, not_converged: usize, largest: f64) {
        if not_converged > 0 {
            note!(
                "ascribe: {not_converged} refits missed the gradient norm asked for, the worst at {largest:.1e}; raise --gradient-norm or --l2"
            );
            self.shortfalls += not_converged;
        }
    }
}

/// Groups have names, which retrainings without other images have not.
fn check_groups(folder: &Path, read: &Retrained, kept: &[Kept]) -> Result<()> {
    let in_order = |images: &Vec<usize>| images.iter().copied().collect::<BTreeSet<_>>();
    let there = read.left_out.iter().map(in_order);
    match there.eq(kept.iter().map(|kept| in_order(&kept.left_out()))) {
        true => Ok(()),
        false => Err(Error::Conflict {
            path: folder.to_path_buf(),
            reason: "holds measurements of other groups than those of --leave-group-out".into(),
            remedy: "give the groups that it was made with, or leave --retrained out".into(),
        }),
    }
}

/// A line for each block of refits, which begin now.
pub(super) fn progress(name: &str) -> impl Fn(usize, usize) {
    let pace = Pace::default();
    move |done, all| {
        let left = pace.and_left((done, all));
        note!("{name}: {done} of {all} refits{left}");
    }
}
