//! Material from a folder left by `ascribe transfer`: its model, its training images, and the queries.

use super::material::{Material, Side};
use crate::artefact::{Input, RunFolder, RunRecord, digest_file};
use crate::data::{Dataset, check_same_classes};
use crate::derivative::head::SoftmaxHead;
use crate::model::{ResNet, features, read_model};
use crate::{Error, Result};
use candle_core::Device;
use std::path::Path;

/// Opens the model's folder and computes the features of both sides; the number is the L2 term of the transfer.
pub(super) fn open(folder: &Path, test: Option<&Path>) -> Result<(Material, f64)> {
    let record = RunFolder::read(folder)?;
    if record.command != "transfer" {
        let reason = format!("holds a run of ascribe {}", record.command);
        let remedy = "give a folder left by ascribe transfer".into();
        return Err(Error::Conflict {
            path: folder.to_path_buf(),
            reason,
            remedy,
        });
    }
    let train = recorded(&record, "train")?;
    let test = match test {
        Some(path) => Dataset::open(path)?,
        None => recorded(&record, "test")?,
    };
    check_same_classes(&train, &test)?;
    let train_ids: Vec<usize> = record.result("train_ids")?;
    if let Some(id) = train_ids.iter().find(|&&id| id >= train.len()) {
        let expected = format!("training rows below {}", train.len());
        return Err(Error::mismatch(
            format!("{}: run.json", folder.display()),
            expected,
            id,
            "transfer again",
        ));
    }
    let file = folder.join("model.safetensors");
    let model = read_model(&file, &Device::Cpu)?;
    let (weight, bias) = model.head_parameters()?;
    let test_ids = (0..test.len()).collect();
    let material = Material {
        inputs: vec![
            super::super::data_input("train", &train),
            super::super::data_input("test", &test),
            Input {
                role: "model".into(),
                digest: digest_file(&file)?,
                path: file,
                rows: None,
            },
        ],
        class_count: model.classes().len(),
        classes: Some(model.classes().to_vec()),
        head: Some(SoftmaxHead::new(&weight, &bias)?),
        train: side(&model, &train, train_ids)?,
        test: side(&model, &test, test_ids)?,
    };
    Ok((material, record.option("l2")?))
}

/// A data set the transfer used, if it is still what it was.
fn recorded(record: &RunRecord, role: &str) -> Result<Dataset> {
    let run = record.folder.join("run.json");
    let input = record.input(role).ok_or_else(|| {
        Error::format(
            &run,
            "inputs",
            format!("an input {role}"),
            "none",
            "transfer again",
        )
    })?;
    let dataset = Dataset::open(&input.path)?;
    if dataset.digest() != input.digest {
        let reason = format!("has changed since {} was made", record.folder.display());
        let remedy = "put the original back, or transfer again".into();
        return Err(Error::Conflict {
            path: input.path.clone(),
            reason,
            remedy,
        });
    }
    Ok(dataset)
}

fn side(model: &ResNet, dataset: &Dataset, ids: Vec<usize>) -> Result<Side> {
    Ok(Side {
        features: features(model, dataset, &ids, &mut |_| {})?.into(),
        labels: ids.iter().map(|&id| dataset.label(id)).collect(),
        ids,
    })
}
