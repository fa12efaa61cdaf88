//! Material from a folder left by `ascribe transfer` or `ascribe adopt`: its model, its training images, and the queries.

use super::damping::Training;
use super::examples::files;
use super::material::{Material, Side};
use crate::artefact::{
    Input, RunFolder, RunRecord, check_digest_as_left, digest_bytes, digest_file,
};
use crate::cli::counting::Counting;
use crate::cli::recorded_data::{recorded_data, relabelled};
use crate::cli::train_groups::{TrainGrouping, TrainImages, note_whole_classes};
use crate::data::{Dataset, NewLabels, check_same_classes, evenly_spaced};
use crate::derivative::head::SoftmaxHead;
use crate::influence::{Groups, Measurement};
use crate::model::{Blocks, ResNet, features, read_model};
use crate::train::Schedule;
use crate::{Error, Result};
use candle_core::{DType, Device};
use serde_json::json;
use std::path::Path;

/// The input that stands for the images, labels and L2 term of a model's training.
pub(super) const TRAINED_ON: &str = "trained-on";

/// A model with the images that it was fine-tuned on, and queries.
pub(in crate::cli) struct Transferred {
    pub(in crate::cli) model: ResNet,
    pub(in crate::cli) train: Dataset,
    pub(in crate::cli) test: Dataset,
    pub(super) train_ids: Vec<usize>,
    pub(super) test_ids: Vec<usize>,
    pub(super) inputs: Vec<Input>,
    /// Labels other than those of the training file.
    pub(super) relabelled: NewLabels,
    /// How it was trained.
    pub(super) training: Training,
    /// What was fine-tuned.
    pub(super) blocks: Blocks,
}

/// Opens the model's folder, the model on `device`; of the test images, `queries` evenly spaced ones where that is given. Images given
/// to be measured at predictions have label 0.
pub(super) fn open(
    folder: &Path,
    (test, measurement): (Option<&Path>, Measurement),
    queries: Option<usize>,
    device: &Device,
) -> Result<Transferred> {
    let record = RunFolder::read(folder)?;
    if !["transfer", "adopt"].contains(&record.command.as_str()) {
        let reason = format!("holds a run of ascribe {}", record.command);
        let remedy = "give a folder left by ascribe transfer or ascribe adopt";
        return Err(Error::conflict(folder, reason, remedy));
    }
    let train = recorded_data(&record, "train")?;
    let test = match (test, measurement) {
        (Some(path), Measurement::Label) => Dataset::open(path)?,
        (Some(path), Measurement::Prediction) => Dataset::open_unlabelled(path, train.classes())?,
        (None, _) => recorded_data(&record, "test")?,
    };
    check_same_classes(&train, &test)?;
    let train_ids: Vec<usize> = record.result("train_ids")?;
    check_ids(&train_ids, train.len()).map_err(|(expected, found)| {
        let what = format!("{}: run.json: train_ids", folder.display());
        let remedy = format!("run ascribe {} again", record.command);
        Error::mismatch(what, expected, found, remedy)
    })?;
    let file = folder.join("model.safetensors");
    let digest = digest_file(&file)?;
    check_digest_as_left(&file, &digest)?;
    let model = read_model(&file, device)?;
    let (relabelled, l2): (_, f64) = (relabelled(&record)?, record.option("l2")?);
    let trained_on = json!([train_ids, relabelled, l2]).to_string();
    let inputs = vec![
        train.input("train"),
        test.input("test"),
        Input {
            role: "model".into(),
            digest,
            path: file,
            rows: None,
        },
        // The weights do not say which images, labels and L2 term they are from: a model that is adopted anew keeps them.
        Input {
            role: TRAINED_ON.into(),
            digest: digest_bytes(trained_on.as_bytes()),
            path: folder.join("run.json"),
            rows: Some(train_ids.len()),
        },
    ];
    let blocks = record.option("blocks")?;
    Ok(Transferred {
        test_ids: chosen(test.len(), queries)?,
        model,
        train,
        test,
        inputs,
        training: Training {
            l2,
            time: training_time(&record, train_ids.len())?,
            of_head: blocks == Blocks::Last(0),
        },
        relabelled,
        blocks,
        train_ids,
    })
}

