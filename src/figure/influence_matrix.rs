//! The influence matrix, sorted by class: which classes help and harm which.
//!
//! Rows are queries, columns training images, both sorted by true class (test images that are ranked at their prediction by the
//! predicted one) and, within one, by id. Neighbours share a cell: each class is cut into equal parts, and a cell is the mean
//! score of its queries and training images, divided by the root mean square of all scores of its panel, so that models whose
//! scores differ in size can be compared. Blue is helpful, orange harmful, white neither; colours end at a limit that all panels
//! share, the 98th percentile of the cells' sizes.
//!
//! Utrera et al. draw single scores, divided by the Frobenius norm and clipped at ±1e-5, a thirtieth (training) and an
//! eighteenth (test images) of their root mean square: little but the signs is left. Read are `scores.npy` and `train_scores.npy`.

mod drawing;
#[cfg(test)]
mod tests;

use super::{Drawn, Figure, Sheet, Style};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

/// Cells along each side of a panel, at most; more classes than that cannot be told apart.
const MOST_CELLS: usize = 150;
/// Cells of a class along each side, at most.
const MOST_PARTS: usize = 12;
/// Where colours end: this share of all cells lies within.
const WITHIN: f64 = 0.98;

/// Panels of mean scores, one for each model and set of queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InfluenceMatrix {
    /// Class names, in the order of rows and columns.
    pub classes: Vec<String>,
    /// Cells of each class, along rows and along columns.
    pub parts: usize,
    /// Models in their order; of each the test images and then, where they were scored, the training images.
    pub panels: Vec<MatrixPanel>,
}

/// One model's scores of one set of queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixPanel {
    /// The model's name.
    pub model: String,
    /// Whose training images are scored.
    pub queries: MatrixQueries,
    /// Whether the queries count as images of the class that is predicted.
    #[serde(default)]
    pub predicted: bool,
    /// √(mean of score²), in `unit`.
    pub root_mean_square: f64,
    /// The unit of the scores.
    pub unit: String,
    /// Mean scores in units of that: `C·parts` rows of queries, each `C·parts` cells of training images.
    pub cells: Vec<Vec<f64>>,
}

/// The queries of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatrixQueries {
    /// The test images.
    Test,
    /// The training images themselves.
    Train,
}

/// What one model says.
pub struct ModelScores<'a> {
    /// What the model is called.
    pub model: &'a str,
    /// The queries.
    pub queries: MatrixQueries,
    /// Whether they count as images of the class that is predicted.
    pub predicted: bool,
    /// `[query, train]`, in `unit`.
    pub scores: ArrayView2<'a, f32>,
    /// The unit of the scores.
    pub unit: &'a str,
    /// The queries' classes.
    pub query_labels: &'a [usize],
    /// The training images' classes.
    pub train_labels: &'a [usize],
}

impl MatrixQueries {
    /// In words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Test => "test images",
            Self::Train => "training images",
        }
    }
}

impl MatrixPanel {
    /// Every cell with its row and column.
    fn placed(&self) -> impl Iterator<Item = ((usize, usize), f64)> {
        let rows = self.cells.iter().enumerate();
        rows.flat_map(|(query, row)| {
            (row.iter().enumerate()).map(move |(train, &cell)| ((query, train), cell))
        })
    }
}

