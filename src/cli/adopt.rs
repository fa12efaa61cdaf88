//! `ascribe adopt`: a model that was fine-tuned elsewhere, with the images that it was fine-tuned on, as a folder that
//! `ascribe rank` takes as it takes one of `ascribe transfer`. Nothing is trained, and the head stays as it is.

use super::class_positions::note_matched_by_position;
use super::decision_options::DecisionOptions;
use super::measuring::measured;
use super::output::{Json, note_same_images, note_taken, shown};
use super::source_options::SourceOptions;
use crate::artefact::{Invocation, RunFolder, effective};
use crate::data::{
    Dataset, Pixels, TrainingImages, are_numbers, check_same_classes, evenly_spaced,
};
use crate::model::{Blocks, ResNet, write_model};
use crate::train::Performance;
use crate::{Error, Result};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `ascribe adopt`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(
    after_help = "Example: a ResNet-50 whose last two blocks PyTorch has fine-tuned with SGD(weight_decay=1e-4)\n  \
    ascribe adopt --source mine.pt --train pets/train --test pets/test --l2 1e-4 --blocks 2 --out mine\n  \
    ascribe rank --model mine --out mine-rank"
)]
pub struct Adopt {
    #[command(flatten)]
    #[serde(flatten)]
    source: SourceOptions,
    /// The images it was fine-tuned on: a Parquet file, a folder of class folders, an IDX, CIFAR binary or SVHN .mat file; the
    /// model's outputs must be in the order of its classes
    #[arg(long, value_name = "DATA")]
    train: PathBuf,
    /// Test images, with the same classes
    #[arg(long, value_name = "DATA")]
    test: PathBuf,
    #[command(flatten)]
    #[serde(flatten)]
    decisions: DecisionOptions,
    /// The L2 term l2/2·‖θ‖² that it was fine-tuned with, over weights and biases alike: weight_decay of PyTorch's SGD; 0
    /// for none
    #[arg(long, value_name = "L2", allow_hyphen_values = true)]
    l2: f64,
    /// Residual blocks that were fine-tuned besides the head: 0, 1, 3, 9 … or all
    #[arg(long, value_name = "K", default_value_t = Blocks::All)]
    blocks: Blocks,
    /// Folder for model.safetensors and run.json
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    json: Json,
}

impl Adopt {
    /// Runs the command, which was asked for by `invocation`.
    ///
    /// # Errors
    /// Data, a model or decisions that cannot be read or do not belong together; an output folder in use.
    pub fn run(self, invocation: Invocation) -> Result<ExitCode> {
        if !(self.l2.is_finite() && self.l2 >= 0.0) {
            let reason = format!("expected 0 or a positive number, found {}", self.l2);
            return Err(Error::config("l2", reason));
        }
        let train = Dataset::open(&self.train)?;
        let test = Dataset::open(&self.test)?;
        check_same_classes(&train, &test)?;
        let (model, input) = self.source.open()?;
        let model = of_these_classes(model, &input.path, &train)?;
        self.blocks.first_segment(model.architecture())?;
        let decisions = self.decisions.read(&train)?;
        let all = (0..train.len()).collect();
        let taken = TrainingImages::of(&train, all, decisions.decisions, (0.0, 0))?;
        note_taken(&taken, &train);
        let mut inputs = vec![train.input("train"), test.input("test"), input];
        inputs.extend(decisions.inputs);
        note_same_images(&inputs);
        let mut run =
            RunFolder::open_or_create(&self.out, "adopt", invocation, effective(&self)?, inputs)?;
        run.set_classes(model.classes().to_vec())?;

        run.stage("measuring")?;
        let train = train.relabelled(&taken.labels)?;
        let measured = Measured::of(&model, &test, (&train, &taken.ids))?;
        let file = run.file("model.safetensors");
        write_model(&model, &file)?;
        run.note_result("test", measured.test)?;
        run.note_result("train_ids", &taken.ids)?;
        for (name, value) in taken.changes() {
            run.note_result(name, value)?;
        }
        let seconds = run.finish()?.seconds;
        let result = || {
            json!({
                "out": shown(&self.out),
                "model": shown(&file),
                "results": { "test": measured.test },
                "training": {
                    "loss": measured.training.loss,
                    "accuracy": measured.training.accuracy,
                    "images": measured.sample.len(),
                    "of": measured.of,
                },
                "seconds": seconds,
            })
        };
        (self.json).print(result, || say!("{}: {measured}", file.display()));
        note_little_better_than_chance(&measured, &train);
        Ok(ExitCode::SUCCESS)
    }
}

