//! `ascribe evaluate`: a finished run of `ascribe rank` in; how far its scores are true out.
//!
//! [`asked`] is what is asked, [`subject`] takes the run up, [`methods`] names the estimators, [`work`] and [`checks`] ask the questions and fill the folder, [`again`] takes up
//! the transfer to be trained again, [`summary`] prints what came of it all.

mod again;
mod asked;
mod checks;
mod methods;
mod subject;
mod summary;
mod work;

use crate::artefact::{Input, Invocation, Options, RunFolder, effective};
use crate::cli::output::Json;
use crate::evaluate::{Choose, flipped, forget_recorded, random_subsets};
use crate::figure::Style;
use crate::{Error, Result, number_range};
use asked::Asked;
use clap::{Args, ValueEnum};
use methods::Name;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use subject::Subject;

const EXAMPLE: &str = "\
Examples:
  ascribe evaluate robust-rank --out evidence
  ascribe evaluate run --leave-one-out 500 --choose influential --query 8 --out loo
  ascribe evaluate run --lds 100 --compare direct,ekfac,pinv,identity,feature-cosine --out lds
  ascribe evaluate blocks-rank --lds 30 --retrain 3 --out blocks-evidence

A score predicts how much the query's loss rises when the training image is left out; here the
head is fitted again without it (or the model trained again), and the two are compared.

Exit code 3: finished, but a refit or a solve missed its tolerance; run.json says how many.";

/// Options of `ascribe evaluate`.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(after_help = EXAMPLE)]
pub struct Evaluate {
    /// A folder left by ascribe rank
    #[arg(value_name = "RUN")]
    run: PathBuf,
    #[command(flatten)]
    #[serde(flatten)]
    asked: Asked,
    /// Estimators that are held against the same retrainings, besides the run's own
    #[arg(long, value_enum, value_name = "NAME,…", value_delimiter = ',')]
    compare: Vec<Name>,
    /// Heads (weight and bias) along the training, for tracin
    #[arg(long, value_name = "HEAD,…", value_delimiter = ',')]
    checkpoints: Vec<PathBuf>,
    /// Prove so many ranks of exact estimators, for the share that is certified
    #[arg(long, value_name = "K")]
    certify: Option<usize>,
    /// Queries that are evaluated, evenly spaced
    #[arg(long, value_name = "N", default_value_t = 200)]
    queries: usize,
    /// Evaluate these queries instead, by id
    #[arg(
        long,
        value_name = "ID,…",
        value_delimiter = ',',
        conflicts_with = "queries"
    )]
    query: Vec<usize>,
    /// Where scores are computed: at the run's head, or at the one fitted to convergence that refits start from
    #[arg(long, value_enum, default_value_t = At::Run)]
    at: At,
    /// The damping of all estimators (default: the run's)
    #[arg(long, value_name = "LAMBDA", allow_hyphen_values = true)]
    damping: Option<f64>,
    /// The L2 term that heads are fitted again with (default: the run's; not beside --retrain)
    #[arg(long, value_name = "L2", allow_hyphen_values = true)]
    l2: Option<f64>,
    /// Gradient norm at which a refit has converged (a share of that at zero parameters where it is larger than 1)
    #[arg(
        long,
        value_name = "NORM",
        default_value = "1e-10",
        allow_hyphen_values = true
    )]
    gradient_norm: f64,
    /// Decides which images are left out, flipped and drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Bootstrap draws behind every interval
    #[arg(long, value_name = "N", default_value_t = 1000)]
    draws: usize,
    /// Look of the figures: paper (for print), or screen (larger type, heavier lines: slides, web pages)
    #[arg(long, value_name = "STYLE", default_value_t)]
    style: Style,
    /// Folder for the results
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    json: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum At {
    /// The run's head
    Run,
    /// The minimum
    Fitted,
}

