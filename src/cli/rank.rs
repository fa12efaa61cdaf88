//! `ascribe rank`: a transferred model, or features and a head, in; a run folder with scores and rankings out.
//!
//! [`transferred`] and [`material`] read what is scored, [`work`] scores it and fills the run folder.

mod damping;
mod examples;
mod features_left;
mod material;
mod measurement;
mod opening;
mod path;
mod precision;
mod query_groups;
mod record;
mod recorded;
mod score_progress;
mod settings;
mod through_blocks;
mod transferred;
mod unrolled;
mod work;
mod workplace;

use crate::artefact::{GIB, Invocation, RunFolder, keep_freed_memory};
use crate::cli::output::Json;
use crate::cli::train_groups::{TrainGrouping, note_whole_classes};
use crate::data::HeadFile;
use crate::derivative::network::Curvature;
use crate::device::DeviceChoice;
use crate::figure::Style;
use crate::influence::{Correction, Grouping, Measurement, Normalise, resident_limit};
use crate::model::Blocks;
use crate::solve::Method;
use crate::{Error, Result};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use workplace::Workplace;

use damping::Damping;
pub(super) use examples::labels_of;
pub(super) use material::{Material, Side};
pub(super) use measurement::query_labels;
use precision::Precision;
pub(super) use recorded::{Recorded, check_has_rankings, reopen};
pub(super) use transferred::Transferred;

/// λ where none is given, of a head without an L2 term.
const HEAD_DAMPING: f64 = 1e-3;
/// λ where none is given, of scores through blocks (`analysis/through-blocks/damping`).
const BLOCKS_DAMPING: f64 = 1e-2;

const EXAMPLE: &str = "\
Examples:
  ascribe rank --model robust --out robust-rank
  ascribe rank --train train.npz --test test.npz --head head.safetensors --l2 1e-3 --out run
  ascribe rank --train train.npz --test test.npz --l2 1e-3 --dry-run --out run

Scores are in nats, [query, train], positive = helpful: leaving that training image out is
predicted to raise the query's loss by that much.

Exit code 3: finished, but the solver missed its tolerance for some query;
solves.parquet says which.";

