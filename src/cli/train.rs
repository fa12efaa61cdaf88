//! `ascribe train`: a source model from a data set, natural or adversarial.

use super::progress::TrainingProgress;
use crate::artefact::RunFolder;
use crate::data::{Dataset, Pixels, check_same_classes, subset};
use crate::model::{Architecture, Normalisation, ResNet, write_model};
use crate::train::{
    Adversary, FrozenStatistics, Norm, Performance, RecipeOptions, effective, fit,
    remove_checkpoint,
};
use crate::{Error, Result};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `ascribe train`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(after_help = "Example: an L2-robust source model of CIFAR-100\n  \
    ascribe train --train cifar100/train.parquet --test cifar100/test.parquet --epochs 30 \\\n    \
    --adversary l2 --epsilon 0.5 --steps 3 --out source-robust")]
pub struct Train {
    /// Training images: a Parquet file, a folder of class folders, an IDX, CIFAR binary or SVHN .mat file
    #[arg(long, value_name = "DATA")]
    train: PathBuf,
    /// Test images, with the same classes
    #[arg(long, value_name = "DATA")]
    test: PathBuf,
    /// cifar-resnet8, -14, -20, -18, -34, -50, -101 or -152 (with -w24 for another width), resnet18, -34, -50, -101 or
    /// -152, wide_resnet50_2, wide_resnet50_4, wide_resnet101_2
    #[arg(long, value_name = "NAME", default_value = "cifar-resnet14-w16")]
    architecture: String,
    /// Height and width the images are resized to (default: what the architecture was made for)
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Train on so many images only, balanced over the classes (default: all)
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    #[command(flatten)]
    #[serde(flatten)]
    recipe: RecipeOptions,
    /// Train on adversarial images within this norm (default: natural training)
    #[arg(long, value_enum, requires = "epsilon")]
    adversary: Option<Norm>,
    /// Radius of the perturbation, in pixel units of [0, 1]
    #[arg(long, value_name = "EPS", allow_negative_numbers = true)]
    epsilon: Option<f64>,
    /// Steps of projected gradient descent in training
    #[arg(long, value_name = "N", default_value_t = 7)]
    steps: usize,
    /// Length of a step (default: 2.5·ε/steps)
    #[arg(long, value_name = "LENGTH", allow_negative_numbers = true)]
    step_size: Option<f64>,
    /// Start the adversary at a random point of the ball
    #[arg(long)]
    random_start: bool,
    /// Folder for model.safetensors, training.csv and run.json
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// Steps of the attack under which a finished model is measured.
const EVALUATION_STEPS: usize = 20;

impl Train {
    /// Runs the command, which was typed as `arguments`.
    pub fn run(self, arguments: Vec<String>) -> Result<ExitCode> {
        let train = Dataset::open(&self.train)?;
        let test = Dataset::open(&self.test)?;
        check_same_classes(&train, &test)?;
        let architecture: Architecture = self.architecture.parse()?;
        let side = self.side.unwrap_or_else(|| architecture.usual_side());
        let inputs = vec![train.input("train"), test.input("test")];
        let mut run =
            RunFolder::open_or_create(&self.out, "train", arguments, effective(&self)?, inputs)?;
        run.set_classes(train.classes().to_vec())?;

        run.stage("decoding")?;
        let ids = match self.images {
            Some(images) => subset(
                train.labels(),
                train.classes().len(),
                images,
                self.recipe.seed,
            )?,
            None => (0..train.len()).collect(),
        };
        let test_ids: Vec<usize> = (0..test.len()).collect();
        let train_images = Pixels::decode(&train, &ids, side, side)?;
        let test_images = Pixels::decode(&test, &test_ids, side, side)?;

        run.stage("training")?;
        let normalisation = Normalisation::of(&train_images);
        let mut model = ResNet::initialise(
            architecture,
            train.classes().to_vec(),
            normalisation,
            side,
            self.recipe.seed,
            &Device::Cpu,
        )?;
        let recipe = self
            .recipe
            .recipe(self.training_adversary()?, FrozenStatistics::Moving);
        let mut progress = TrainingProgress::new(recipe.epochs);
        fit(
            &mut model,
            0,
            &recipe,
            (&train_images, &test_images),
            run.path(),
            &mut progress,
        )?;
        drop(progress);
        write_model(&model, &run.file("model.safetensors"))?;

        run.stage("measuring")?;
        let clean = Performance::measure(&model, &test_images, None)?;
        run.set_result("test", clean)?;
        println!(
            "{}: test accuracy {:.2} %, loss {:.4}",
            run.file("model.safetensors").display(),
            100.0 * clean.accuracy,
            clean.loss
        );
        if let Some(epsilon) = self.epsilon {
            let norm = self.adversary.unwrap_or(Norm::L2);
            let adversary = Adversary::new(norm, epsilon, EVALUATION_STEPS)?;
            let attacked = Performance::measure(&model, &test_images, Some(&adversary))?;
            run.set_result("test_attacked", attacked)?;
            run.set_result("test_adversary", adversary)?;
            println!(
                "under PGD-{EVALUATION_STEPS}, {norm:?} ε = {epsilon}: test accuracy {:.2} %",
                100.0 * attacked.accuracy
            );
        }
        remove_checkpoint(run.path())?;
        run.finish()?;
        Ok(ExitCode::SUCCESS)
    }

    fn training_adversary(&self) -> Result<Option<Adversary>> {
        let (Some(norm), Some(epsilon)) = (self.adversary, self.epsilon) else {
            return Ok(None);
        };
        let mut adversary = Adversary::new(norm, epsilon, self.steps)?;
        adversary.random_start = self.random_start;
        if let Some(length) = self.step_size {
            if !(length > 0.0 && length.is_finite()) {
                return Err(Error::config(
                    "step-size",
                    format!("expected a positive number, found {length}"),
                ));
            }
            adversary.step_size = length;
        }
        Ok(Some(adversary))
    }
}