impl InfluenceMatrix {
    /// The figure of these scores, whose labels count `classes`; those that no image has are left out.
    ///
    /// # Errors
    /// No scores, no images, labels that do not fit them, a class that one side lacks, more than 150 classes, a score that is not finite.
    pub fn of(classes: Vec<String>, models: &[ModelScores]) -> Result<Self> {
        let places = places(&classes, models)?;
        let labels: Vec<[Vec<usize>; 2]> = models
            .iter()
            .map(|model| {
                [model.query_labels, model.train_labels]
                    .map(|labels| labels.iter().map(|&label| places[label]).collect())
            })
            .collect();
        let classes: Vec<String> = (classes.into_iter().zip(&places))
            .filter(|(_, place)| **place < usize::MAX)
            .map(|(class, _)| class)
            .collect();
        let count = classes.len();
        if count > MOST_CELLS {
            let expected = format!("at most {MOST_CELLS} classes");
            let remedy = "draw a run with fewer classes";
            return Err(Error::mismatch("influence matrix", expected, count, remedy));
        }
        let mut parts = MOST_PARTS.min(MOST_CELLS / count.max(1));
        for (model, [queries, train]) in models.iter().zip(&labels) {
            let sides = [
                (queries, model.queries.description(), "rank more queries"),
                (
                    train,
                    "training images",
                    "rank without the queries of that class",
                ),
            ];
            for (labels, side, remedy) in sides {
                parts = parts.min(smallest_class(labels, &classes, (side, remedy))?);
            }
        }
        let panel = |(model, labels)| panel(model, labels, count, parts);
        let figure = Self {
            panels: (models.iter().zip(&labels))
                .map(panel)
                .collect::<Result<_>>()?,
            classes,
            parts,
        };
        figure.check()?;
        Ok(figure)
    }

    /// Where colours end, in root mean squares.
    fn limit(&self) -> f64 {
        let cells = self
            .panels
            .iter()
            .flat_map(|panel| panel.cells.iter().flatten());
        let mut sizes: Vec<f64> = cells.map(|cell| cell.abs()).collect();
        sizes.sort_unstable_by(f64::total_cmp);
        let at = (WITHIN * sizes.len().saturating_sub(1) as f64).round() as usize;
        sizes
            .get(at)
            .copied()
            .filter(|size| *size > 0.0)
            .unwrap_or(1.0)
    }
}

/// The place of each class among those that some image has, `usize::MAX` for the others.
fn places(classes: &[String], models: &[ModelScores]) -> Result<Vec<usize>> {
    let mut places = vec![usize::MAX; classes.len()];
    let sides = models
        .iter()
        .flat_map(|model| [model.query_labels, model.train_labels]);
    for &label in sides.flatten() {
        let Some(place) = places.get_mut(label) else {
            let expected = format!("labels below {}", classes.len());
            let remedy = "run ascribe rank again";
            return Err(Error::mismatch("influence matrix", expected, label, remedy));
        };
        *place = 0;
    }
    let held = places.iter_mut().filter(|place| **place == 0);
    held.enumerate().for_each(|(at, place)| *place = at);
    Ok(places)
}

/// Images of the smallest class, of which there must be one on this side.
fn smallest_class(
    labels: &[usize],
    classes: &[String],
    (side, remedy): (&str, &str),
) -> Result<usize> {
    let mut counts = vec![0; classes.len()];
    labels.iter().for_each(|&label| counts[label] += 1);
    match counts.iter().enumerate().min_by_key(|(_, count)| **count) {
        Some((class, 0)) => Err(Error::mismatch(
            "influence matrix",
            "images of every class on both sides",
            format!("none of class {} among the {side}", classes[class]),
            remedy,
        )),
        least => Ok(least.map_or(1, |(_, &count)| count)),
    }
}

fn panel(
    model: &ModelScores,
    [queries, train]: &[Vec<usize>; 2],
    classes: usize,
    parts: usize,
) -> Result<MatrixPanel> {
    let shape = (model.query_labels.len(), model.train_labels.len());
    if model.scores.dim() != shape {
        let expected = format!("{} × {} scores", shape.0, shape.1);
        let found = format!("{} × {}", model.scores.nrows(), model.scores.ncols());
        let remedy = "run ascribe rank again";
        return Err(Error::mismatch(
            format!("scores of {}", model.model),
            expected,
            found,
            remedy,
        ));
    }
    if let Some(((query, train), _)) = model
        .scores
        .indexed_iter()
        .find(|(_, score)| !score.is_finite())
    {
        let what = format!("score of {}, {}", model.model, model.queries.description());
        let place = format!("row {query}, column {train}");
        return Err(Error::non_finite(what, place, "run ascribe rank again"));
    }
    let rows = cells(queries, classes, parts);
    let columns = cells(train, classes, parts);
    let side = classes * parts;
    let (mut sums, mut counts) = (
        Array2::zeros((side, side)),
        Array2::<f64>::zeros((side, side)),
    );
    let mut squares = 0.0;
    for (scores, &row) in model.scores.rows().into_iter().zip(&rows) {
        for (&score, &column) in scores.iter().zip(&columns) {
            let score = f64::from(score);
            sums[[row, column]] += score;
            counts[[row, column]] += 1.0;
            squares += score * score;
        }
    }
    let root_mean_square = (squares / model.scores.len() as f64).sqrt();
    let unit = if root_mean_square > 0.0 {
        root_mean_square
    } else {
        1.0
    };
    Ok(MatrixPanel {
        model: model.model.to_owned(),
        queries: model.queries,
        predicted: model.predicted,
        root_mean_square,
        unit: model.unit.to_owned(),
        cells: (sums / counts / unit)
            .rows()
            .into_iter()
            .map(|row| row.to_vec())
            .collect(),
    })
}