/// Options of `ascribe rank`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(after_help = EXAMPLE)]
pub struct Rank {
    /// A folder left by ascribe transfer or ascribe adopt: training images, head, L2 term and classes are taken from there
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["train", "head", "l2"])]
    model: Option<PathBuf>,
    /// Features and labels of the training images (.npz, .safetensors, or a folder with features.npy and labels.npy)
    #[arg(long, value_name = "FEATURES", requires = "test")]
    train: Option<PathBuf>,
    /// The queries: features and labels, or with --model images (default there: the test images of the transfer); without labels
    /// for --measurement prediction
    #[arg(long, value_name = "DATA")]
    test: Option<PathBuf>,
    /// Where a query's loss is measured. At the prediction, queries need no labels (a folder of images, features alone; any that
    /// are there are not looked at), scores say what that prediction rests on, and each counts as an image of that class
    #[arg(long, value_enum, default_value_t)]
    #[serde(skip)]
    measurement: Measurement,
    /// Weight [C, d] and bias [C] of the classifier (.npz or .safetensors); fitted with --l2 where not given
    #[arg(long, value_name = "HEAD")]
    head: Option<PathBuf>,
    /// The L2 term l2/2·‖θ‖² that the head was trained with, weights and bias alike; part of the curvature (default: what the
    /// head's file says, or 0; needed, above 0, where the head is fitted; a --model brings its own)
    #[arg(long, value_name = "L2", allow_hyphen_values = true)]
    l2: Option<f64>,
    /// λ, added to every eigenvalue of the curvature, of the head or of the --blocks; a unit as that of --l2, but no part of the
    /// loss (default: 0 for a head that was fitted with an L2 term, which is the influence on its own loss, or else 1e-3; 1e-2 with
    /// --blocks). trained: (1 − momentum) / Σ rate over the steps of the --model's transfer, for a head that stopped short of the
    /// minimum of its loss. identity and pinv do without
    #[arg(long, value_name = "LAMBDA", value_parser = Damping::parse, allow_hyphen_values = true)]
    #[serde(skip)]
    damping: Option<Damping>,
    /// Influence through the parameters of the head and of this many fine-tuned residual blocks before it: 0 (the head
    /// alone), 1, 3, 9 … or all
    #[arg(long, value_name = "BLOCKS", default_value_t = Blocks::Last(0), requires = "model")]
    blocks: Blocks,
    /// Only so many of the test images, evenly spaced
    #[arg(long, value_name = "N")]
    queries: Option<usize>,
    /// Write how much of each ranked score comes through the head and through each block: shares.parquet
    #[arg(long)]
    shares: bool,
    /// With --blocks: approximate each query's solution by matrices of this rank in the layers where that makes scoring
    /// cheaper; run.json says how far that is from the solution, and from the exact scores of a sample
    #[arg(long, value_name = "R")]
    query_rank: Option<usize>,
    /// Curvature of the training loss; for a classifier head the two are the same matrix (default there: hessian; with
    /// --blocks: gauss-newton, which is positive semi-definite)
    #[arg(long, value_enum)]
    curvature: Option<Curvature>,
    /// How systems are solved
    #[arg(long, value_enum, default_value_t = Method::Auto)]
    solver: Method,
    /// Differentiate the transfer's own training, step by step backwards, in place of solving with a curvature: what leaving an image's
    /// loss out of every batch does to a query's loss, without damping or a minimum being assumed. The transfer is repeated for that,
    /// on --device. With --blocks as the transfer's; about two trainings' cost for each query, or for each group with --groups-only
    #[arg(long, requires = "model")]
    // Not recorded where it is not given, as in runs from before there was such an option.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unrolled: bool,
    /// Relative residual at which cg, lissa and astra are content (default: 1e-5 in f32, 1e-10 in f64, and 1e-3 for astra and with
    /// --blocks), and which direct refines to where it is given
    #[arg(long, value_name = "RESIDUAL", allow_hyphen_values = true)]
    tolerance: Option<f64>,
    /// Most iterations of cg for a right-hand side, and of the damping path
    #[arg(long, value_name = "N", default_value_t = 1000)]
    iterations: usize,
    /// Eigenpairs that arnoldi keeps
    #[arg(long, value_name = "N", default_value_t = 50)]
    rank: usize,
    /// Share of the largest eigenvalue below which pinv drops an eigenpair
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 5e-2,
        allow_hyphen_values = true
    )]
    rcond: f64,
    /// What lissa divides the curvature by (default: a little above its largest eigenvalue)
    #[arg(long, value_name = "SCALE", allow_hyphen_values = true)]
    scale: Option<f64>,
    /// Iterations of lissa
    #[arg(long, value_name = "N", default_value_t = 5000)]
    depth: usize,
    /// Runs of lissa that are averaged
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeats: usize,
    /// Images in a batch of lissa (default: all of them, the same at every run) or astra (default: 256)
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Steps of astra
    #[arg(long, value_name = "N", default_value_t = 200)]
    steps: usize,
    /// Step size of astra, halved after each quarter of the steps (default: one over the largest eigenvalue of the
    /// preconditioned batches)
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    step_size: Option<f64>,
    /// Draws the batches of lissa and astra; with --blocks also the signs that stand for labels of more than 32 classes, and where the
    /// search for the smallest eigenvalue of a hessian begins
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Where it is computed: cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Precision of features, matrix products and scores (direct factorises in f32 and refines where that is enough)
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
    /// Most helpful training images kept for each query
    #[arg(long, value_name = "K", default_value_t = 100)]
    top: usize,
    /// Most harmful training images kept for each query
    #[arg(long, value_name = "K", default_value_t = 0)]
    bottom: usize,
    /// Prove the first K ranks of every query against the solver's and rounding's errors (exact linear algebra, not that
    /// influence predicts retraining); solves go on until they are proven or f64 has no more to give
    #[arg(long, value_name = "K")]
    certify: Option<usize>,
    /// Divide scores by the size of what they measure
    #[arg(long, value_enum, default_value_t = Normalise::None)]
    normalise: Normalise,
    /// Leave out an image's curvature with it, which brings predicted rises nearer to actual ones in size
    #[arg(long, value_enum, default_value_t = Correction::None)]
    correction: Correction,
    /// Rank the training images for groups of queries too, by the mean of their losses: all (one group), class, confusion (label
    /// and prediction), or a CSV file with the columns query,group
    #[arg(long, value_name = "GROUPS", value_parser = query_groups::parse)]
    query_groups: Option<Grouping>,
    /// With --blocks: rank for the --query-groups and for no query by itself, a solve for each group in place of one for each query
    #[arg(long, requires = "query_groups")]
    // Not recorded where it is not given, as in runs from before there was such an option.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    groups_only: bool,
    /// Score groups of training images as a whole too, such as those of one origin: class, or a CSV file with the columns train,group.
    /// train_group_rankings.parquet has what each prediction rests on, train_groups.parquet the means (of --query-groups too; with
    /// --groups-only there are these alone)
    #[arg(long, value_name = "GROUPS", value_parser = TrainGrouping::parse)]
    train_groups: Option<TrainGrouping>,
    /// Compare the rankings of a sample of the queries at dampings from 1e-3 to 1e3 times --damping, draw how they change
    /// (damping_path.svg, .png, .csv, .parquet), and suggest a damping
    #[arg(long)]
    damping_path: bool,
    /// Queries in the sample of --damping-path
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        requires = "damping_path"
    )]
    path_queries: usize,
    /// Look of the figure of --damping-path: paper (for print), or screen (larger type, heavier lines: slides, web pages)
    #[arg(long, value_name = "STYLE", default_value_t, requires = "damping_path")]
    style: Style,
    /// Most memory to use, in GiB: blocks are made to fit, features of a folder that would take more than an eighth of it are
    /// mapped from their file, and auto chooses by it (default: no limit, but that the machine's memory decides on mapping); with
    /// --blocks what the work takes beside program, model and images (default: two fifths of the machine's memory)
    #[arg(long, value_name = "GIB", allow_hyphen_values = true)]
    memory: Option<f64>,
    /// Record finished blocks in the run folder, for a killed run to go on from, so many seconds after the last ones at least
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 5.0,
        allow_hyphen_values = true
    )]
    record_every: f64,
    /// Print what would be done (method, why, operations, seconds, bytes; with --blocks the seconds of a gradient, and what else
    /// takes how many of these) and stop
    #[arg(long)]
    #[serde(skip)]
    dry_run: bool,
    /// Write the full matrices too: scores.npy and, unless --skip-train, train_scores.npy, [query, train] in f32, with --precision f64
    /// in f64; examples.parquet says which images their rows and columns are
    #[arg(long)]
    scores: bool,
    /// Write what the head sees of the images of a --model too, for other programs: train_features.safetensors,
    /// test_features.safetensors (features and labels) and head.safetensors
    #[arg(long, requires = "model")]
    // Not recorded where it is not given, as in runs from before there was such an option.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keep_features: bool,
    /// Leave out self-influence and the rankings of the training images as queries
    #[arg(long)]
    skip_train: bool,
    /// Folder for the results
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    json: Json,
}

