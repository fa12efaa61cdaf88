//! A source model by its path or built-in name.

use super::checkpoint::{backbone_from_bytes, begins_as_weights};
use super::{ResNet, SourceSettings, source_from_bytes};
use crate::artefact::{Input, RunFolder, check_digest_as_left, digest_bytes};
use crate::data::{Dataset, names_in};
use crate::{Error, Result};
use candle_core::Device;
use std::path::{Path, PathBuf};

/// Opens a source model; with what `run.json` says of its file.
///
/// # Errors
/// A path without a weight file, or one that [`source_from_bytes`] refuses.
pub fn open_source(path: &Path, settings: SourceSettings) -> Result<(ResNet, Input)> {
    let (bytes, input) = read(path)?;
    let model = source_from_bytes(&bytes, &input.path, settings, &Device::Cpu)?;
    Ok((settings.framed(model)?, input))
}

/// A source model whose classifier is to be replaced.
#[derive(Debug)]
pub struct Backbone {
    /// The network; where its file has no classifier, with one of a single class that predicts nothing.
    pub model: ResNet,
    /// Whether the file has a classifier.
    pub has_classifier: bool,
    /// What `run.json` says of the file.
    pub input: Input,
}

/// Opens a source model whose classifier is to be replaced, and may be missing.
///
/// # Errors
/// As [`open_source`], but for a file without a classifier.
pub fn open_backbone(path: &Path, settings: SourceSettings) -> Result<Backbone> {
    let (bytes, input) = read(path)?;
    let (model, has_classifier) = backbone_from_bytes(&bytes, &input.path, settings, &Device::Cpu)?;
    Ok(Backbone {
        model: settings.framed(model)?,
        has_classifier,
        input,
    })
}

impl Backbone {
    /// Notes in `run.json` that there was no classifier to replace, where that is so.
    ///
    /// # Errors
    /// As [`RunFolder::note_result`].
    pub(crate) fn note_classifier(&self, run: &mut RunFolder) -> Result<()> {
        match self.has_classifier {
            true => Ok(()),
            false => run.note_result("source_has_classifier", false),
        }
    }
}

/// The bytes of a source's file, which is as the run that left it says; and what `run.json` says of it.
fn read(path: &Path) -> Result<(Vec<u8>, Input)> {
    let (file, bytes) = source_bytes(path)?;
    let digest = digest_bytes(&bytes);
    check_digest_as_left(&file, &digest)?;
    let input = Input {
        role: "source".into(),
        digest,
        path: file,
        rows: None,
    };
    Ok((bytes, input))
}

/// The file behind a source's path or built-in name, and its bytes.
pub(crate) fn source_bytes(path: &Path) -> Result<(PathBuf, Vec<u8>)> {
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
pub(crate) fn is_weight_file(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    matches!(
        &*extension.to_lowercase(),
        "safetensors" | "pt" | "pth" | "ckpt"
    )
}

/// Endings of checkpoints of training programs.
const CHECKPOINTS: [&str; 3] = [".pth.tar", ".pt.best", ".pt.latest"];

fn ends_with_one_of(path: &Path, endings: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    endings.iter().any(|ending| name.ends_with(*ending))
}

/// Whether a file of another name holds weights, by the endings of checkpoints or by its first bytes; none that is of a format of data.
pub(crate) fn holds_weights(path: &Path) -> bool {
    let holds = || ends_with_one_of(path, &CHECKPOINTS) || begins_as_weights(path);
    path.is_file() && !Dataset::recognises(path) && holds()
}

/// The weight files of a folder, in the order of their names. Checkpoints and `.bin` are looked at only where no file is surely one:
/// beside such they are older states, or something else.
pub(crate) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = names_in(folder)?.into_iter();
    let files = names.map(|name| folder.join(name));
    let (mut found, others): (Vec<PathBuf>, Vec<PathBuf>) =
        files.partition(|file| is_weight_file(file));
    if found.is_empty() {
        let may_be = |file: &PathBuf| {
            ends_with_one_of(file, &CHECKPOINTS) || ends_with_one_of(file, &[".bin"])
        };
        let others = others.into_iter().filter(may_be);
        found.extend(others.filter(|file| holds_weights(file)));
    }
    Ok(found)
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
    if path.join("run.json").exists() {
        // What an unfinished run left is no model yet.
        RunFolder::read(path)?;
    }
    let mut files = weight_files(path)?;
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(file),
        (None, _) => Err(Error::format(
            path,
            "folder",
            "model.safetensors, or one .safetensors, .pt, .pth, .ckpt, .pth.tar, .pt.best, .pt.latest or .bin file",
            "none",
            "give a folder left by ascribe train, transfer, adopt or fetch, or a weight file",
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

    #[test]
    fn checkpoints_by_other_names_are_told_by_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let saved = include_bytes!("../../fixtures/checkpoints/half.pt");
        let legacy = include_bytes!("../../fixtures/checkpoints/legacy.pth");
        let tensors = include_bytes!("../../fixtures/checkpoints/bottleneck.safetensors");
        for (name, bytes) in [
            ("pytorch_model.bin", &saved[..]),
            ("epoch-9", &legacy[..]),
            ("weights.old", &tensors[..]),
            ("model_best.pth.tar", &b"version https://git-lfs"[..]),
        ] {
            std::fs::write(place(name), bytes).unwrap();
            assert!(
                !is_weight_file(&place(name)) && holds_weights(&place(name)),
                "{name}"
            );
        }
        let archive = include_bytes!("../../fixtures/small/iris.npz");
        for (name, bytes) in [
            ("data_batch_1.bin", &saved[..]),
            ("images.zip", &archive[..]),
            ("vocabulary.bin", &b"12345678{}"[..]),
            ("notes.txt", &b""[..]),
        ] {
            std::fs::write(place(name), bytes).unwrap();
            assert!(!holds_weights(&place(name)), "{name}");
        }
        let message = weight_file(folder.path()).unwrap_err().to_string();
        assert!(message.contains("model_best.pth.tar and "), "{message}");
        std::fs::remove_file(place("model_best.pth.tar")).unwrap();
        let found = weight_file(folder.path()).unwrap();
        assert_eq!(found, place("pytorch_model.bin"));
        std::fs::write(place("other.pth"), "").unwrap();
        assert_eq!(weight_file(folder.path()).unwrap(), place("other.pth"));
    }
}