impl Evaluate {
    /// Runs the command, which was asked for by `invocation`.
    ///
    /// # Errors
    /// A run that is missing, unfinished or of changed data; options that do not fit it; an output folder that holds something else.
    pub fn run(mut self, invocation: Invocation) -> Result<ExitCode> {
        self.check()?;
        RunFolder::check_place(&self.out)?;
        let subject = subject::open(&mut self)?;
        self.check_against(&subject)?;
        let mut inputs = vec![Input::of_file("run", self.run.join("run.json"))?];
        inputs.extend(subject.inputs.iter().cloned());
        for path in &self.checkpoints {
            inputs.push(Input::of_file("checkpoint", path.clone())?);
        }
        for path in self.asked.retrained_files() {
            inputs.push(Input::of_file("retrained", path)?);
        }
        let options = self.effective(&subject)?;
        let run = RunFolder::open_or_create(&self.out, "evaluate", invocation, options, inputs)?;
        if !run.is_resuming() {
            forget_recorded(run.path())?;
        }
        work::fill(run, &self, &subject)
    }

    /// Whether anything that is asked for takes a head that was fitted again.
    fn fits_heads(&self) -> bool {
        self.at == At::Fitted || self.asked.question_of_heads().is_some()
    }

    fn check(&self) -> Result<()> {
        let few = |option, count: Option<usize>, least: usize| match count {
            Some(count) if count < least => {
                let purpose = match option {
                    "leave-one-out" | "lds" => " for a correlation",
                    _ => "",
                };
                let reason = format!("{count} is too few{purpose}; give {least} or more");
                Err(Error::config(option, reason))
            }
            _ => Ok(()),
        };
        few("leave-one-out", self.asked.leave_one_out, 3)?;
        few("lds", self.asked.lds, 3)?;
        few("retrain", self.asked.retrain, 1)?;
        self.asked.check_retraining()?;
        if self.asked.retrain.is_some() && self.l2.is_some() {
            let reason = "is of heads that are fitted again, and --retrain trains by the transfer's recipe, with its L2 term: leave it out, or --retrain";
            return Err(Error::config("l2", reason));
        }
        self.check_idle()?;
        few("removal", self.asked.removal, 1)?;
        few("duplicates", self.asked.duplicates, 1)?;
        few("queries", Some(self.queries), 1)?;
        few("draws", Some(self.draws), 20)?;
        number_range::between_zero_and_one("gradient-norm", self.gradient_norm)?;
        Ok(())
    }

    /// Refuses what only estimators that are not asked for would take.
    fn check_idle(&self) -> Result<()> {
        let certified = |name: &Name| matches!(name, Name::Direct | Name::Cg);
        let idle = [
            (
                "certify",
                self.certify.is_some() && !self.compare.iter().any(certified),
                "direct or cg",
            ),
            (
                "checkpoints",
                !self.checkpoints.is_empty() && !self.compare.contains(&Name::Tracin),
                "tracin",
            ),
        ];
        match idle.into_iter().find(|(_, idle, _)| *idle) {
            None => Ok(()),
            Some((option, _, estimators)) => {
                let reason =
                    format!("is for --compare {estimators}: ask for it, or leave this out");
                Err(Error::config(option, reason))
            }
        }
    }

    /// Refuses, before anything is written, what this run cannot be asked.
    fn check_against(&self, subject: &Subject) -> Result<()> {
        let count = subject.train.ids.len();
        if let Some(number) = self
            .asked
            .leave_one_out
            .filter(|&number| number > count && self.asked.choose() != Choose::All)
        {
            let reason = format!("{number} is more than the {count} training images there are");
            return Err(Error::config("leave-one-out", reason));
        }
        if self.asked.leave_one_out.is_some() && count < 3 {
            let reason = format!(
                "the run has {count} training images, too few for a correlation; evaluate a run with 3 or more"
            );
            return Err(Error::config("leave-one-out", reason));
        }
        if self.asked.lds.is_some() {
            random_subsets(count, 0, self.asked.share(), self.seed)?;
        }
        if let Some(share) = self.asked.mislabels {
            flipped(&subject.train.labels, share, self.seed)?;
        }
        for (at, name) in self.compare.iter().enumerate() {
            if self.compare[..at].contains(name) {
                let reason = format!("names {} twice; name each once", name.name());
                return Err(Error::config("compare", reason));
            }
            name.estimator(&subject.options, &self.checkpoints, self.certify, self.seed)?
                .check(&subject.head)?;
        }
        Ok(())
    }

    /// Every option with the value it takes effect with.
    fn effective(&self, subject: &Subject) -> Result<Options> {
        effective(&Self {
            asked: self.asked.effective(),
            queries: subject.queries.ids.len(),
            damping: Some(subject.options.damping),
            l2: Some(subject.l2),
            ..self.clone()
        })
    }
}