impl Rank {
    /// Runs the command, which was asked for by `invocation`.
    ///
    /// # Errors
    /// Input that cannot be used, an output folder that holds something else, or a curvature without an inverse.
    pub fn run(self, invocation: Invocation) -> Result<ExitCode> {
        if self.model.is_none() && self.train.is_none() {
            let reason =
                "is needed, a folder left by ascribe transfer; or --train and --test with features";
            return Err(Error::config("model", reason));
        }
        let memory = self.memory_limit()?;
        RunFolder::check_place(&self.out)?;
        if self.unrolled {
            return unrolled::run(&self, memory, invocation);
        }
        self.note_idle_options();
        if self.blocks != Blocks::Last(0) {
            if self.keep_features {
                let reason = "is for scores through the head alone: leave out --blocks";
                return Err(Error::config("keep-features", reason));
            }
            return through_blocks::run(&self, memory, invocation);
        }
        if self.shares {
            return Err(Error::config(
                "shares",
                "needs --blocks 1 or more: the head alone has one share",
            ));
        }
        if self.groups_only {
            let reason = "needs --blocks 1 or more: of the head alone solves for queries take next to no time";
            return Err(Error::config("groups-only", reason));
        }
        if self.query_rank.is_some() {
            let reason = "needs --blocks 1 or more: scores of the head alone are exact";
            return Err(Error::config("query-rank", reason));
        }
        let double = matches!(self.precision, Precision::F64);
        let resident = resident_limit(memory, double);
        let (workplace, (mut material, training)) = match (self.device, &self.model) {
            // The network runs on the device too.
            (DeviceChoice::Cuda(_), Some(_)) => {
                let workplace = Workplace::open(self.device, self.precision.dtype())?;
                let opened = self.open(resident, &workplace.device)?;
                (workplace, opened)
            }
            _ => Workplace::open_beside(self.device, self.precision.dtype(), || {
                self.open(resident, &Device::Cpu)
            })?,
        };
        let mut options = self.rank_options(training)?;
        self.note_stopped(training);
        if let Some(grouping) = &self.train_groups {
            options.train_groups = Some(material.train_groups(grouping)?);
        }
        options.check()?;
        let grouping = self.query_groups.as_ref();
        query_groups::note_file(grouping, &material.test.ids, &mut material.inputs)?;
        if let Some(groups) = &options.train_groups {
            note_whole_classes(groups, &material.train.labels);
        }
        let plan = self.plan(&material, &mut options, memory, &workplace)?;
        if self.dry_run {
            let fits_head = material.head.is_none();
            say!("{}", work::describe(&plan, fits_head, self.json.is_asked()));
            return Ok(ExitCode::SUCCESS);
        }
        if memory.is_none() {
            keep_freed_memory();
        }
        let (effective, inputs) = (self.effective(&options)?, material.inputs.clone());
        let mut run = RunFolder::open_or_create(&self.out, "rank", invocation, effective, inputs)?;
        run.set_result("plan", &plan)?;
        if let Some(time) = training.time.filter(|_| training.of_head) {
            run.set_result("training_time", time)?;
        }
        if self.keep_features {
            features_left::leave(&material, training.l2, run.path())?;
        }
        work::fill(
            run,
            material,
            options,
            workplace.device,
            self.presentation(),
        )
    }

