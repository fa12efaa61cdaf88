//! The questions in order, and what is left of each in the folder.

use super::methods::Name;
use super::subject::Subject;
use super::{At, Evaluate, summary};
use crate::Result;
use crate::artefact::RunFolder;
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use crate::evaluate::{
    Bootstrap, Comparison, Copies, Detection, Estimate, Estimator, Fixed, FullFit, Ids, Kept,
    Measured, OwnClass, Planted, Ranked, RefitOptions, RemovalPlan, Retrained, Retrainer, Setting,
    copied, flipped, left_out_alone, measured, merged_classes, random_scores, random_subsets,
    same_ranking, self_influence, shuffled_labels, usual_counts,
};
use crate::figure::{self, Format, LeaveOneOut, QualityAndCost, RemovalCurves};
use candle_core::DType;
use ndarray::{Array2, s};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    let options = RefitOptions {
        gradient_norm: evaluate.gradient_norm,
        ..RefitOptions::default()
    };
    let fit = FullFit::new(&training, subject.head.clone(), subject.l2, options)?;
    let head = match evaluate.at {
        At::Run => &subject.head,
        At::Fitted => &fit.head,
    };
    let at_run = subject
        .head
        .to_dtype(DType::F64)?
        .objective(&training, subject.l2)?
        .1;
    let at_run = at_run.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
    run.set_result(
        "fit",
        json!({ "gradient_norm_of_the_run": at_run, "gradient_norm": fit.gradient_norm }),
    )?;
    let mut work = Work {
        folder: run.path().to_path_buf(),
        evaluate,
        subject,
        head,
        fit: &fit,
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
    let record = run.finish()?;
    summary::print(&record, evaluate.json);
    Ok(ExitCode::from(if shortfalls > 0 { 3 } else { 0 }))
}

struct Work<'a> {
    folder: PathBuf,
    evaluate: &'a Evaluate,
    subject: &'a Subject,
    /// Where scores are computed.
    head: &'a SoftmaxHead,
    fit: &'a FullFit,
    bootstrap: Bootstrap,
    /// The run's own first.
    estimators: Vec<Measured>,
    /// Refits and solves that missed their tolerance.
    shortfalls: usize,
}

