//! Which source model, and what its file does not say.

use crate::artefact::{Input, digest_bytes};
use crate::model::{Normalisation, ResNet, SourceSettings, source_from_bytes};
use crate::{Error, Result};
use candle_core::Device;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The options that name a source model.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SourceOptions {
    /// Source model: a folder left by ascribe train or ascribe fetch, a safetensors or a PyTorch file (.pt, .pth, .ckpt)
    /// with the names of torchvision, timm or robustness; builtin:natural and builtin:robust are the small ones that
    /// the demo uses
    #[arg(long, value_name = "MODEL")]
    source: PathBuf,
    /// Mean of the pixels (in [0, 1]) the source was trained with, where its file does not say
    #[arg(long, value_name = "R,G,B", value_parser = three, requires = "source_deviation", allow_hyphen_values = true)]
    source_mean: Option<[f64; 3]>,
    /// Standard deviation of those pixels
    #[arg(long, value_name = "R,G,B", value_parser = three, requires = "source_mean", allow_hyphen_values = true)]
    source_deviation: Option<[f64; 3]>,
    /// Height and width the images are resized to (default: what the source was made for)
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
}

fn three(text: &str) -> std::result::Result<[f64; 3], String> {
    let numbers: Option<Vec<f64>> = text
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or_else(|| "expected three numbers, as in 0.485,0.456,0.406".to_owned())
}

impl SourceOptions {
    /// The model, and what `run.json` says of its file.
    pub(super) fn open(&self) -> Result<(ResNet, Input)> {
        let (file, bytes) = source_bytes(&self.source)?;
        let normalisation = self.source_mean.zip(self.source_deviation);
        let normalisation =
            normalisation.map(|(mean, deviation)| Normalisation { mean, deviation });
        let settings = SourceSettings { normalisation };
        let model = source_from_bytes(&bytes, &file, settings, &Device::Cpu)?;
        let model = match self.side {
            Some(side) => model.with_side(side)?,
            None => model,
        };
        let input = Input {
            role: "source".into(),
            digest: digest_bytes(&bytes),
            path: file,
            rows: None,
        };
        Ok((model, input))
    }
}

/// The file behind a source's path or built-in name, and its bytes.
pub(super) fn source_bytes(path: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let built_in: &[u8] = match path.to_str() {
        Some("builtin:natural") => include_bytes!("../../fixtures/source/natural.safetensors"),
        Some("builtin:robust") => include_bytes!("../../fixtures/source/robust.safetensors"),
        _ => {
            let file = weight_file(path)?;
            let bytes = std::fs::read(&file).map_err(Error::io(&file, "read"))?;
            return Ok((file, bytes));
        }
    };
    Ok((path.to_path_buf(), built_in.to_vec()))
}

/// Whether a file of this name holds weights.
pub(super) fn is_weight_file(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    matches!(
        &*extension.to_lowercase(),
        "safetensors" | "pt" | "pth" | "ckpt"
    )
}

/// `model.safetensors` of a folder, or its only weight file; a path that is no folder is the file itself.
fn weight_file(path: &Path) -> Result<PathBuf> {
    let usual = path.join("model.safetensors");
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    if usual.exists() {
        return Ok(usual);
    }
    let entries = std::fs::read_dir(path).map_err(Error::io(path, "read"))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = files.filter(|file| is_weight_file(file)).collect();
    files.sort_unstable();
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(file),
        (None, _) => Err(Error::format(
            path,
            "folder",
            "model.safetensors, or one .safetensors, .pt, .pth or .ckpt file",
            "none",
            "give a folder left by ascribe train, ascribe transfer or ascribe fetch, or a weight file",
        )),
        (Some(file), false) => Err(Error::format(
            path,
            "folder",
            "one weight file",
            format!(
                "{} and {}",
                files[files.len() - 1].display(),
                file.display()
            ),
            "give the path of one of them",
        )),
    }
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

    #[test]
    fn a_folder_stands_for_its_weight_file() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let message = weight_file(folder.path()).unwrap_err().to_string();
        assert!(message.contains("found none"), "{message}");
        std::fs::write(place("resnet50_l2_eps3.ckpt"), "").unwrap();
        std::fs::write(place("fetch.json"), "").unwrap();
        assert_eq!(
            weight_file(folder.path()).unwrap(),
            place("resnet50_l2_eps3.ckpt")
        );
        std::fs::write(place("other.pth"), "").unwrap();
        let message = weight_file(folder.path()).unwrap_err().to_string();
        assert!(message.contains("other.pth and "), "{message}");
        std::fs::write(place("model.safetensors"), "").unwrap();
        assert_eq!(
            weight_file(folder.path()).unwrap(),
            place("model.safetensors")
        );
    }
}
