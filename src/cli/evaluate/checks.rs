//! Checks beside retraining without images: removal and support, what was planted, and models that are other ones.

use super::methods::Name;
use super::work::{Work, progress};
use crate::Result;
use crate::artefact::RunFolder;
use crate::data::evenly_spaced;
use crate::derivative::head::HeadInputs;
use crate::evaluate::{
    Copies, Detection, Estimate, Estimator, FeatureCosine, FullFit, HeldOut, OwnClass, Planted,
    RefitOptions, RemovalPlan, Retrainer, copied, flipped, merged_classes, random_scores,
    same_ranking, self_influence, shuffled_labels, usual_counts,
};
use crate::figure::RemovalCurves;
use crate::influence::Normalise;
use candle_core::DType;
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `--classes` found.
#[derive(Serialize, Deserialize)]
pub(super) struct MergedClasses {
    /// The group of each class, which the head was told instead.
    groups: Vec<usize>,
    /// By estimator.
    pub(super) own_class: BTreeMap<String, OwnClass>,
}

impl Work<'_> {
    pub(super) fn removal(&mut self, run: &mut RunFolder) -> Result<()> {
        let (Some(number), Some(fit)) = (self.evaluate.asked.removal, self.fit) else {
            return Ok(());
        };
        run.stage("removal")?;
        // Sorted test sets begin with one class.
        let chosen = evenly_spaced(self.subject.queries.ids.len(), number);
        tell_of_all("removal", chosen.len(), number);
        let number = chosen.len();
        let asked = self.subject.queries.part(&chosen)?;
        let queries = HeadInputs::new(&asked.features, &asked.labels, DType::F64)?;
        let count = self.subject.train.ids.len();
        let random = random_scores(number, count, self.evaluate.seed);
        let similar = FeatureCosine.estimate(&self.setting())?;
        let part = |scores: &Array2<f64>| scores.select(Axis(0), &chosen);
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
        let retrainer = Retrainer::new(fit, &queries, &self.folder);
        let (refits, work) = retrainer.retrain("removal", &plan.kept(), progress("removal"))?;
        let curves = plan.curves(&refits, &retrainer.before()?, &self.bootstrap);
        self.report(work.not_converged, work.largest_gradient);
        run.note_result("removal", &curves)?;
        run.note_result("removal_queries", &asked.ids)?;
        run.set_result("removal_work", work)?;
        self.draw(&RemovalCurves { curves }, "removal")
    }

    pub(super) fn mislabels(&mut self, run: &mut RunFolder) -> Result<()> {
        let Some(share) = self.evaluate.asked.mislabels else {
            return Ok(());
        };
        run.stage("mislabels")?;
        let classes = self.subject.class_count;
        let (labels, flips) = flipped(&self.subject.train.labels, share, self.evaluate.seed)?;
        let query_labels = self.subject.queries.labels.clone();
        let planted = Planted::relabelled(&self.setting(), labels, query_labels, classes)?;
        let setting = planted.setting(&self.folder);
        let inputs = HeadInputs::new(setting.train.features, planted.labels(), DType::F64)?;
        let outputs = planted.head().outputs(&inputs)?;
        let lengths = inputs.rows().all()?.sqr()?.sum(1)?;
        let norms = (outputs.residuals.sqr()?.sum(1)? * lengths)?
            .sqrt()?
            .to_vec1::<f64>()?;
        let head = planted.head().clone();
        let fit = FullFit::new(&inputs, head, setting.l2, RefitOptions::default())?;
        let held_out = HeldOut::of(&fit, &inputs)?;
        let mut rankers = vec![
            ("held-out loss".to_owned(), held_out.losses),
            ("loss".to_owned(), outputs.losses),
            ("gradient norm".to_owned(), norms),
        ];
        let mut methods = vec![("run".to_owned(), self.subject.options.clone())];
        for name in &self.evaluate.compare {
            let options = name.options(&self.subject.options, None);
            methods.extend(options.map(|options| (name.name(), options)));
        }
        let mut missed = Vec::new();
        for (name, options) in methods {
            if options.normalise == Normalise::Cosine {
                note!(
                    "ascribe: --mislabels: {name} is left out, since an image's cosine with itself is 1 for all of them"
                );
                continue;
            }
            let (own, failures) = self_influence(&setting, &options)?;
            rankers.push((format!("self-influence: {name}"), own));
            missed.push((name, failures));
        }
        let work = held_out.work;
        self.report(work.not_converged, work.largest_gradient);
        for (name, failures) in missed {
            self.report_solves(&format!("mislabels: {name}"), failures);
        }
        let train = &self.subject.train;
        let path = self.folder.join("mislabels.parquet");
        let labels = (&*train.labels, planted.labels());
        Detection::write_suspicions(&path, &train.ids, labels, &rankers, &self.provenance())?;
        let of = |(ranker, suspicion): &(String, Vec<f64>)| {
            Detection::of(ranker, suspicion, &flips, &self.bootstrap)
        };
        let found: Vec<Detection> = rankers.iter().map(of).collect();
        run.set_result("mislabels", found)
    }

    /// Every method that is `wanted`, by its name, on what was planted for `check`.
    fn on(
        &mut self,
        check: &str,
        planted: &Planted,
        wanted: fn(&str) -> bool,
    ) -> Result<Vec<(String, Estimate)>> {
        let setting = planted.setting(&self.folder);
        let mut found = Vec::new();
        let methods = self.methods()?.into_iter();
        for method in methods.filter(|method| wanted(method.name())) {
            found.push((method.name().to_owned(), method.estimate(&setting)?));
        }
        for (name, estimate) in &found {
            self.report_estimate(&format!("{check}: {name}"), estimate);
        }
        Ok(found)
    }

    pub(super) fn duplicates(&mut self, run: &mut RunFolder) -> Result<()> {
        let Some(number) = self.evaluate.asked.duplicates else {
            return Ok(());
        };
        run.stage("duplicates")?;
        let chosen = copied(self.subject.queries.ids.len(), number, self.evaluate.seed);
        tell_of_all("duplicates", chosen.len(), number);
        let planted = Planted::with_copies(&self.setting(), &chosen)?;
        let ids = chosen.iter().map(|&at| self.subject.queries.ids[at]);
        run.set_result("duplicate_queries", ids.collect::<Vec<_>>())?;
        let originals = self.subject.train.ids.len();
        let found: BTreeMap<String, Copies> = self
            .on("duplicates", &planted, |_| true)?
            .into_iter()
            .map(|(name, estimate)| (name, Copies::of(&estimate.scores, originals)))
            .collect();
        run.set_result("duplicates", found)
    }

    pub(super) fn randomise(&mut self, run: &mut RunFolder) -> Result<()> {
        if !self.evaluate.asked.randomise {
            return Ok(());
        }
        run.stage("randomise")?;
        self.tell_of_checkpoints("randomise");
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
            let others = self.on(check, planted, is_of_the_head)?;
            let own = self.estimators.iter();
            let pairs = own
                .filter(|estimator| is_of_the_head(&estimator.name))
                .zip(others);
            let same: BTreeMap<String, f64> = pairs
                .map(|(own, (name, other))| {
                    (name, same_ranking(&own.estimate.scores, &other.scores))
                })
                .collect();
            found.insert(*check, same);
        }
        run.set_result("randomise", found)
    }

    pub(super) fn classes(&mut self, run: &mut RunFolder) -> Result<()> {
        if !self.evaluate.asked.classes {
            return Ok(());
        }
        run.stage("classes")?;
        self.tell_of_checkpoints("classes");
        let (train, queries) = (&self.subject.train.labels, &self.subject.queries.labels);
        let groups = merged_classes(train, self.subject.class_count, self.evaluate.seed);
        let merge = |labels: &[usize]| {
            labels
                .iter()
                .map(|&label| groups[label])
                .collect::<Vec<_>>()
        };
        let count = groups.iter().max().map_or(2, |most| most + 1);
        let planted = Planted::relabelled(&self.setting(), merge(train), merge(queries), count)?;
        let own_class = self
            .on("classes", &planted, is_of_the_head)?
            .into_iter()
            .map(|(name, estimate)| (name, OwnClass::of(&estimate.scores, queries, train)))
            .collect();
        run.set_result("classes", MergedClasses { groups, own_class })
    }

    /// Says what is left out of a check with another head.
    fn tell_of_checkpoints(&self, check: &str) {
        if self.evaluate.compare.contains(&Name::Tracin) {
            note!(
                "ascribe: --{check}: tracin is left out, since the heads of --checkpoints stay as they are"
            );
        }
    }
}

/// Says where fewer queries than were asked for are all that there are.
fn tell_of_all(check: &str, all: usize, asked: usize) {
    if all < asked {
        note!("ascribe: {check}: all {all} queries, not {asked}");
    }
}

/// Whether an estimator's scores are of the head that it is given, and not of checkpoints that it brings.
fn is_of_the_head(name: &str) -> bool {
    name != Name::Tracin.name()
}
