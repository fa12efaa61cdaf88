//! `ascribe evaluate`: a finished run of `ascribe rank` in; how far its scores are true out.
//!
//! [`subject`] takes the run up, [`methods`] names the estimators, [`work`] and [`checks`] ask the questions and fill the folder, [`again`] takes up
//! the transfer to be trained again, [`summary`] prints what came of it all.

mod again;
mod checks;
mod methods;
mod subject;
mod summary;
mod work;

use crate::artefact::{Input, Invocation, Options, RunFolder};
use crate::cli::output::Json;
use crate::cli::train_groups::TrainGrouping;
use crate::evaluate::{Choose, Retrained, flipped, random_subsets};
use crate::figure::Style;
use crate::{Error, Result, number_range};
use clap::{Args, ValueEnum};
use methods::Name;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use work::LEAVE_GROUP_OUT;

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
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Evaluate {
    /// A folder left by ascribe rank
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Fit the head again without each of N training images in turn (default, where nothing else is asked for: 100 and --lds 50; with
    /// --retrain --lds 50 alone; with --retrained what that holds of both)
    #[arg(long, value_name = "N")]
    leave_one_out: Option<usize>,
    /// Which images are left out [default: random]
    #[arg(long, value_enum, requires = "leave_one_out")]
    choose: Option<Choose>,
    /// Linear datamodeling score: fit the head again to N random subsets
    #[arg(long, value_name = "N")]
    lds: Option<usize>,
    /// Share of the training images in a subset of --lds (default: 0.5)
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    share: Option<f64>,
    /// Fit the head again without each of these groups of training images, as those of one origin: class, or a CSV file with the
    /// columns train,group
    #[arg(long, value_name = "GROUPS", value_parser = TrainGrouping::parse)]
    leave_group_out: Option<TrainGrouping>,
    /// Take away, or keep alone, the most helpful images of so many of the queries, evenly spaced, in growing numbers
    #[arg(long, value_name = "QUERIES")]
    removal: Option<usize>,
    /// Flip this share of the training labels, fit the head, and look for them by self-influence
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    mislabels: Option<f64>,
    /// Plant copies of so many queries among the training images and see where they are ranked
    #[arg(long, value_name = "N")]
    duplicates: Option<usize>,
    /// Rankings at shuffled labels and at a random head: they must differ from the run's
    #[arg(long)]
    randomise: bool,
    /// Merge the classes into half as many groups, fit the head, and see whether help comes from the query's own class
    #[arg(long)]
    classes: bool,
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
    /// Take retrained measurements from this folder where it has them: an earlier evaluation, or one made elsewhere
    #[arg(long, value_name = "FOLDER")]
    retrained: Option<PathBuf>,
    /// Train the transferred model again on each subset instead of fitting its head: residual blocks and head, by the recorded recipe, with
    /// so many seeds
    #[arg(long, value_name = "SEEDS", conflicts_with = "retrained")]
    retrain: Option<usize>,
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
    json: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
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
        let subject = subject::open(&mut self)?;
        self.check_against(&subject)?;
        let mut inputs = vec![Input::of_file("run", self.run.join("run.json"))?];
        inputs.extend(subject.inputs.iter().cloned());
        for path in &self.checkpoints {
            inputs.push(Input::of_file("checkpoint", path.clone())?);
        }
        for path in self.retrained_files() {
            inputs.push(Input::of_file("retrained", path)?);
        }
        let options = self.effective(&subject);
        let run = RunFolder::open_or_create(&self.out, "evaluate", invocation, options, inputs)?;
        work::fill(run, &self, &subject)
    }

    fn asks_nothing(&self) -> bool {
        self.leave_one_out.is_none()
            && self.lds.is_none()
            && self.leave_group_out.is_none()
            && self.removal.is_none()
            && self.mislabels.is_none()
            && self.duplicates.is_none()
            && !self.randomise
            && !self.classes
    }

    /// Whether such retrainings are asked for where nothing else is: those that --retrained holds, else both.
    fn is_usual(&self, name: &str) -> bool {
        let is_usual = match &self.retrained {
            Some(folder) => Retrained::exists(folder, name),
            // One image's part in a model that was trained anew drowns in what the seed does.
            None => self.retrain.is_none() || name == "lds",
        };
        is_usual && self.asks_nothing()
    }

    /// Asks, where nothing is asked, what is usual of a run of so many training images.
    fn ask_the_usual(&mut self, images: usize) {
        let [alone, subsets] = ["leave_one_out", "lds"].map(|name| self.is_usual(name));
        if alone {
            self.leave_one_out = Some(images.min(100));
        }
        if subsets {
            self.lds = Some(50);
        }
    }

    /// The first question that fits heads again, if one does.
    fn question_of_heads(&self) -> Option<&'static str> {
        let here = |name: &str| self.retrain.is_none() && !self.has_retrained(name);
        let alone = self.leave_one_out.is_some() && here("leave_one_out");
        let groups = self.leave_group_out.is_some() && here(LEAVE_GROUP_OUT);
        let questions = [
            ("leave-one-out", alone),
            ("lds", self.lds.is_some() && here("lds")),
            ("leave-group-out", groups),
            ("removal", self.removal.is_some()),
            ("mislabels", self.mislabels.is_some()),
            ("duplicates", self.duplicates.is_some()),
            ("randomise", self.randomise),
            ("classes", self.classes),
        ];
        let found = questions.into_iter().find(|(_, asked)| *asked);
        found.map(|(option, _)| option)
    }

    /// Whether scores are held against heads that are fitted again here; questions of planted sets fit a head of their own.
    fn refits(&self) -> bool {
        let held_against = ["leave-one-out", "lds", "leave-group-out", "removal"];
        let question = self.question_of_heads();
        question.is_some_and(|question| held_against.contains(&question))
    }

    /// Whether anything that is asked for takes a head that was fitted again.
    fn fits_heads(&self) -> bool {
        self.at == At::Fitted || self.question_of_heads().is_some()
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
        few("leave-one-out", self.leave_one_out, 3)?;
        few("lds", self.lds, 3)?;
        few("retrain", self.retrain, 1)?;
        self.check_retraining()?;
        self.check_idle()?;
        few("removal", self.removal, 1)?;
        few("duplicates", self.duplicates, 1)?;
        few("queries", Some(self.queries), 1)?;
        few("draws", Some(self.draws), 20)?;
        number_range::between_zero_and_one("gradient-norm", self.gradient_norm)?;
        Ok(())
    }

    /// Refuses options of retraining beside questions that retrain on no subsets.
    fn check_retraining(&self) -> Result<()> {
        if self.share.is_some() && self.lds.is_none() && !self.is_usual("lds") {
            let reason = "is for the subsets of --lds: ask for these, or leave it out";
            return Err(Error::config("share", reason));
        }
        if self.retrain.is_some() && self.l2.is_some() {
            let reason = "is of heads that are fitted again, and --retrain trains by the transfer's recipe, with its L2 term: leave it out, or --retrain";
            return Err(Error::config("l2", reason));
        }
        let retrains = self.leave_one_out.is_some()
            || self.lds.is_some()
            || self.leave_group_out.is_some()
            || self.asks_nothing();
        let given = [
            ("retrain", self.retrain.is_some()),
            ("retrained", self.retrained.is_some()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given && !retrains) {
            let reason = "is for what --leave-one-out, --lds and --leave-group-out leave out: ask for one of these, or leave it out";
            return Err(Error::config(option, reason));
        }
        let Some(folder) = &self.retrained else {
            return Ok(());
        };
        let decided = [
            ("share", self.share.is_some() && self.has_retrained("lds")),
            (
                "choose",
                self.choose.is_some() && self.has_retrained("leave_one_out"),
            ),
        ];
        if let Some((option, _)) = decided.into_iter().find(|(_, decided)| *decided) {
            let reason = format!(
                "the images that are left out are those of {}: leave it out, or --retrained",
                folder.display()
            );
            return Err(Error::config(option, reason));
        }
        let [alone, subsets, groups] =
            ["leave_one_out", "lds", LEAVE_GROUP_OUT].map(|name| self.has_retrained(name));
        if alone || subsets || groups && !self.asks_nothing() {
            return Ok(());
        }
        let found = match groups {
            true => {
                "measurements of leave-group-out alone: name their groups with --leave-group-out"
            }
            false => {
                "no retrained measurements of leave-one-out, lds or leave-group-out: correct the path"
            }
        };
        let reason = format!("{} holds {found}, or leave it out", folder.display());
        Err(Error::config("retrained", reason))
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

    /// Whether --retrained holds such measurements.
    fn has_retrained(&self, name: &str) -> bool {
        let folder = self.retrained.as_deref();
        folder.is_some_and(|folder| Retrained::exists(folder, name))
    }

    /// The files of --retrained that are taken in place of retraining.
    fn retrained_files(&self) -> Vec<PathBuf> {
        let asked = [
            ("leave_one_out", self.leave_one_out.is_some()),
            ("lds", self.lds.is_some()),
            (LEAVE_GROUP_OUT, self.leave_group_out.is_some()),
        ];
        let taken = |(name, asked): (&str, bool)| {
            let folder = self.retrained.as_deref();
            let folder = folder.filter(|folder| asked && Retrained::exists(folder, name));
            folder.map(|folder| Retrained::files(folder, name))
        };
        asked.into_iter().filter_map(taken).flatten().collect()
    }

    /// Which images are left out alone, unless measurements decide that.
    fn choose(&self) -> Choose {
        self.choose.unwrap_or(Choose::Random)
    }

    /// The part of the training images that a subset of --lds keeps, unless measurements decide that.
    fn share(&self) -> f64 {
        self.share.unwrap_or(0.5)
    }

    /// Refuses, before anything is written, what this run cannot be asked.
    fn check_against(&self, subject: &subject::Subject) -> Result<()> {
        let count = subject.train.ids.len();
        if let Some(number) = self
            .leave_one_out
            .filter(|&number| number > count && self.choose() != Choose::All)
        {
            let reason = format!("{number} is more than the {count} training images there are");
            return Err(Error::config("leave-one-out", reason));
        }
        if self.leave_one_out.is_some() && count < 3 {
            let reason = format!(
                "the run has {count} training images, too few for a correlation; evaluate a run with 3 or more"
            );
            return Err(Error::config("leave-one-out", reason));
        }
        if self.lds.is_some() {
            random_subsets(count, 0, self.share(), self.seed)?;
        }
        if let Some(share) = self.mislabels {
            flipped(&subject.train.labels, subject.class_count, share, self.seed)?;
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
    fn effective(&self, subject: &subject::Subject) -> Options {
        let decided_here = |name: &str| !self.has_retrained(name);
        let choose = decided_here("leave_one_out").then(|| self.choose());
        let share = decided_here("lds").then(|| self.share());
        let values = [
            ("run", json!(self.run)),
            ("leave-one-out", json!(self.leave_one_out)),
            ("choose", json!(choose)),
            ("lds", json!(self.lds)),
            ("share", json!(share)),
            ("leave-group-out", json!(self.leave_group_out)),
            ("removal", json!(self.removal)),
            ("mislabels", json!(self.mislabels)),
            ("duplicates", json!(self.duplicates)),
            ("randomise", json!(self.randomise)),
            ("classes", json!(self.classes)),
            ("compare", json!(self.compare)),
            ("checkpoints", json!(self.checkpoints)),
            ("certify", json!(self.certify)),
            ("queries", json!(subject.queries.ids.len())),
            ("query", json!(self.query)),
            ("at", json!(self.at)),
            ("damping", json!(subject.options.damping)),
            ("l2", json!(subject.l2)),
            ("retrained", json!(self.retrained)),
            ("retrain", json!(self.retrain)),
            ("gradient-norm", json!(self.gradient_norm)),
            ("seed", json!(self.seed)),
            ("draws", json!(self.draws)),
            ("style", json!(self.style.to_string())),
            ("out", json!(self.out)),
            ("json", json!(self.json.is_asked())),
        ];
        let values = values.into_iter();
        values
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}