/// Σ rate / (1 − momentum) over the steps of a transfer of `images` images; nothing of what was trained elsewhere.
fn training_time(record: &RunRecord, images: usize) -> Result<Option<f64>> {
    if record.command != "transfer" {
        return Ok(None);
    }
    let (batch, epochs): (usize, usize) = (record.option("batch-size")?, record.option("epochs")?);
    let (rate, momentum): (f64, f64) =
        (record.option("learning-rate")?, record.option("momentum")?);
    let schedule: Schedule = record.option("schedule")?;
    let steps = images.div_ceil(batch.max(1)) as f64;
    Ok(Some(
        steps * rate * schedule.total(epochs) / (1.0 - momentum),
    ))
}

/// Positions of the queries: evenly spaced where so many are asked for.
pub(super) fn chosen(count: usize, queries: Option<usize>) -> Result<Vec<usize>> {
    match queries {
        None => Ok((0..count).collect()),
        Some(queries) if (1..=count).contains(&queries) => Ok(evenly_spaced(count, queries)),
        Some(queries) => Err(Error::config(
            "queries",
            format!("{queries} is not between 1 and the {count} test images there are"),
        )),
    }
}

impl Transferred {
    /// Gives the queries the classes that the model predicts.
    pub(super) fn label_by_prediction(&mut self) -> Result<()> {
        let mut test = side(&self.model, &self.test, &self.test_ids)?;
        let precision = test.features.dtype();
        test.label_by_prediction(&self.head()?, precision)?;
        self.relabel(&test.labels_by_id())
    }

    /// The groups of training images that are asked for; a file of them becomes an input.
    pub(super) fn train_groups(&mut self, grouping: &TrainGrouping) -> Result<Groups> {
        let label = |&id: &usize| self.train.label(id);
        let labels: Vec<usize> = self.train_ids.iter().map(label).collect();
        let images = TrainImages {
            ids: &self.train_ids,
            labels: &labels,
            classes: self.model.classes(),
        };
        let groups = grouping.groups(&images, &mut self.inputs)?;
        note_whole_classes(&groups, &labels);
        Ok(groups)
    }

    /// The labels of the queries, by id.
    pub(super) fn query_labels(&self) -> NewLabels {
        let label = |&id: &usize| (id, self.test.label(id));
        self.test_ids.iter().map(label).collect()
    }

    /// Gives queries other labels, by id.
    pub(super) fn relabel(&mut self, labels: &NewLabels) -> Result<()> {
        self.test = self.test.clone().relabelled(labels)?;
        Ok(())
    }

    fn head(&self) -> Result<SoftmaxHead> {
        let (weight, bias) = self.model.head_parameters()?;
        SoftmaxHead::new(&weight, &bias)
    }

    /// The features of both sides, and the head, computed in `precision`.
    pub(super) fn material(&self, precision: DType) -> Result<Material> {
        let model = match self.model.dtype()? == precision {
            true => self.model.clone(),
            false => self.model.to_dtype(precision)?,
        };
        Ok(Material {
            class_count: self.model.classes().len(),
            classes: Some(self.model.classes().to_vec()),
            head: Some(self.head()?),
            train: side(&model, &self.train, &self.train_ids)?,
            test: side(&model, &self.test, &self.test_ids)?,
            inputs: self.inputs.clone(),
            relabelled: self.relabelled.clone(),
        })
    }
}

fn side(model: &ResNet, dataset: &Dataset, ids: &[usize]) -> Result<Side> {
    let what = format!("features of {}", dataset.path().display());
    let mut counting = Counting::new(what, "images");
    Ok(Side {
        features: features(model, dataset, ids, &mut |done| {
            counting.show(done, ids.len())
        })?
        .into(),
        labels: ids.iter().map(|&id| dataset.label(id)).collect(),
        ids: ids.to_vec(),
        files: files(dataset, ids),
    })
}

/// Refuses ids of no image, of one that is not there, or of one twice; with what was expected and found.
fn check_ids(ids: &[usize], rows: usize) -> std::result::Result<(), (String, String)> {
    let mut seen = vec![false; rows];
    for &id in ids {
        match seen.get_mut(id) {
            None => return Err((format!("training rows below {rows}"), id.to_string())),
            Some(true) => return Err(("each training row once".into(), format!("{id} twice"))),
            Some(seen) => *seen = true,
        }
    }
    match ids.is_empty() {
        true => Err(("at least one training row".into(), "none".into())),
        false => Ok(()),
    }
}
