//! `ascribe inspect`: what is in this model, data set or run.
//!
//! | path | what is shown |
//! |---|---|
//! | a folder with `run.json`, or the `.json` beside a figure | the run, finished or not |
//! | a `.safetensors`, `.pt`, `.pth` or `.ckpt` file or one that begins so, a folder with one, `builtin:natural`, `builtin:robust` | the model |
//! | a `.npz`, a `.safetensors` with `features`, a folder with `features.npy` | the features |
//! | anything else that `--train` takes | the data set |
//!
//! Class folders make a folder a data set, whatever lies beside them.
//!
//! With `--check` a data set is gone through whole, and what cannot be used is listed; of a run, the files that are not as it left
//! them. With `--test` the path is a model, or a folder with one, and what is shown is how well it predicts, clean and attacked.

mod data_set;
mod faults;
mod features;
mod left;
mod measured;
mod model;
mod run;

use super::adversary_options::AttackOptions;
use super::output::Json;
use super::record_file::refuse_figures;
use super::source_options::SourcePixels;
use crate::artefact::leads_somewhere;
use crate::data::{Features, has_class_folders, has_files_of_a_set, is_built_in};
use crate::model::{holds_weights, is_weight_file, weight_files};
use crate::{Error, Result};
use clap::Args;
use safetensors::SafeTensors;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `ascribe inspect`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: which architecture is this, and does every tensor fit?\n  \
    ascribe inspect resnet50_l2_eps3.ckpt\n\n\
    Example: how robust is this model?\n  \
    ascribe inspect builtin:robust --test cifar100/test.parquet \\\n    \
    --eval-epsilon 0.25,0.5 --eval-restarts 3\n\n\
    Example: which files of this folder are no images, or damaged? (exit code 1: there are some)\n  \
    ascribe inspect pets/train --check\n\n\
    Example: are these the files that the run left? (exit code 1: some are not)\n  \
    ascribe inspect robust-rank --check"
)]
pub struct Inspect {
    /// A model file, a data set, or a folder left by another command
    path: PathBuf,
    /// Measure the model on this data set, clean and under the attacks asked for
    #[arg(long, value_name = "DATA")]
    test: Option<PathBuf>,
    /// Measure on so many test images only, balanced over the classes (default: all)
    #[arg(long, value_name = "N", requires = "test")]
    images: Option<usize>,
    #[command(flatten)]
    pixels: SourcePixels,
    #[command(flatten)]
    attack: AttackOptions,
    /// Decode every image of a data set, and list all that do not decode, files in class folders or among images alone that are none, and
    /// labels without a class. Of a run, list the files that are no longer what it left
    #[arg(long, conflicts_with = "test")]
    check: bool,
    #[command(flatten)]
    json: Json,
}

/// What was found, as lines for people and as JSON.
trait Report: Serialize {
    fn lines(&self) -> Vec<(&'static str, String)>;
}

/// What was gone through, and what is wrong with it.
trait Checked: Report {
    fn faults(&self) -> &[String];
}

impl Inspect {
    /// Runs the command.
    pub fn run(mut self) -> Result<ExitCode> {
        if let Some(test) = &self.test {
            let attacks = self.attack.attacks(None, None)?;
            let model = self.pixels.open(&self.path)?;
            self.print(&measured::read(model, (test, self.images), attacks)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(option) = self.pixels.given() {
            let reason = "is for measuring the model: give --test";
            return Err(Error::config(option, reason));
        }
        if let Some(option) = self.attack.given() {
            let reason = "is for attacks, which need images: give --test";
            return Err(Error::config(option, reason));
        }
        let kind = kind(&self.path)?;
        if self.check {
            return self.check(&kind);
        }
        match kind {
            Kind::Run => self.print(&run::read(&self.path)?),
            Kind::Model => self.print(&model::read(&self.path)?),
            Kind::Features => self.print(&features::read(&self.path)?),
            Kind::DataSet => self.print(&data_set::read(&self.path)?),
        }?;
        Ok(ExitCode::SUCCESS)
    }

    fn check(&self, kind: &Kind) -> Result<ExitCode> {
        match kind {
            Kind::DataSet => self.told(&faults::read(&self.path)?),
            Kind::Run => self.told(&left::read(&self.path)?),
            Kind::Model | Kind::Features => {
                let reason = format!(
                    "expected a data set of images or a run, found something else in {}; leave it out",
                    self.path.display()
                );
                Err(Error::config("check", reason))
            }
        }
    }

    /// The exit code is that of an error where there is a fault.
    fn told(&self, checked: &impl Checked) -> Result<ExitCode> {
        self.print(checked)?;
        Ok(match checked.faults().is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    fn print(&self, report: &impl Report) -> Result<()> {
        if self.json.is_asked() {
            let text = serde_json::to_string_pretty(report)
                .map_err(|reason| Error::io(&self.path, "show as JSON")(reason.into()))?;
            say!("{text}");
            return Ok(());
        }
        let lines = report.lines();
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, text) in lines {
            say!("{name:width$}  {text}");
        }
        Ok(())
    }
}

enum Kind {
    Run,
    Model,
    Features,
    DataSet,
}

fn kind(path: &Path) -> Result<Kind> {
    if is_built_in(path) {
        let data = path
            .to_str()
            .is_some_and(|name| name.starts_with("builtin:digits"));
        return Ok(if data { Kind::DataSet } else { Kind::Model });
    }
    if Features::recognises(path) && has_features(path)? {
        return Ok(Kind::Features);
    }
    // A pattern of several files.
    if !path.exists() && leads_somewhere(path) {
        return Ok(Kind::DataSet);
    }
    let metadata = std::fs::metadata(path).map_err(Error::io(path, "read"))?;
    if metadata.is_file() {
        let is_record = path.extension().is_some_and(|ending| ending == "json");
        return Ok(match is_weight_file(path) || holds_weights(path) {
            true => Kind::Model,
            false if is_record => Kind::Run,
            false => Kind::DataSet,
        });
    }
    if path.join("run.json").is_file() {
        return Ok(Kind::Run);
    }
    // Weights may have been left beside class folders.
    if has_class_folders(path) {
        return Ok(Kind::DataSet);
    }
    if !weight_files(path)?.is_empty() {
        return Ok(Kind::Model);
    }
    // Figures may have been drawn beside the files of a set.
    if !has_files_of_a_set(path) {
        refuse_figures(path)?;
    }
    Ok(Kind::DataSet)
}

/// Whether a safetensors file holds features rather than weights; others that look like features files are.
fn has_features(path: &Path) -> Result<bool> {
    if path.is_dir() || !is_weight_file(path) {
        return Ok(true);
    }
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let header = SafeTensors::read_metadata(&bytes);
    Ok(header.is_ok_and(|(_, header)| header.info("features").is_some()))
}
