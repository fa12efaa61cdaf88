//! `ascribe train`: a source model from a data set, natural or adversarial.

use super::adversary_options::{AdversaryOptions, AttackOptions, AttackedPerformance};
use super::measuring::measured;
use super::output::{Json, note_same_images, shown};
use super::progress::TrainingProgress;
use crate::Result;
use crate::artefact::{Invocation, RunFolder, effective};
use crate::data::{
    Dataset, NewLabels, Pixels, Transform, check_same_classes, classes_without, subset,
};
use crate::model::{
    Architecture, Normalisation, ResNet, StoredWeights, check_side, write_model_with,
};
use crate::train::{Attack, FrozenStatistics, RecipeOptions, fit, remove_checkpoint};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `ascribe train`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(after_help = "Example: an L2-robust source model of CIFAR-100\n  \
    ascribe train --train cifar100/train.parquet --test cifar100/test.parquet --epochs 30 \\\n    \
    --adversary l2 --epsilon 0.5 --robust-training fast --eval-restarts 3 --out source-robust")]
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
    /// Height and width the images are resized to, of those that are not square the middle (default: what the
    /// architecture was made for)
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Train on so many images only, balanced over the classes (default: all)
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    #[command(flatten)]
    #[serde(flatten)]
    recipe: RecipeOptions,
    /// How the model's weights are kept; what is measured is what the file holds
    #[arg(long, value_enum, default_value_t = StoredWeights::F32)]
    weights: StoredWeights,
    #[command(flatten)]
    #[serde(flatten)]
    adversary: AdversaryOptions,
    #[command(flatten)]
    #[serde(flatten)]
    attack: AttackOptions,
    /// Folder for model.safetensors, training.csv and run.json, with --robust-training fast also guard.csv
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    json: Json,
}

impl Train {
    /// Runs the command, which was asked for by `invocation`.
    pub fn run(mut self, invocation: Invocation) -> Result<ExitCode> {
        let adversary = self.adversary.training()?;
        let attacks = (self.attack).attacks(self.adversary.norm(), self.adversary.epsilon())?;
        self.recipe.check_device()?;
        let recipe = self.recipe.recipe(adversary, FrozenStatistics::Moving);
        recipe.check()?;
        self.recipe.device.open()?;
        let train = Dataset::open(&self.train)?;
        let test = Dataset::open(&self.test)?;
        check_same_classes(&train, &test)?;
        let architecture: Architecture = self.architecture.parse()?;
        let side = self.side.unwrap_or_else(|| architecture.usual_side());
        check_side(side)?;
        let inputs = vec![train.input("train"), test.input("test")];
        note_same_images(&inputs);
        let mut run =
            RunFolder::open_or_create(&self.out, "train", invocation, effective(&self)?, inputs)?;
        run.set_classes(train.classes().to_vec())?;

        run.stage("decoding")?;
        let ids = self.ids(&train)?;
        let test_ids: Vec<usize> = (0..test.len()).collect();
        if let Some(classes) = classes_without(&train, &ids, &NewLabels::new()) {
            note!("ascribe: {classes}");
        }
        let bytes = recipe.pixel_bytes(0);
        let train_images = Pixels::within(&train, &ids, Transform::default(), side, bytes[0])?;
        let test_images = Pixels::within(&test, &test_ids, Transform::default(), side, bytes[1])?;

        run.stage("training")?;
        let classes = train.classes().to_vec();
        let normalisation = Normalisation::of(&train_images)?;
        let seed = self.recipe.seed;
        let model = ResNet::initialise(
            architecture,
            classes,
            normalisation,
            side,
            seed,
            &Device::Cpu,
        )?;
        let mut model = self.recipe.place(&model)?;
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
        let model = self.weights.of(&model.to_device(&Device::Cpu)?)?;
        let file = run.file("model.safetensors");
        write_model_with(&model, self.weights, &file)?;
        let model = self.recipe.place(&model)?;

        run.stage("measuring")?;
        let clean = measured(&model, &test_images, None)?;
        run.set_result("test", clean)?;
        // Line by line as it is measured; as JSON all at the end.
        let tells = !self.json.is_asked();
        if tells {
            say!(
                "{}: test accuracy {:.2} %, loss {:.4}",
                file.display(),
                100.0 * clean.accuracy,
                clean.loss
            );
        }
        let attacked = measure_under_attack(&model, &test_images, attacks, (&mut run, tells))?;
        remove_checkpoint(run.path())?;
        let seconds = run.finish()?.seconds;
        let result = || {
            json!({
                "out": shown(&self.out),
                "model": shown(&file),
                "results": { "test": clean, "test_attacked": attacked },
                "seconds": seconds,
            })
        };
        self.json.print(result, || {});
        Ok(ExitCode::SUCCESS)
    }

    /// The training images that are used.
    fn ids(&self, train: &Dataset) -> Result<Vec<usize>> {
        let Some(images) = self.images else {
            return Ok((0..train.len()).collect());
        };
        subset(
            train.labels(),
            train.classes().len(),
            images,
            self.recipe.seed,
        )
    }
}

/// Measures and records the accuracy under each of `attacks`, and says it where `tells`.
fn measure_under_attack(
    model: &ResNet,
    images: &Pixels,
    attacks: Vec<Attack>,
    (run, tells): (&mut RunFolder, bool),
) -> Result<Vec<AttackedPerformance>> {
    let mut all = Vec::new();
    for attack in attacks {
        let performance = measured(model, images, Some(&attack))?;
        let performance = AttackedPerformance::new(attack, performance);
        if tells {
            say!("{performance}");
        }
        all.push(performance);
    }
    if !all.is_empty() {
        run.set_result("test_attacked", &all)?;
    }
    Ok(all)
}