impl Work<'_> {
    fn setting(&self) -> Setting<'_> {
        Setting {
            train: self.subject.train.set(),
            queries: self.subject.queries.set(),
            head: self.head,
            l2: self.subject.l2,
            scratch: &self.folder,
        }
    }

    fn ids(&self) -> Ids<'_> {
        Ids {
            train: &self.subject.train.ids,
            queries: &self.subject.queries.ids,
        }
    }

    /// What retrained measurements were made with: those of other data are refused.
    fn metadata(&self) -> BTreeMap<String, String> {
        let inputs = self.subject.inputs.iter();
        let mut metadata: BTreeMap<String, String> = inputs
            .filter(|input| matches!(input.role.as_str(), "train" | "test"))
            .map(|input| (format!("digest.{}", input.role), input.digest.clone()))
            .collect();
        metadata.insert("l2".into(), self.subject.l2.to_string());
        metadata.insert("unit".into(), "nats".into());
        metadata
    }

    /// The run's own estimator and those it is compared with.
    fn methods(&self) -> Result<Vec<Box<dyn Estimator>>> {
        let name = "run".to_owned();
        let run: Box<dyn Estimator> = match &self.subject.through_blocks {
            Some(scores) => Box::new(Fixed {
                name,
                scores: scores.clone(),
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
            }
            if found.estimate.failures > 0 {
                let (count, name) = (found.estimate.failures, &found.name);
                eprintln!("ascribe: {name}: {count} solves missed their tolerance");
                self.shortfalls += count;
            }
            self.estimators.push(found);
        }
        // Beside the numbers that say whether a ranking is right, the one that does not (figure 6).
        let (train, queries) = (&self.subject.train.labels, &self.subject.queries.labels);
        let matches: BTreeMap<&str, OwnClass> = (self.estimators.iter())
            .map(|found| {
                let matches = OwnClass::of(&found.estimate.scores, queries, train, &self.bootstrap);
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
        let retrainer = Retrainer::new(self.fit, &queries, &self.folder);
        let count = self.subject.train.ids.len();
        let Evaluate {
            choose,
            share,
            seed,
            ..
        } = *self.evaluate;
        let mut compared = Vec::new();
        if let Some(number) = self.evaluate.leave_one_out {
            let chosen = left_out_alone(self.scores(), number, choose, seed)?;
            let kept: Vec<Kept> = chosen
                .iter()
                .map(|&at| Kept::without(count, &[at]))
                .collect();
            compared.push(self.compare(run, &retrainer, "leave_one_out", &kept)?);
        }
        if let Some(number) = self.evaluate.lds {
            let kept = random_subsets(count, number, share, seed)?;
            compared.push(self.compare(run, &retrainer, "lds", &kept)?);
        }
        if let Some(comparison) = compared.last() {
            let figure = QualityAndCost::of(comparison, self.evaluate.lds.is_some());
            figure::write(&figure, &self.folder, "quality_and_cost", &FORMATS)?;
        }
        Ok(())
    }

    /// Retrains, or takes up what was retrained, and holds every estimator against it.
    fn compare(
        &mut self,
        run: &mut RunFolder,
        retrainer: &Retrainer,
        name: &'static str,
        kept: &[Kept],
    ) -> Result<Comparison> {
        run.stage(name)?;
        let metadata = self.metadata();
        let elsewhere = self.evaluate.retrained.as_deref();
        let retrained = match elsewhere.filter(|folder| Retrained::exists(folder, name)) {
            Some(folder) => Retrained::read(folder, name, self.ids(), &metadata)?,
            None => retrainer.table(name, kept, |done, all| progress(name, done, all))?,
        };
        retrained.write(&self.folder, name, self.ids(), &metadata)?;
        let short = retrained.refits.iter().filter(|end| !end.converged);
        let worst = (short.clone()).fold(0.0, |most: f64, end| most.max(end.gradient_norm));
        self.report(short.count(), worst);
        let comparison = Comparison::of(&self.estimators, &retrained, &self.bootstrap)?;
        let changes = self.folder.join(format!("{name}.parquet"));
        Comparison::write_changes(
            &changes,
            &self.estimators,
            &retrained,
            self.ids(),
            &metadata,
        )?;
        if name == "leave_one_out" {
            let first = &comparison.rows[0];
            let predicted = retrained.predicted(self.scores());
            let figure = LeaveOneOut::of(&predicted, &retrained.rises(), &first.agreement);
            figure::write(&figure, &self.folder, name, &FORMATS)?;
        }
        let factor = if retrained.work.refits > 0 {
            retrainer.factor_operations()
        } else {
            0.0
        };
        run.set_result(name, &comparison)?;
        run.set_result(
            &format!("{name}_work"),
            json!({ "refits": retrained.work, "factor_operations": factor, "measurements_from": elsewhere }),
        )?;
        retrainer.forget(name)?;
        Ok(comparison)
    }

    fn report(&mut self, not_converged: usize, largest: f64) {
        if not_converged > 0 {
            eprintln!(
                "ascribe: {not_converged} refits missed the gradient norm asked for, the worst at {largest:.1e}; raise --gradient-norm or --l2"
            );
            self.shortfalls += not_converged;
        }
    }

    fn removal(&mut self, run: &mut RunFolder) -> Result<()> {
        let Some(number) = self.evaluate.removal else {
            return Ok(());
        };
        run.stage("removal")?;
        let number = number.min(self.subject.queries.ids.len());
        let rows: Vec<u32> = (0..number as u32).collect();
        let features = self.subject.queries.features.select(&rows)?;
        let queries = HeadInputs::new(
            &features,
            &self.subject.queries.labels[..number],
            DType::F64,
        )?;
        let count = self.subject.train.ids.len();
        let random = random_scores(number, count, self.evaluate.seed);
        let similar = crate::evaluate::FeatureCosine.estimate(&self.setting())?;
        let part = |scores: &Array2<f64>| scores.slice(s![..number, ..]).to_owned();
        let mut scores: Vec<(String, Array2<f64>)> = (self.estimators.iter())
            .map(|found| (found.name.clone(), part(&found.estimate.scores)))
            .collect();
        if scores.iter().all(|(name, _)| name != "feature-cosine") {
            scores.push(("feature-cosine".into(), part(&similar.scores)));
        }
        scores.push(("random".into(), random));
        let plan = RemovalPlan {
            methods: scores
                .iter()
                .map(|(name, scores)| (name.as_str(), scores))
                .collect(),
            counts: usual_counts(count),
        };
        let retrainer = Retrainer::new(self.fit, &queries, &self.folder);
        let (refits, work) = retrainer.retrain("removal", &plan.kept(), |done, all| {
            progress("removal", done, all)
        })?;
        let curves = plan.curves(&refits, &retrainer.before()?, &self.bootstrap);
        self.report(work.not_converged, work.largest_gradient);
        run.set_result("removal", &curves)?;
        run.set_result("removal_work", work)?;
        figure::write(&RemovalCurves { curves }, &self.folder, "removal", &FORMATS)?;
        retrainer.forget("removal")
    }

    fn mislabels(&mut self, run: &mut RunFolder) -> Result<()> {
        let Some(share) = self.evaluate.mislabels else {
            return Ok(());
        };
        run.stage("mislabels")?;
        let classes = self.subject.class_count;
        let (labels, flips) = flipped(
            &self.subject.train.labels,
            classes,
            share,
            self.evaluate.seed,
        )?;
        let query_labels = self.subject.queries.labels.clone();
        let planted = Planted::relabelled(&self.setting(), labels, query_labels, classes)?;
        let setting = planted.setting(&self.folder);
        let inputs = HeadInputs::new(setting.train.features, planted.labels(), DType::F64)?;
        let outputs = planted.head().outputs(&inputs)?;
        let lengths = inputs.rows().all()?.sqr()?.sum(1)?;
        let norms = (outputs.residuals.sqr()?.sum(1)? * lengths)?
            .sqrt()?
            .to_vec1::<f64>()?;
        let of = |ranker: &str, suspicion: &[f64]| {
            Detection::of(ranker, suspicion, &flips, &self.bootstrap)
        };
        let mut found = vec![of("loss", &outputs.losses), of("gradient norm", &norms)];
        let own = self_influence(&setting, &self.subject.options)?;
        found.push(of("self-influence: run", &own));
        for name in &self.evaluate.compare {
            if let Some(options) = name.options(&self.subject.options, None) {
                let own = self_influence(&setting, &options)?;
                found.push(of(&format!("self-influence: {}", name.name()), &own));
            }
        }
        run.set_result("mislabels", found)
    }

    /// Every method on a setting of its own.
    fn on(&self, setting: &Setting) -> Result<Vec<(String, Estimate)>> {
        let methods = self.methods()?;
        let run =
            |method: &Box<dyn Estimator>| Ok((method.name().to_owned(), method.estimate(setting)?));
        methods.iter().map(run).collect()
    }

    fn duplicates(&mut self, run: &mut RunFolder) -> Result<()> {
        let Some(number) = self.evaluate.duplicates else {
            return Ok(());
        };
        run.stage("duplicates")?;
        let chosen = copied(self.subject.queries.ids.len(), number, self.evaluate.seed);
        let planted = Planted::with_copies(&self.setting(), &chosen)?;
        let originals = self.subject.train.ids.len();
        let found: BTreeMap<String, Copies> =
            (self.on(&planted.setting(&self.folder))?.into_iter())
                .map(|(name, estimate)| {
                    (
                        name,
                        Copies::of(&estimate.scores, originals, &self.bootstrap),
                    )
                })
                .collect();
        run.set_result("duplicates", found)
    }

    fn randomise(&mut self, run: &mut RunFolder) -> Result<()> {
        if !self.evaluate.randomise {
            return Ok(());
        }
        run.stage("randomise")?;
        let (labels, seed) = (&self.subject.train.labels, self.evaluate.seed);
        let labels = shuffled_labels(labels, seed);
        let query_labels = self.subject.queries.labels.clone();
        let classes = self.subject.class_count;
        let checks = [
            (
                "shuffled labels",
                Planted::relabelled(&self.setting(), labels, query_labels, classes)?,
            ),
            (
                "random head",
                Planted::at_random_head(&self.setting(), seed)?,
            ),
        ];
        let mut found = BTreeMap::new();
        for (check, planted) in &checks {
            let others = self.on(&planted.setting(&self.folder))?;
            let pairs = self.estimators.iter().zip(others);
            let same: BTreeMap<String, _> = pairs
                .map(|(own, (name, other))| {
                    (
                        name,
                        same_ranking(&own.estimate.scores, &other.scores, &self.bootstrap),
                    )
                })
                .collect();
            found.insert(*check, same);
        }
        run.set_result("randomise", found)
    }

    fn classes(&mut self, run: &mut RunFolder) -> Result<()> {
        if !self.evaluate.classes {
            return Ok(());
        }
        run.stage("classes")?;
        let groups = merged_classes(self.subject.class_count, self.evaluate.seed);
        let merge = |labels: &[usize]| {
            labels
                .iter()
                .map(|&label| groups[label])
                .collect::<Vec<_>>()
        };
        let (train, queries) = (&self.subject.train.labels, &self.subject.queries.labels);
        let count = groups.iter().max().map_or(2, |most| most + 1);
        let planted = Planted::relabelled(&self.setting(), merge(train), merge(queries), count)?;
        let found: BTreeMap<String, OwnClass> =
            (self.on(&planted.setting(&self.folder))?.into_iter())
                .map(|(name, estimate)| {
                    (
                        name,
                        OwnClass::of(&estimate.scores, queries, train, &self.bootstrap),
                    )
                })
                .collect();
        run.set_result("classes", json!({ "groups": groups, "own_class": found }))
    }
}

/// A line for each quarter of the work.
fn progress(name: &str, done: usize, all: usize) {
    eprintln!("{name}: {done} of {all} refits");
}