/// The cell of each image along its side: class by class, each cut into `parts` of nearly equal size.
fn cells(labels: &[usize], classes: usize, parts: usize) -> Vec<usize> {
    let mut sizes = vec![0; classes];
    labels.iter().for_each(|&label| sizes[label] += 1);
    let mut seen = vec![0; classes];
    labels
        .iter()
        .map(|&label| {
            let place = seen[label];
            seen[label] += 1;
            label * parts + place * parts / sizes[label]
        })
        .collect()
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    model: &'a str,
    queries: &'a str,
    root_mean_square: f64,
    unit: &'a str,
    query_class: &'a str,
    query_part: usize,
    train_class: &'a str,
    train_part: usize,
    mean_score_in_root_mean_squares: f64,
    /// In figures where some are.
    #[serde(skip_serializing_if = "Option::is_none")]
    query_class_predicted: Option<bool>,
}

impl Figure for InfluenceMatrix {
    fn title(&self) -> String {
        "Influence between classes".into()
    }

    fn caption(&self) -> String {
        drawing::note(self)
    }

    fn check(&self) -> Result<()> {
        if self.panels.is_empty() {
            let remedy = "give a folder made by ascribe rank --scores";
            return Err(Error::mismatch(
                "influence matrix",
                "at least one run",
                "none",
                remedy,
            ));
        }
        let side = self.classes.len() * self.parts;
        if side == 0 {
            let expected = "cells of at least one class";
            let remedy = "give runs that ranked training images for queries";
            return Err(Error::mismatch(
                "influence matrix",
                expected,
                "none",
                remedy,
            ));
        }
        for panel in &self.panels {
            if panel.cells.len() != side || panel.cells.iter().any(|row| row.len() != side) {
                let expected = format!("{side} rows of {side} cells");
                let found = format!("{} rows", panel.cells.len());
                let remedy = "make the record again";
                let what = format!("influence matrix of {}", panel.model);
                return Err(Error::mismatch(what, expected, found, remedy));
            }
            if let Some(((query, train), _)) = panel.placed().find(|(_, cell)| !cell.is_finite()) {
                let what = format!("score of {}, {}", panel.model, panel.queries.description());
                let place = format!(
                    "queries of class {}, training images of class {}",
                    self.classes[query / self.parts],
                    self.classes[train / self.parts]
                );
                return Err(Error::non_finite(what, place, "run ascribe rank again"));
            }
        }
        Ok(())
    }

    fn size(&self, style: Style) -> (f64, f64) {
        drawing::size(self, style)
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        drawing::draw(self, sheet)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        let some_predicted = self.panels.iter().any(|panel| panel.predicted);
        for panel in &self.panels {
            for ((query, train), mean) in panel.placed() {
                rows.serialize(Row {
                    model: &panel.model,
                    queries: panel.queries.description(),
                    root_mean_square: panel.root_mean_square,
                    unit: &panel.unit,
                    query_class: &self.classes[query / self.parts],
                    query_part: query % self.parts,
                    train_class: &self.classes[train / self.parts],
                    train_part: train % self.parts,
                    mean_score_in_root_mean_squares: mean,
                    query_class_predicted: some_predicted.then_some(panel.predicted),
                })?;
            }
        }
        Ok(())
    }
}
