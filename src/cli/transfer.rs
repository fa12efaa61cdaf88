//! `ascribe transfer`: a source model fine-tuned on a target set.

use super::progress::TrainingProgress;
use super::recipe_options::{RecipeOptions, effective};
use super::source_options::SourceOptions;
use crate::Result;
use crate::artefact::RunFolder;
use crate::data::{Dataset, Pixels, check_same_classes, subset};
use crate::model::{Blocks, write_model};
use crate::train::{FrozenStatistics, Performance, fit, remove_checkpoint};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `ascribe transfer`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(
    after_help = "Example: the paper's main setting, three blocks and 3,200 images\n  \
    ascribe transfer --source source-robust --train cifar10/train.parquet --test cifar10/test.parquet \\\n    \
    --images 3200 --blocks 3 --epochs 150 --out robust"
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
    /// Residual blocks fine-tuned besides the head: 0, 1, 3, 9 … or all
    #[arg(long, value_name = "K", default_value = "3")]
    blocks: Blocks,
    /// Standard deviation of the new head's weights (the paper's: 1)
    #[arg(
        long,
        value_name = "S",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    head_deviation: f32,
    /// Batch norm of the frozen blocks: statistics that follow the batches (the paper's), or the source model's
    #[arg(long, value_enum, default_value_t = FrozenStatistics::Moving)]
    frozen_statistics: FrozenStatistics,
    #[command(flatten)]
    #[serde(flatten)]
    recipe: RecipeOptions,
    /// Folder for model.safetensors, training.csv and run.json
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

impl Transfer {
    /// Runs the command, which was typed as `arguments`.
    pub fn run(self, arguments: Vec<String>) -> Result<ExitCode> {
        let performance = self.transfer(arguments)?;
        println!(
            "{}: test accuracy {:.2} %, loss {:.4}",
            self.out.join("model.safetensors").display(),
            100.0 * performance.accuracy,
            performance.loss
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Does the work; the performance is on the test images.
    fn transfer(&self, arguments: Vec<String>) -> Result<Performance> {
        let train = Dataset::open(&self.train)?;
        let test = Dataset::open(&self.test)?;
        check_same_classes(&train, &test)?;
        let (source, input) = self.source.open()?;
        let first_segment = self.blocks.first_segment(source.architecture())?;
        let seed = self.recipe.seed;
        let ids = match self.images {
            Some(images) => subset(train.labels(), train.classes().len(), images, seed)?,
            None => (0..train.len()).collect(),
        };
        let inputs = vec![
            super::data_input("train", &train),
            super::data_input("test", &test),
            input,
        ];
        let mut run =
            RunFolder::open_or_create(&self.out, "transfer", arguments, effective(self)?, inputs)?;
        run.set_classes(train.classes().to_vec())?;

        run.stage("decoding")?;
        let side = source.side();
        let test_ids: Vec<usize> = (0..test.len()).collect();
        let train_images = Pixels::decode(&train, &ids, side, side)?;
        let test_images = Pixels::decode(&test, &test_ids, side, side)?;

        run.stage("training")?;
        let mut model =
            source.with_new_head(train.classes().to_vec(), self.head_deviation, seed)?;
        let recipe = self.recipe.recipe(None, self.frozen_statistics);
        let mut progress = TrainingProgress::new(recipe.epochs);
        let history = fit(
            &mut model,
            first_segment,
            &recipe,
            (&train_images, &test_images),
            run.path(),
            &mut progress,
        )?;
        drop(progress);
        write_model(&model, &run.file("model.safetensors"))?;

        let last = history.last().and_then(|row| {
            Some(Performance {
                loss: row.test_loss?,
                accuracy: row.test_accuracy?,
            })
        });
        let test = match last {
            Some(last) => last,
            None => Performance::measure(&model, &test_images, None)?,
        };
        run.set_result("test", test)?;
        run.set_result("train_ids", ids)?;
        remove_checkpoint(run.path())?;
        run.finish()?;
        Ok(test)
    }
}
