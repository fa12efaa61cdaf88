//! From the fine-tuned part and its images to finished files: the order of the work, wherever it is computed.

use super::asked::Asked;
use super::outputs::{Finished, Outputs};
use super::part::{FineTunedPart, all};
use super::scorer::{BySolves, Scorer};
use super::scoring::ScoringRecord;
use super::unrolled::{Unrolled, told_of_growth};
use super::{NetworkImages, NetworkJob, NetworkOptions};
use crate::data::little_endian;
use crate::derivative::network::Curvature;
use crate::device::check_full_precision;
use crate::influence::checkpoint::{self, Checkpoint};
use crate::influence::faint::faint;
use crate::influence::scores::ranges;
use crate::influence::undamped::check_spanned;
use crate::influence::{
    Groups, Images, NATS, Progress, Provenance, RankSummary, ScoreHeader, Solves, write_solves,
};
use crate::operator::{Damped, LinearOperator, root_rows};
use crate::solve::{Inverse, Method, Report, Settings, Solver, smallest_eigenvalue};
use crate::{Error, Result};
use candle_core::{DType, Device};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The training images, or the queries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Train,
    Test,
}

/// Losses and predictions of one side.
struct Seen {
    loss: f64,
    accuracy: f64,
    predictions: Vec<usize>,
    /// Whose gradients are too small for the precision.
    faint: Vec<bool>,
}

