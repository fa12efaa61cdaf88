//! The page's data in pieces: scripts that hand over one JSON value each.
//!
//! A page opened from a disk may not read files, but it may run scripts that lie beside it. So every piece is the script
//! `ascribe.take("NAME", VALUE);`: what the first view needs, columns over all queries and over all training images (for lists
//! and filters), and details of 100 images at a time, which are loaded when one of them is looked at.
//!
//! Numbers keep five digits. `<` is written `\u003c`, so that no text from a data set can end a script.

use super::record::{Audit, AuditedModel, Confusion, Ranked, TrainingGroup};
use super::sheets::Layout;
use crate::evaluate::Interval;
use crate::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Images whose details are in one piece.
const PER_PIECE: usize = 100;
/// Queries that the details of a training image list at either end.
const QUERIES_OF_AN_IMAGE: usize = 24;

/// A piece and its name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    /// Also that of its file, without `.js`.
    pub(super) name: String,
    value: Value,
}

impl Piece {
    fn new(name: impl Into<String>, value: Value) -> Self {
        let name = name.into();
        Self { name, value }
    }

    /// The script; `path` is where it is to go.
    pub(super) fn script(&self, path: &Path) -> Result<String> {
        let value = serde_json::to_string(&self.value)
            .map_err(|reason| Error::io(path, "write as JSON")(reason.into()))?;
        let value = value.replace('<', "\\u003c");
        Ok(format!("ascribe.take({:?}, {value});\n", self.name))
    }
}

/// All pieces of an audit, one after the other.
pub(super) fn pieces<'a>(
    audit: &'a Audit,
    layouts: &'a [Layout],
) -> impl Iterator<Item = Piece> + 'a {
    let fixed = [
        Piece::new("overview", overview(audit, layouts)),
        Piece::new("queries", query_columns(audit)),
        Piece::new("training", training_columns(audit)),
        Piece::new("confusions", confusions(audit)),
    ];
    let queries = (0..audit.queries.len()).step_by(PER_PIECE);
    let queries = queries.map(|first| query_details(audit, first));
    let behind = queries_behind(audit);
    let training = (0..audit.training.len()).step_by(PER_PIECE);
    let training = training.map(move |first| training_details(audit, &behind, first));
    fixed.into_iter().chain(queries).chain(training)
}