/// Training images that are looked at.
const SAMPLE: usize = 2000;

/// How well the model predicts the test images, and a sample of those that it was fine-tuned on.
struct Measured {
    test: Performance,
    training: Performance,
    sample: Vec<usize>,
    of: usize,
}

impl Measured {
    fn of(model: &ResNet, test: &Dataset, (train, ids): (&Dataset, &[usize])) -> Result<Self> {
        let of_set = |set: &Dataset, ids: &[usize]| {
            let images = Pixels::on_demand(set, ids, model.framing())?;
            measured(model, &images, None)
        };
        let positions = evenly_spaced(ids.len(), SAMPLE).into_iter();
        let sample: Vec<usize> = positions.map(|at| ids[at]).collect();
        Ok(Self {
            test: of_set(test, &(0..test.len()).collect::<Vec<_>>())?,
            training: of_set(train, &sample)?,
            sample,
            of: ids.len(),
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Performance { loss, accuracy } = self.test;
        let looked_at = match self.sample.len() < self.of {
            true => "of a sample of",
            false => "of all",
        };
        write!(
            f,
            "test accuracy {:.2} %, loss {loss:.4}; {looked_at} {} training images {:.2} %",
            100.0 * accuracy,
            self.sample.len(),
            100.0 * self.training.accuracy
        )
    }
}

/// The model with the set's class names, where the set has some; its own, where its file has some, must be the same. Where one of
/// both has none, says so.
fn of_these_classes(model: ResNet, file: &Path, train: &Dataset) -> Result<ResNet> {
    let (own, wanted) = (model.classes(), train.classes());
    if own.len() != wanted.len() {
        let expected = format!(
            "{} classes, as {} has",
            wanted.len(),
            train.path().display()
        );
        let found = format!("{} outputs", own.len());
        let remedy = "give a model that was fine-tuned on these classes; ascribe transfer gives a source model a new head for them";
        return Err(Error::format(file, "head", expected, found, remedy));
    }
    let different = own
        .iter()
        .zip(wanted)
        .position(|(own, wanted)| own != wanted);
    match different {
        Some(class) if !are_numbers(own) && train.has_class_names() => Err(Error::format(
            file,
            format!("class {class}"),
            format!("{}, as {} has", wanted[class], train.path().display()),
            own[class].clone(),
            "give the images that the model was fine-tuned on",
        )),
        _ => {
            note_matched_by_position(&model, train, "training set");
            match train.has_class_names() {
                true => model.with_classes(train.classes().to_vec()),
                false => Ok(model),
            }
        }
    }
}

/// The commonest mistakes leave a model that guesses even the images that it was fine-tuned on: another order of the classes, other
/// pixels.
fn note_little_better_than_chance(measured: &Measured, train: &Dataset) {
    let ids = &measured.sample;
    let mut counts = vec![0_usize; train.classes().len()];
    ids.iter().for_each(|&id| counts[train.label(id)] += 1);
    let total = ids.len().max(1) as f64;
    let commonest = counts.iter().max().copied().unwrap_or(0) as f64 / total;
    // Three standard errors, by which a guesser may be luckier than that.
    let luck = 3.0 * (commonest * (1.0 - commonest) / total).sqrt();
    if measured.training.accuracy <= commonest + luck {
        note!(
            "ascribe: of its training images it knows hardly more than by always naming the commonest class ({:.2} %): are the model's outputs in the order of the data's classes, and are --side, --resize, --source-mean and --source-deviation those it was trained with?",
            100.0 * commonest
        );
    }
}
