//! The questions in order, and what is left of each in the folder.

mod retraining;

use super::methods::Name;
use super::subject::Subject;
use super::{At, Evaluate, again, summary};
use crate::Result;
use crate::artefact::RunFolder;
use crate::cli::output::note_boxes;
use crate::cli::progress::Pace;
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use crate::evaluate::{
    Bootstrap, Estimate, Estimator, Fixed, FullFit, Ids, Measured, OwnClass, Ranked, RefitOptions,
    SMALL_GRADIENT, Setting, TransferAgain, forget_recorded, measured,
};
use crate::figure::{Figure, Format, write};
use crate::influence::NATS;
use candle_core::DType;
use ndarray::Array2;
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
            .asked
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
    run.note_result("shortfalls", shortfalls)?;
    forget_recorded(run.path())?;
    let record = run.finish()?;
    summary::print(&record, evaluate.json.is_asked())?;
    Ok(ExitCode::from(if shortfalls > 0 { 3 } else { 0 }))
}

/// Says so where refits, which go on to the minimum, are held against scores at a head that is not there.
fn note_stopped(evaluate: &Evaluate, subject: &Subject, gradient_norm: f64) {
    if evaluate.at == At::Fitted || !evaluate.asked.refits() || gradient_norm <= SMALL_GRADIENT {
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
        let written = write(figure, &self.folder, name, &FORMATS, self.evaluate.style)?;
        note_boxes(&written);
        Ok(())
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
            self.report_estimate(&found.name, &found.estimate);
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

    /// Says what `name` noted, and how many of its solves missed their tolerance.
    pub(super) fn report_estimate(&mut self, name: &str, estimate: &Estimate) {
        for note in &estimate.notes {
            note!("ascribe: {name}: {note}");
        }
        self.report_solves(name, estimate.failures);
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

/// A line for each block of refits, which begin now.
pub(super) fn progress(name: &str) -> impl Fn(usize, usize) {
    let pace = Pace::default();
    move |done, all| {
        let left = pace.and_left((done, all));
        note!("{name}: {done} of {all} refits{left}");
    }
}