fn overview(audit: &Audit, layouts: &[Layout]) -> Value {
    let model = |model: &AuditedModel| {
        let counts = model
            .confusions
            .iter()
            .map(|cell| (cell.label, cell.prediction, cell.queries.len()));
        json!({
            "name": model.name,
            "facts": model.facts,
            "statements": model.statements,
            "absences": model.absences,
            "unit": model.unit,
            "class_match": model.class_match.iter().map(|curve| json!({
                "queries": curve.queries,
                "chance": digits(curve.chance_percent),
                "percent": curve.percent.iter().copied().map(digits).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "cells": counts.collect::<Vec<_>>(),
            "largest_score": largest_score(model),
            "groups": column(&model.groups, group),
        })
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "title": audit.title,
        "classes": audit.classes,
        "models": audit.models.iter().map(model).collect::<Vec<_>>(),
        "layouts": layouts.iter().map(|layout| (layout.name.clone(), json!(layout)))
            .collect::<BTreeMap<_, _>>(),
        "paired": audit.paired,
        "left_out": audit.left_out,
        "labelled": audit.labelled,
        "per_piece": PER_PIECE,
        "data": audit.training_data.digest,
        "rows": audit.training_data.rows,
    })
}

fn group(group: &TrainingGroup) -> Value {
    json!({
        "name": group.name,
        "images": group.images.len(),
        "score": digits(group.score),
        "measured": group.measured.map(|measured| json!({
            "rise": interval(measured.rise),
            "right": measured.right_change.map(interval),
            "converged": measured.converged,
        })),
    })
}

fn interval(interval: Interval) -> Value {
    json!([interval.value, interval.low, interval.high].map(digits))
}

/// For the unit that all scores of the model are shown in.
fn largest_score(model: &AuditedModel) -> f64 {
    let ranked = model.queries.iter().flat_map(|query| {
        let ends = [query.helpful.first(), query.harmful.first()];
        ends.into_iter().flatten()
    });
    ranked.fold(0.0, |most, image| f64::max(most, image.score.abs()))
}

fn query_columns(audit: &Audit) -> Value {
    let models = audit.models.iter().map(|model| {
        let probability = |query: &super::record::ModelQuery| query.probabilities[query.prediction];
        json!({
            "prediction": column(&model.queries, |query| query.prediction),
            "probability": column(&model.queries, |query| digits(probability(query))),
            "loss": column(&model.queries, |query| digits(query.loss)),
            "flip": column(&model.queries, |query| query.flip.as_ref().map(|flip| flip.images.len())),
        })
    });
    json!({
        "id": column(&audit.queries, |query| query.id),
        "label": column(&audit.queries, |query| query.label),
        "file": audit.training_data.query_files,
        "models": models.collect::<Vec<_>>(),
    })
}

fn training_columns(audit: &Audit) -> Value {
    let models = audit.models.iter().map(|model| {
        let images = &model.training;
        json!({
            "label": column(images, |image| image.map(|image| image.label)),
            "prediction": column(images, |image| image.map(|image| image.prediction)),
            "probability": column(images, |image| image.map(|image| digits(image.probability))),
            "loss": column(images, |image| image.map(|image| digits(image.loss))),
            "held": column(images, |image| image.and_then(|image| image.held_out_loss).map(digits)),
            "self": column(images, |image| image.and_then(|image| image.self_influence).map(digits)),
            "mean": column(images, |image| image.and_then(|image| image.mean_score).map(digits)),
            "groups": model.groups.iter().map(|group| &group.images).collect::<Vec<_>>(),
        })
    });
    json!({
        "id": column(&audit.training, |image| image.id),
        "label": column(&audit.training, |image| image.label),
        "file": audit.training_data.files,
        "models": models.collect::<Vec<_>>(),
        "duplicates": audit.duplicates,
        "compared": audit.compared,
        "alike": audit.alike,
    })
}

fn confusions(audit: &Audit) -> Value {
    let cell = |cell: &Confusion| {
        json!({
            "label": cell.label,
            "prediction": cell.prediction,
            "queries": cell.queries,
            "computed": cell.computed,
            "helpful": ranked(&cell.helpful),
            "harmful": ranked(&cell.harmful),
        })
    };
    let model = |model: &AuditedModel| column(&model.confusions, cell);
    json!(column(&audit.models, model))
}

fn query_details(audit: &Audit, first: usize) -> Piece {
    let last = (first + PER_PIECE).min(audit.queries.len());
    let model = |model: &AuditedModel, position: usize| {
        let query = &model.queries[position];
        json!({
            "probabilities": column(&query.probabilities, |p| digits(*p)),
            "helpful": ranked(&query.helpful),
            "harmful": ranked(&query.harmful),
            "groups": column(&query.groups, |(group, score)| json!([group, digits(*score)])),
            "removal": query.removal.map(|removal| json!({
                "images": removal.images,
                "predicted": digits(removal.predicted),
                "measured": digits(removal.measured),
                "converged": removal.converged,
            })),
            "flip": query.flip,
        })
    };
    let details = (first..last).map(|position| column(&audit.models, |m| model(m, position)));
    let name = format!("query-{}", first / PER_PIECE);
    Piece::new(name, json!(details.collect::<Vec<_>>()))
}

/// For each model and training image, the queries that rank it, with its score.
type Behind = Vec<Vec<Vec<(usize, f64)>>>;

fn queries_behind(audit: &Audit) -> Behind {
    let of = |model: &AuditedModel| {
        let mut behind = vec![Vec::new(); audit.training.len()];
        for (position, query) in model.queries.iter().enumerate() {
            for image in query.helpful.iter().chain(&query.harmful) {
                // An image may be at both ends where a list is as long as the training set.
                let scores: &mut Vec<(usize, f64)> = &mut behind[image.train];
                if scores.last().is_none_or(|&(last, _)| last != position) {
                    scores.push((position, image.score));
                }
            }
        }
        let sort = |scores: &mut Vec<(usize, f64)>| scores.sort_by(|a, b| b.1.total_cmp(&a.1));
        behind.iter_mut().for_each(sort);
        behind
    };
    audit.models.iter().map(of).collect()
}

fn training_details(audit: &Audit, behind: &Behind, first: usize) -> Piece {
    let last = (first + PER_PIECE).min(audit.training.len());
    let pair = |&(position, score): &(usize, f64)| (position, digits(score));
    let details = (first..last).map(|position| {
        column(behind, |model| {
            let scores = &model[position];
            let helps = scores.iter().filter(|(_, score)| *score > 0.0);
            let harms = scores.iter().rev().filter(|(_, score)| *score < 0.0);
            json!({
                "helps": helps.take(QUERIES_OF_AN_IMAGE).map(pair).collect::<Vec<_>>(),
                "harms": harms.take(QUERIES_OF_AN_IMAGE).map(pair).collect::<Vec<_>>(),
                "ranked_by": scores.len(),
            })
        })
    });
    let name = format!("image-{}", first / PER_PIECE);
    Piece::new(name, json!(details.collect::<Vec<_>>()))
}

/// Positions, scores and certificates of ranked images, each a list; no third list where nothing was proven.
fn ranked(images: &[Ranked]) -> Value {
    let certified: Option<Vec<u8>> = images
        .iter()
        .map(|image| image.certified.map(u8::from))
        .collect();
    json!({
        "train": column(images, |image| image.train),
        "score": column(images, |image| digits(image.score)),
        "certified": certified.filter(|flags| !flags.is_empty()),
    })
}

fn column<I, T: Serialize>(items: &[I], of: impl Fn(&I) -> T) -> Vec<T> {
    items.iter().map(of).collect()
}

/// Five significant digits.
fn digits(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_a_script() {
        let piece = Piece::new("overview", json!({ "title": "</script><b>\"&\u{2028}" }));
        let script = piece.script(Path::new("overview.js")).unwrap();
        assert!(!script.contains('<'), "{script}");
        let value = script
            .strip_prefix("ascribe.take(\"overview\", ")
            .and_then(|rest| rest.strip_suffix(");\n"))
            .unwrap();
        assert_eq!(serde_json::from_str::<Value>(value).unwrap(), piece.value);
    }

    #[test]
    fn numbers_keep_five_digits() {
        assert_eq!(digits(1.234_567_8e-7), 1.2346e-7);
        assert_eq!(digits(-98_765.4), -98_765.0);
        assert_eq!(digits(0.0), 0.0);
    }
}