impl<N: FineTunedPart> NetworkJob<'_, N> {
    fn images_of(&self, side: Side) -> &NetworkImages<'_, N::Examples> {
        match side {
            Side::Train => &self.train,
            Side::Test => &self.test,
        }
    }

    fn labels(&self, side: Side) -> &[usize] {
        N::labels(self.images_of(side).examples)
    }

    /// [`NetworkJob::run`] with options that have been checked.
    pub(super) fn run_checked(
        &self,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<RankSummary> {
        check_full_precision(&self.network.device())?;
        progress.stage("outputs")?;
        let (train, test) = (self.seen(Side::Train)?, self.seen(Side::Test)?);
        let mut summary = self.summary(&train, &test)?;
        progress.stage("solver")?;
        let network = self.network;
        let asked = self.asked(&test)?;
        let counts = (self.train.ids.len(), asked.count());
        let options = &self.options.resolved(network, counts);
        let (l2, damping) = (options.solver.method).shifts(options.l2, options.damping);
        if options.curvature == Curvature::GaussNewton {
            let rows = root_rows(counts.0, network.class_count());
            check_spanned(options.solver.method, l2 + damping, rows, network.size())?;
        }
        let curvature = network.curvature(self.train.examples, options, l2)?;
        let damped = Damped::new(&*curvature, damping)?;
        let (inverse, method) = self.prepared(options.solver.method, &damped, progress)?;
        summary.method = method;
        summary.notes = inverse.notes().into_iter().collect();
        let told = asked.faint(&test.faint).told(network.dtype(), progress);
        summary.notes.extend(told);
        progress.stage("scores")?;
        let mut scorer = BySolves {
            inverse: &*inverse,
            network,
            training: self.train.examples,
            query_rank: options.query_rank,
            at_once: network.queries_at_once(options)?,
        };
        self.score(
            &mut scorer,
            &mut summary,
            (folder, progress),
            (&asked, &train, &test),
        )?;
        drop(inverse);
        if options.curvature == Curvature::Hessian {
            progress.stage("smallest eigenvalue")?;
            // The passes that it keeps go before the other one, with L2 term and damping whatever the method, keeps its own.
            drop(damped);
            drop(curvature);
            let curvature = network.curvature(self.train.examples, options, options.l2)?;
            let damped = Damped::new(&*curvature, options.damping)?;
            let smallest = smallest_eigenvalue(&damped, options.solver.seed)?;
            let missing = match smallest.is_negative() {
                true => smallest.missing_damping(),
                false => 0.0,
            };
            (summary.notes).extend([
                ("smallest_eigenvalue", smallest.value),
                ("missing_damping", missing),
            ]);
            if smallest.at_least.is_finite() {
                let bound = ("smallest_eigenvalue_at_least", smallest.at_least);
                summary.notes.extend([bound]);
            }
        }
        checkpoint::remove(folder)?;
        Ok(summary)
    }

    /// [`NetworkJob::run_unrolled`] with options that have been checked.
    pub(super) fn run_unrolled_checked(
        &self,
        scorer: &mut Unrolled<N>,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<RankSummary> {
        check_full_precision(&self.network.device())?;
        progress.stage("outputs")?;
        let (train, test) = (self.seen(Side::Train)?, self.seen(Side::Test)?);
        let mut summary = self.summary(&train, &test)?;
        let asked = self.asked(&test)?;
        let told = asked
            .faint(&test.faint)
            .told(self.network.dtype(), progress);
        summary.notes.extend(told);
        progress.stage("scores")?;
        let seen = (&asked, &train, &test);
        self.score(scorer, &mut summary, (folder, progress), seen)?;
        checkpoint::remove(folder)?;
        Ok(summary)
    }

    /// What is solved for, of the queries that the network says `seen` of.
    fn asked(&self, seen: &Seen) -> Result<Asked<'_>> {
        let queries = self.ranked_images(Side::Test, seen);
        let grouping = self.options.query_groups.as_ref();
        let groups = grouping.map(|grouping| grouping.groups(queries, self.classes));
        Ok(match (groups.transpose()?, self.options.groups_only) {
            (Some(groups), true) => Asked::Groups(groups),
            (groups, _) => Asked::Queries(self.test.ids, groups),
        })
    }

    /// By `method`, or by the one that goes on in its place.
    fn prepared<'o>(
        &self,
        method: Method,
        operator: &'o dyn LinearOperator,
        progress: &mut dyn Progress,
    ) -> Result<(Box<dyn Inverse + 'o>, Method)> {
        let was_asked_for = self.options.solver.method == method;
        match self.solver(method).prepare(operator) {
            // With next to no damping rounding can leave a matrix without a factor.
            Err(Error::NoFactor(_)) if !was_asked_for => {
                let cg = self.solver(Method::Cg).prepare(operator)?;
                progress.note(
                    "rounding leaves the curvature without a Cholesky factor at this damping: cg solves instead of direct",
                );
                Ok((cg, Method::Cg))
            }
            prepared => Ok((prepared?, method)),
        }
    }

    fn solver(&self, method: Method) -> Box<dyn Solver> {
        let settings = Settings {
            method,
            ..self.options.solver.clone()
        };
        settings.solver(self.network.dtype())
    }

    /// What the network says of one side.
    fn seen(&self, side: Side) -> Result<Seen> {
        let labels = self.labels(side);
        let mut seen = Seen {
            loss: 0.0,
            accuracy: 0.0,
            predictions: Vec::with_capacity(labels.len()),
            faint: Vec::with_capacity(labels.len()),
        };
        let count = labels.len() as f64;
        let positions = all(labels.len());
        let outputs = (self.network).outputs(self.images_of(side).examples, &positions)?;
        for outputs in outputs {
            seen.loss += outputs.losses.iter().sum::<f64>() / count;
            seen.predictions.extend(outputs.predictions);
            seen.faint
                .extend(faint(&outputs.residuals, self.network.dtype(), false)?);
        }
        let right = (seen.predictions.iter().zip(labels)).filter(|(found, label)| found == label);
        seen.accuracy = right.count() as f64 / count;
        Ok(seen)
    }

    fn summary(&self, seen: &Seen, test: &Seen) -> Result<RankSummary> {
        let NetworkJob { network, train, .. } = self;
        let sum = network.gradient(train.examples, &all(train.ids.len()))?;
        let sum = sum.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let mean = (sum / train.ids.len() as f64)?;
        let parameters = network.parameters()?.to_dtype(DType::F64)?;
        let gradient = (mean + (parameters * self.options.l2)?)?;
        Ok(RankSummary {
            train_loss: seen.loss,
            train_accuracy: seen.accuracy,
            test_loss: test.loss,
            test_accuracy: test.accuracy,
            gradient_norm: gradient.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt(),
            unit: NATS,
            solves: Vec::new(),
            method: self.options.solver.method,
            notes: BTreeMap::new(),
            resumed: 0,
            certified: None,
            damping_path: None,
            scoring: None,
            group_scores: None,
            train_groups: self.options.train_groups.as_ref().map(Groups::count),
        })
    }

    fn score(
        &self,
        scorer: &mut dyn Scorer,
        summary: &mut RankSummary,
        (folder, progress): (&Path, &mut dyn Progress),
        (asked, train, test): (&Asked, &Seen, &Seen),
    ) -> Result<()> {
        let header = ScoreHeader {
            queries: asked.ids(),
            training: self.train.ids.to_vec(),
            provenance: Provenance {
                digests: self.digests.clone(),
                unit: summary.unit,
            },
        };
        let provenance = header.provenance.clone();
        let progress = RefCell::new(progress);
        let say = |text: &str| progress.borrow_mut().note(text);
        let of = (&header, asked, scorer.place());
        let mut checkpoint = self.checkpoint(folder, of, (train, test), &say)?;
        let sides = (
            self.ranked_images(Side::Train, train),
            self.ranked_images(Side::Test, test),
        );
        let mut outputs = Outputs::begin(
            self.options.clone(),
            asked,
            (self.network.space(), self.network.dtype()),
            header,
            folder,
        )?;
        let count = asked.count();
        let done_of = |queries: usize| {
            let images = self.train.ids.len();
            (progress.borrow_mut()).scores(asked.set(), queries * images, count * images);
        };
        let mut reports: Vec<Report> = Vec::with_capacity(count);
        let done = checkpoint.resume(&mut outputs, &mut reports)?;
        done_of(done);
        let at_once = scorer.at_once();
        let images = self.train.ids.len();
        for rows in ranges(count, at_once).filter(|rows| rows.start >= done) {
            let right_hand_sides =
                asked.right_hand_sides(self.network, self.test.examples, rows.clone())?;
            // The whole of it is told of once its scores are written.
            let part_done = |share: f64| {
                if share < 1.0 {
                    let scored = (rows.len() as f64 * share * images as f64) as usize;
                    let pairs = rows.start * images + scored;
                    (progress.borrow_mut()).scores(asked.set(), pairs, count * images);
                }
            };
            let name = |row| asked.name(rows.start + row);
            let (pairs, ends) = scorer.scores(right_hand_sides, &name, &part_done)?;
            reports.extend(ends);
            outputs.write(rows.clone(), &pairs)?;
            done_of(rows.end);
            checkpoint.block_is_done(&mut outputs, rows.end, &reports)?;
        }
        let Finished {
            rank_errors,
            growth,
            train_groups,
        } = outputs.finish(folder, sides)?;
        summary.group_scores = train_groups;
        summary.notes.extend(told_of_growth(growth));
        let plan = scorer.plan(at_once.min(count));
        summary.scoring = plan.map(|plan| ScoringRecord { plan, rank_errors });
        summary.resumed = checkpoint.resumed;
        if !scorer.solves() {
            return Ok(());
        }
        summary.solves.push(Solves {
            set: asked.set(),
            ids: asked.ids(),
            groups: asked.group_names(),
            reports,
        });
        let solves: Vec<&Solves> = summary.solves.iter().collect();
        write_solves(&folder.join("solves.parquet"), &solves, &provenance)
    }

    /// Records what is decided by options, parameters, images and what the network says of them.
    fn checkpoint<'a>(
        &self,
        folder: &Path,
        (header, asked, place): (&ScoreHeader, &Asked, String),
        (train, test): (&Seen, &Seen),
        say: &'a dyn Fn(&str),
    ) -> Result<Checkpoint<'a>> {
        let decisive = NetworkOptions {
            record_every: Duration::ZERO,
            ..self.options.clone()
        };
        let decisive = format!("through blocks{place} {decisive:?}");
        let mut material = format!("{header:?} {asked:?}").into_bytes();
        material.extend(little_endian(&self.network.parameters()?)?);
        for (side, seen) in [(Side::Train, train), (Side::Test, test)] {
            let (ids, labels) = (self.images_of(side).ids, self.labels(side));
            material.extend(format!("{ids:?} {labels:?} {:?}", seen.loss).into_bytes());
        }
        let every = self.options.record_every;
        Ok(Checkpoint::keyed(folder, &decisive, &material, every, say))
    }

    fn ranked_images<'a>(&'a self, side: Side, seen: &'a Seen) -> Images<'a> {
        Images {
            ids: self.images_of(side).ids,
            labels: self.labels(side),
            predictions: &seen.predictions,
        }
    }
}
