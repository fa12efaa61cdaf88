//! `--keep-features`: what a head sees of the images, for other programs, and the head itself.
//!
//! `train_features.safetensors` and `test_features.safetensors` hold `features` `[n, d]` and `labels` `[n]` in the order of
//! `examples.parquet`, and class names as metadata; `head.safetensors` holds `weight` `[C, d]`, `bias` `[C]` and its L2 term. `ascribe
//! rank --train --test --head` reads them as they are.

use super::material::{Material, Side};
use crate::artefact::write_atomically;
use crate::data::L2;
use crate::derivative::head::SoftmaxHead;
use crate::model::write_tensors;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Leaves the features of both sides and the head of a model, which was trained with that L2 term.
pub(super) fn leave(material: &Material, l2: f64, folder: &Path) -> Result<()> {
    let classes = material.classes.as_deref();
    let sides = [("train", &material.train), ("test", &material.test)];
    for (name, side) in sides {
        let path = folder.join(format!("{name}_features.safetensors"));
        write_side(side, classes, &path)?;
    }
    match &material.head {
        Some(head) => write_head(head, l2, &folder.join("head.safetensors")),
        None => Ok(()),
    }
}

fn write_side(side: &Side, classes: Option<&[String]>, path: &Path) -> Result<()> {
    let labels: Vec<i64> = side.labels.iter().map(|&label| label as i64).collect();
    let count = labels.len();
    let tensors = BTreeMap::from([
        ("features".to_owned(), side.features.all()?),
        (
            "labels".to_owned(),
            Tensor::from_vec(labels, count, &Device::Cpu)?,
        ),
    ]);
    let names = classes.map(|names| ("classes".to_owned(), serde_json::json!(names).to_string()));
    write_tensors(&tensors, names.into_iter().collect(), path)
}

/// Leaves a head with the L2 term that it was fitted with.
pub(super) fn write_head(head: &SoftmaxHead, l2: f64, path: &Path) -> Result<()> {
    let tensors = [("weight", head.weight()?), ("bias", head.bias()?)];
    let stated = HashMap::from([(L2.to_owned(), l2.to_string())]);
    let bytes = safetensors::serialize(tensors, Some(stated))
        .map_err(|reason| Error::io(path, "write")(std::io::Error::other(reason)))?;
    write_atomically(path, &bytes)
}
