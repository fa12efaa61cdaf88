//! A source model by its path or built-in name.

use super::{ResNet, SourceSettings, source_from_bytes};
use crate::artefact::{Input, RunFolder, check_digest_as_left, digest_bytes};
use crate::{Error, Result};
use candle_core::Device;
use std::path::{Path, PathBuf};

/// Opens a source model; with what `run.json` says of its file.
///
/// # Errors
/// A path without a weight file, or one that [`source_from_bytes`] refuses.
pub fn open_source(path: &Path, settings: SourceSettings) -> Result<(ResNet, Input)> {
    let (file, bytes) = source_bytes(path)?;
    let digest = digest_bytes(&bytes);
    check_digest_as_left(&file, &digest)?;
    let model = source_from_bytes(&bytes, &file, settings, &Device::Cpu)?;
    let model = settings.framed(model)?;
    let input = Input {
        role: "source".into(),
        digest,
        path: file,
        rows: None,
    };
    Ok((model, input))
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
}
