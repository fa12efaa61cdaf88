//! What an evaluation asks of a run's scores, and which retrainings answer it.

use crate::cli::train_groups::TrainGrouping;
use crate::evaluate::{Choose, Retrained};
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// The name of what is measured without whole groups.
pub(super) const LEAVE_GROUP_OUT: &str = "leave_group_out";

/// Options of what is asked, and of how models are trained again to answer it.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Asked {
    /// Fit the head again without each of N training images in turn (default, where nothing else is asked for: 100 and --lds 50; with
    /// --retrain --lds 50 alone, unless with --keep-batches; with --retrained what that holds of both)
    #[arg(long, value_name = "N")]
    pub(super) leave_one_out: Option<usize>,
    /// Which images are left out [default: random]
    #[arg(long, value_enum, requires = "leave_one_out")]
    pub(super) choose: Option<Choose>,
    /// Linear datamodeling score: fit the head again to N random subsets
    #[arg(long, value_name = "N")]
    pub(super) lds: Option<usize>,
    /// Share of the training images in a subset of --lds (default: 0.5)
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    pub(super) share: Option<f64>,
    /// Fit the head again without each of these groups of training images, such as those of one origin: class, or a CSV file with
    /// the columns train,group
    #[arg(long, value_name = "GROUPS", value_parser = TrainGrouping::parse)]
    pub(super) leave_group_out: Option<TrainGrouping>,
    /// Take away, or keep alone, the most helpful images of so many of the queries, evenly spaced, in growing numbers
    #[arg(long, value_name = "QUERIES")]
    pub(super) removal: Option<usize>,
    /// Flip this share of the training labels, fit the head, and look for them by self-influence
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    pub(super) mislabels: Option<f64>,
    /// Plant copies of so many queries among the training images and see where they are ranked
    #[arg(long, value_name = "N")]
    pub(super) duplicates: Option<usize>,
    /// Rankings at shuffled labels and at a random head: they must differ from the run's
    #[arg(long)]
    pub(super) randomise: bool,
    /// Merge the classes into half as many groups, fit the head, and see whether help comes from the query's own class
    #[arg(long)]
    pub(super) classes: bool,
    /// Take retrained measurements from this folder where it has them: an earlier evaluation, or one made elsewhere
    #[arg(long, value_name = "FOLDER")]
    pub(super) retrained: Option<PathBuf>,
    /// Train the transferred model again on each subset instead of fitting its head: residual blocks and head, by the recorded recipe, with
    /// so many seeds
    #[arg(long, value_name = "SEEDS", conflicts_with = "retrained")]
    pub(super) retrain: Option<usize>,
    /// Leave nothing but the losses of images out of these trainings: they keep their places in their batches, so that order and noise
    /// stay; what --unrolled predicts
    #[arg(long)]
    // Not recorded where it is not given, as in evaluations from before there was such an option.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) keep_batches: bool,
}

impl Asked {
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
            // One image's part in a model that was trained in another order drowns in what that does.
            None => self.retrain.is_none() || self.keep_batches || name == "lds",
        };
        is_usual && self.asks_nothing()
    }

    /// Asks, where nothing is asked, what is usual of a run of so many training images.
    ///
    /// # Errors
    /// What --retrained holds cannot be read.
    pub(super) fn ask_the_usual(&mut self, images: usize) -> Result<()> {
        let [alone, subsets] = ["leave_one_out", "lds"].map(|name| self.is_usual(name));
        if alone {
            self.leave_one_out = Some(self.usual("leave_one_out", images.min(100))?);
        }
        if subsets {
            self.lds = Some(self.usual("lds", 50)?);
        }
        Ok(())
    }

    /// As many as --retrained holds, or else so many.
    fn usual(&self, name: &str, count: usize) -> Result<usize> {
        match &self.retrained {
            Some(folder) => Retrained::count(folder, name),
            None => Ok(count),
        }
    }

    /// The first question that fits heads again, if one does.
    pub(super) fn question_of_heads(&self) -> Option<&'static str> {
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
    pub(super) fn refits(&self) -> bool {
        let held_against = ["leave-one-out", "lds", "leave-group-out", "removal"];
        let question = self.question_of_heads();
        question.is_some_and(|question| held_against.contains(&question))
    }

    /// Refuses options of retraining beside questions that retrain on no subsets.
    pub(super) fn check_retraining(&self) -> Result<()> {
        if self.share.is_some() && self.lds.is_none() && !self.is_usual("lds") {
            let reason = "is for the subsets of --lds: ask for these, or leave it out";
            return Err(Error::config("share", reason));
        }
        if self.keep_batches && self.retrain.is_none() {
            let reason = "is for trainings that --retrain makes: give --retrain 1, or leave it out";
            return Err(Error::config("keep-batches", reason));
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

    /// Whether --retrained holds such measurements.
    pub(super) fn has_retrained(&self, name: &str) -> bool {
        let folder = self.retrained.as_deref();
        folder.is_some_and(|folder| Retrained::exists(folder, name))
    }

    /// The files of --retrained that are taken in place of retraining.
    pub(super) fn retrained_files(&self) -> Vec<PathBuf> {
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
    pub(super) fn choose(&self) -> Choose {
        self.choose.unwrap_or(Choose::Random)
    }

    /// The part of the training images that a subset of --lds keeps, unless measurements decide that.
    pub(super) fn share(&self) -> f64 {
        self.share.unwrap_or(0.5)
    }

    /// With the values that take effect.
    pub(super) fn effective(&self) -> Self {
        let decided_here = |name: &str| !self.has_retrained(name);
        Self {
            choose: decided_here("leave_one_out").then(|| self.choose()),
            share: decided_here("lds").then(|| self.share()),
            ..self.clone()
        }
    }
}
