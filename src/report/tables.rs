//! What the page lists of training images and of what was measured, as tables for programs.
//!
//! | file | a row |
//! |---|---|
//! | `training_images.csv` | a training image at a model: label, prediction, losses in nats, self-influence and mean score over all queries in `unit`, positive = helpful |
//! | `duplicates.csv` | an image of a group of images that are the same, or nearly so |
//! | `measured.csv` | a test image at a model that was held against measured values: rises of its loss in nats without its most helpful images, and the fewest images that hold the prediction |

use super::record::{Audit, LabelledImage, Likeness};
use crate::Result;
use crate::artefact::{write_csv, write_csv_below};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct TrainingRow<'a> {
    model: &'a str,
    train: usize,
    file: &'a str,
    label: usize,
    class: &'a str,
    prediction: usize,
    predicted_class: &'a str,
    /// Of the label.
    probability: f64,
    loss: f64,
    held_out_loss: Option<f64>,
    self_influence: Option<f64>,
    mean_score: Option<f64>,
    unit: &'a str,
    positive: &'static str,
}

/// The columns of `duplicates.csv`, which often has no row that would say.
const DUPLICATES: [&str; 8] = [
    "group",
    "kind",
    "similarity",
    "set",
    "image",
    "file",
    "label",
    "class",
];

#[derive(Serialize)]
struct DuplicateRow<'a> {
    group: usize,
    kind: Likeness,
    similarity: f64,
    set: &'static str,
    image: usize,
    file: &'a str,
    /// Its own: of a test image without labels there is none.
    label: Option<usize>,
    class: &'a str,
}

/// The columns of `measured.csv`, which has no row where nothing was measured.
const MEASURED: [&str; 11] = [
    "model",
    "query",
    "file",
    "label",
    "class",
    "by",
    "removed",
    "predicted_rise",
    "measured_rise",
    "converged",
    "fewest",
];

#[derive(Serialize)]
struct MeasuredRow<'a> {
    model: &'a str,
    query: usize,
    file: &'a str,
    /// Its own: of a test image without labels there is none.
    label: Option<usize>,
    class: &'a str,
    by: &'static str,
    removed: Option<usize>,
    predicted_rise: Option<f64>,
    measured_rise: Option<f64>,
    converged: Option<bool>,
    fewest: Option<usize>,
}

/// Writes the tables of a record that [`write()`](super::write()) has taken.
///
/// # Errors
/// A file cannot be written.
pub fn write_tables(audit: &Audit, folder: &Path) -> Result<()> {
    write_csv(&training_rows(audit), &folder.join("training_images.csv"))?;
    let (rows, path) = (measured_rows(audit), folder.join("measured.csv"));
    write_csv_below(Some(&MEASURED), &rows, &path)?;
    let (rows, path) = (duplicate_rows(audit), folder.join("duplicates.csv"));
    write_csv_below(Some(&DUPLICATES), &rows, &path)
}

fn training_rows(audit: &Audit) -> Vec<TrainingRow<'_>> {
    let mut rows = Vec::new();
    for model in &audit.models {
        for (at, (image, own)) in audit.training.iter().zip(&model.training).enumerate() {
            let Some(own) = own else { continue };
            rows.push(TrainingRow {
                model: &model.name,
                train: image.id,
                file: file(&audit.training_data.files, at),
                label: own.label,
                class: &audit.classes[own.label],
                prediction: own.prediction,
                predicted_class: &audit.classes[own.prediction],
                probability: own.probability,
                loss: own.loss,
                held_out_loss: own.held_out_loss,
                self_influence: own.self_influence,
                mean_score: own.mean_score,
                unit: &model.unit,
                positive: "helpful",
            });
        }
    }
    rows
}

fn measured_rows(audit: &Audit) -> Vec<MeasuredRow<'_>> {
    let mut rows = Vec::new();
    for model in &audit.models {
        for (at, (image, query)) in audit.queries.iter().zip(&model.queries).enumerate() {
            let (removal, flip) = (query.removal, query.flip.as_ref());
            if removal.is_none() && flip.is_none() {
                continue;
            }
            let label = audit.labelled.then_some(image.label);
            let trained = removal.is_some_and(|removal| removal.converged.is_none());
            let fewest = flip.map(|flip| flip.images.len());
            rows.push(MeasuredRow {
                model: &model.name,
                query: image.id,
                file: file(&audit.training_data.query_files, at),
                label,
                class: label.map_or("", |label| audit.classes[label].as_str()),
                by: if trained { "training" } else { "refit" },
                removed: removal.map(|removal| removal.images),
                predicted_rise: removal.map(|removal| removal.predicted),
                measured_rise: removal.map(|removal| removal.measured),
                converged: removal.and_then(|removal| removal.converged),
                fewest: fewest.filter(|&images| images > 0),
            });
        }
    }
    rows
}

fn duplicate_rows(audit: &Audit) -> Vec<DuplicateRow<'_>> {
    let files = &audit.training_data;
    let mut rows = Vec::new();
    for (number, group) in audit.alike().enumerate() {
        let row = |set: &'static str, image: &LabelledImage, file| {
            let label = (set == "train" || audit.labelled).then_some(image.label);
            DuplicateRow {
                group: number,
                kind: group.kind,
                similarity: group.similarity,
                set,
                image: image.id,
                file,
                label,
                class: label.map_or("", |label| audit.classes[label].as_str()),
            }
        };
        let train = group.training.iter();
        rows.extend(train.map(|&at| row("train", &audit.training[at], file(&files.files, at))));
        let test = group.queries.iter();
        rows.extend(test.map(|&at| row("test", &audit.queries[at], file(&files.query_files, at))));
    }
    rows
}

fn file(files: &[String], at: usize) -> &str {
    files.get(at).map_or("", String::as_str)
}