    fn presentation(&self) -> work::Presentation {
        work::Presentation {
            as_json: self.json.is_asked(),
            style: self.style,
            measurement: self.measurement,
        }
    }

    fn effective_curvature(&self) -> Curvature {
        let usual = match self.blocks {
            Blocks::Last(0) => Curvature::Hessian,
            _ => Curvature::GaussNewton,
        };
        self.curvature.unwrap_or(usual)
    }

    /// `--memory` in bytes.
    fn memory_limit(&self) -> Result<Option<f64>> {
        match self.memory {
            Some(gib) if !(gib.is_finite() && gib > 0.0) => {
                let reason = format!("{gib} is not a number of GiB above 0");
                Err(Error::config("memory", reason))
            }
            memory => Ok(memory.map(|gib| gib * GIB)),
        }
    }

    /// What is typed, or else what the head's file says.
    fn effective_l2(&self) -> Result<f64> {
        let head_is_given = self.head.is_some();
        let reason = match self.l2 {
            None if let Some(head) = &self.head => {
                return Ok(HeadFile::open(head)?.l2.unwrap_or_else(|| {
                    note!(
                        "ascribe: {} does not say what L2 term it was trained with, and --l2 is not given: taken as 0",
                        head.display()
                    );
                    0.0
                }));
            }
            Some(l2) if l2.is_finite() && (l2 > 0.0 || head_is_given && l2 == 0.0) => {
                return Ok(l2);
            }
            Some(l2) => format!("{l2} is not above 0 (or 0 with --head)"),
            None => {
                "without --head the head is fitted, which needs a value above 0; try 1e-3".into()
            }
        };
        Err(Error::config("l2", reason))
    }
}
