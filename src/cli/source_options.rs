//! Which source model, and what its file does not say.

use crate::Result;
use crate::artefact::{Input, RunRecord};
use crate::model::{Backbone, Normalisation, ResNet, SourceSettings, open_backbone, open_source};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The options that say which pixels a source takes.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SourcePixels {
    /// Mean of the pixels (in [0, 1]) the source was trained with, where its file does not say
    #[arg(long, value_name = "R,G,B", value_parser = three, requires = "source_deviation", allow_hyphen_values = true)]
    source_mean: Option<[f64; 3]>,
    /// Standard deviation of those pixels
    #[arg(long, value_name = "R,G,B", value_parser = three, requires = "source_mean", allow_hyphen_values = true)]
    source_deviation: Option<[f64; 3]>,
    /// Height and width the images are resized to, of those that are not square the middle (default: what the
    /// source was made for)
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// What their shorter side is resized to before the middle of --side is taken, as torchvision's Resize(256) before
    /// CenterCrop(224) (default: what the model's file says for that side, or no more than is needed)
    #[arg(long, value_name = "PIXELS")]
    resize: Option<usize>,
}

impl SourcePixels {
    /// The model at `path` that takes them, and what `run.json` says of its file.
    pub(super) fn open(&self, path: &Path) -> Result<(ResNet, Input)> {
        open_source(path, self.settings())
    }

    fn settings(&self) -> SourceSettings {
        let normalisation = self.source_mean.zip(self.source_deviation);
        SourceSettings {
            normalisation: normalisation.map(|(mean, deviation)| Normalisation { mean, deviation }),
            side: self.side,
            resize: self.resize,
        }
    }

    /// The name of an option that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let mean = self.source_mean.map(|_| "source-mean");
        mean.or(self.side.map(|_| "side"))
            .or(self.resize.map(|_| "resize"))
    }
}

/// The options that name a source model.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SourceOptions {
    /// Model: a folder left by ascribe train, transfer, adopt or fetch, or a file of weights, known by its content whatever
    /// its name: safetensors, or what PyTorch's torch.save writes (also .pth.tar, .bin), with the names of torchvision, timm or
    /// robustness; builtin:natural and builtin:robust are the small ones that the demo uses
    #[arg(long, value_name = "MODEL")]
    source: PathBuf,
    #[command(flatten)]
    #[serde(flatten)]
    pixels: SourcePixels,
}

impl SourceOptions {
    /// Names the source of an earlier run by a path that leads there from here.
    pub(super) fn locate(&mut self, record: &RunRecord) {
        self.source = record.located(&self.source);
    }

    /// The model, and what `run.json` says of its file.
    pub(super) fn open(&self) -> Result<(ResNet, Input)> {
        self.pixels.open(&self.source)
    }

    /// The model, whose classifier is to be replaced.
    pub(super) fn backbone(&self) -> Result<Backbone> {
        open_backbone(&self.source, self.pixels.settings())
    }
}

fn three(text: &str) -> std::result::Result<[f64; 3], String> {
    let numbers: Option<Vec<f64>> = text
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or_else(|| "expected three numbers, as in 0.485,0.456,0.406".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_are_three_numbers() {
        assert_eq!(three("0, 0.5,1e-1"), Ok([0.0, 0.5, 0.1]));
        for text in ["", "1", "1,2", "1,2,3,4", "a,b,c"] {
            assert!(three(text).is_err(), "{text}");
        }
    }
}
