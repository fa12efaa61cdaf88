//! `ascribe transfer`: a source model fine-tuned on a target set.

mod again;

use super::decision_options::DecisionOptions;
use super::output::{Json, note_same_images, note_taken, shown};
use super::progress::TrainingProgress;
use super::source_options::SourceOptions;
use crate::Result;
use crate::artefact::{Invocation, RunFolder, effective};
use crate::data::{
    Dataset, Decisions, Pixels, TrainingImages, Transform, check_same_classes, flips_none, subset,
};
use crate::model::write_model;
use crate::train::{Performance, TransferOptions, remove_checkpoint, transfer};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `ascribe transfer`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(
    after_help = "Example: the paper's main setting, three blocks and 3,200 images\n  \
    ascribe transfer --source source-robust --train cifar10/train.parquet \\\n    \
    --test cifar10/test.parquet --images 3200 --blocks 3 --epochs 150 --out robust"
)]
pub struct Transfer {
    #[command(flatten)]
    #[serde(flatten)]
    source: SourceOptions,
    /// Target training images: a Parquet file, a folder of class folders, an IDX, CIFAR binary or SVHN .mat file
    #[arg(long, value_name = "DATA")]
    train: PathBuf,
    /// Target test images, with the same classes
    #[arg(long, value_name = "DATA")]
    test: PathBuf,
    /// Fine-tune on so many images, balanced over the classes (default: all)
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    #[command(flatten)]
    #[serde(flatten)]
    decisions: DecisionOptions,
    /// Flip this share of the training images' labels at random first, as an experiment; run.json says which
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        allow_hyphen_values = true
    )]
    flip_labels: f64,
    #[command(flatten)]
    #[serde(flatten)]
    options: TransferOptions,
    /// Folder for model.safetensors, training.csv and run.json
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    json: Json,
}

pub(super) use again::{transfer_again, transfer_behind};

impl Transfer {
    /// Runs the command, which was asked for by `invocation`.
    pub fn run(self, invocation: Invocation) -> Result<ExitCode> {
        let (test, seconds) = self.transfer(invocation)?;
        let model = shown(&self.out.join("model.safetensors"));
        let result = || {
            json!({
                "out": shown(&self.out),
                "model": model,
                "results": { "test": test },
                "seconds": seconds,
            })
        };
        self.json.print(result, || {
            say!(
                "{model}: test accuracy {:.2} %, loss {:.4}",
                100.0 * test.accuracy,
                test.loss
            );
        });
        Ok(ExitCode::SUCCESS)
    }

    /// Does the work; the performance is on the test images, after so many seconds.
    fn transfer(&self, invocation: Invocation) -> Result<(Performance, f64)> {
        self.options.check()?;
        self.options.recipe.device.open()?;
        let train = Dataset::open(&self.train)?;
        let test = Dataset::open(&self.test)?;
        check_same_classes(&train, &test)?;
        let source = self.source.backbone()?;
        let first_segment = (self.options.blocks).first_segment(source.model.architecture())?;
        let seed = self.options.recipe.seed;
        let ids = match self.images {
            Some(images) => subset(train.labels(), train.classes().len(), images, seed)?,
            None => (0..train.len()).collect(),
        };
        let decisions = self.decisions.read(&train)?;
        note_outside(&decisions.decisions, &ids);
        let idle_flips = flips_none(self.flip_labels, ids.len());
        let flips = (self.flip_labels, seed);
        let taken = TrainingImages::of(&train, ids, decisions.decisions, flips)?;
        let source_input = source.input.clone();
        let mut inputs = vec![train.input("train"), test.input("test"), source_input];
        inputs.extend(decisions.inputs);
        if let Some(idle) = idle_flips {
            note!("ascribe: --{idle}");
        }
        note_taken(&taken, &train);
        let changes = taken.changes();
        let (ids, train) = (taken.ids, train.relabelled(&taken.labels)?);
        note_same_images(&inputs);
        let mut run =
            RunFolder::open_or_create(&self.out, "transfer", invocation, effective(self)?, inputs)?;
        source.note_classifier(&mut run)?;
        run.set_classes(train.classes().to_vec())?;

        run.stage("decoding")?;
        let framing = source.model.framing();
        let test_ids: Vec<usize> = (0..test.len()).collect();
        let bytes = self.options.recipe().pixel_bytes(first_segment);
        let train_images = Pixels::within(&train, &ids, Transform::default(), framing, bytes[0])?;
        let test_images =
            Pixels::within(&test, &test_ids, Transform::default(), framing, bytes[1])?;

        run.stage("training")?;
        let mut progress = TrainingProgress::new(self.options.recipe.epochs);
        let transferred = transfer(
            source.model,
            train.classes().to_vec(),
            &self.options,
            (&train_images, &test_images),
            run.path(),
            &mut progress,
        )?;
        drop(progress);
        write_model(&transferred.model, &run.file("model.safetensors"))?;
        let test = transferred.test;
        run.note_result("test", test)?;
        run.note_result("train_ids", ids)?;
        for (name, value) in changes {
            run.note_result(name, value)?;
        }
        remove_checkpoint(run.path())?;
        Ok((test, run.finish()?.seconds))
    }
}

/// Says how many decisions are on images outside `subset`.
fn note_outside(decisions: &Decisions, subset: &[usize]) {
    let (outside, all) = decisions.outside(&subset.iter().copied().collect());
    if outside > 0 {
        note!(
            "ascribe: {outside} of {all} decisions are on images that --images does not take, and change nothing"
        );
    }
}
