//! The drawing of Figure 5: one column for each query, in bands of ten columns.

use super::{HelpfulExamples, ModelExamples};
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::style::{AGREES, Align, INK, QUIET, Text, fit, text_width, wrap};
use plotters::prelude::*;

/// What is drawn, below the images.
pub(super) const NOTE: &str = "Top: one random test image of each class. Below: the training image most helpful for it. \
    Score: the rise of the test image’s loss predicted if that training image were left out (positive = helpful). Frame \
    and tick: same class as the test image; cross: another class.";

const COLUMNS: usize = 10;
/// Side of an image's square in pixels of the PNG, at 300 an inch: 20 times 8, 5 times 32.
const SIDE_PIXELS: u32 = 160;

/// Lengths in millimetres.
const SIDE: f64 = SIDE_PIXELS as f64 * 25.4 / 300.0;
const PITCH: f64 = SIDE + 1.9;
const GUTTER: f64 = 20.5;
const MARGIN: f64 = 2.5;
const LINE: f64 = 3.4;
const ROW_GAP: f64 = 2.6;
const FRAME: f64 = 0.55;
/// Between an image and its frame.
const GAP: f64 = 0.2;
const MARK: f64 = 2.6;

/// Sizes of text in points.
const POINTS: f64 = 7.5;
const SMALL: f64 = 7.0;

const QUERY_ROW: f64 = LINE + SIDE + ROW_GAP;
const MODEL_ROW: f64 = SIDE + 0.9 + 2.0 * LINE + ROW_GAP;

fn columns(figure: &HelpfulExamples) -> usize {
    figure.queries.len().min(COLUMNS)
}

fn width(figure: &HelpfulExamples) -> f64 {
    // Never so narrow that the note becomes a column of words.
    let columns = columns(figure).max(4) as f64;
    2.0 * MARGIN + GUTTER + columns * PITCH
}

fn band_height(figure: &HelpfulExamples) -> f64 {
    QUERY_ROW + figure.models.len() as f64 * MODEL_ROW
}

fn note(figure: &HelpfulExamples) -> Vec<String> {
    // Room for the wider fonts that a reader of an SVG may have.
    wrap(NOTE, SMALL, 0.95 * (width(figure) - 2.0 * MARGIN))
}

fn note_top(figure: &HelpfulExamples) -> f64 {
    let bands = figure.queries.len().div_ceil(COLUMNS) as f64;
    MARGIN + bands * band_height(figure)
}

pub(super) fn size(figure: &HelpfulExamples) -> (f64, f64) {
    let height = note_top(figure) + note(figure).len() as f64 * LINE + MARGIN;
    (width(figure), height)
}

pub(super) fn draw<B: DrawingBackend>(figure: &HelpfulExamples, sheet: &Sheet<B>) -> Drawn<B> {
    for (band, first) in (0..figure.queries.len()).step_by(COLUMNS).enumerate() {
        let top = MARGIN + band as f64 * band_height(figure);
        query_row(figure, sheet, first, top)?;
        for (index, model) in figure.models.iter().enumerate() {
            let top = top + QUERY_ROW + index as f64 * MODEL_ROW;
            model_row(figure, model, sheet, first, top)?;
        }
    }
    for (line, at) in note(figure).iter().zip(0..) {
        let y = note_top(figure) + (f64::from(at) + 0.5) * LINE;
        sheet.text(line, (MARGIN, y), Text::new(SMALL, QUIET, Align::Left))?;
    }
    Ok(())
}

/// Left edge of a column's image.
fn left_of(column: usize) -> f64 {
    MARGIN + GUTTER + column as f64 * PITCH + (PITCH - SIDE) / 2.0
}

fn query_row<B: DrawingBackend>(
    figure: &HelpfulExamples,
    sheet: &Sheet<B>,
    first: usize,
    top: f64,
) -> Drawn<B> {
    gutter(sheet, top + LINE, "Test image", &[])?;
    for (column, query) in figure.queries.iter().skip(first).take(COLUMNS).enumerate() {
        let left = left_of(column);
        label(sheet, &query.label, left, top + LINE / 2.0 - 0.3)?;
        sheet.picture(&query.picture, left, top + LINE, SIDE_PIXELS);
    }
    Ok(())
}

fn model_row<B: DrawingBackend>(
    figure: &HelpfulExamples,
    model: &ModelExamples,
    sheet: &Sheet<B>,
    first: usize,
    top: f64,
) -> Drawn<B> {
    let unit = Unit::of(model);
    gutter(
        sheet,
        top,
        &model.model,
        &["most helpful", "training image", unit.name],
    )?;
    let columns = figure
        .queries
        .iter()
        .zip(&model.helpful)
        .skip(first)
        .take(COLUMNS);
    for (column, (query, image)) in columns.enumerate() {
        let left = left_of(column);
        sheet.picture(&image.picture, left, top, SIDE_PIXELS);
        let agrees = query.class == image.class;
        if agrees {
            let (left, top) = (left - GAP, top - GAP);
            sheet.frame(left, top, SIDE + 2.0 * GAP, FRAME, AGREES)?;
        }
        let y = top + SIDE + 0.9 + LINE / 2.0;
        label(sheet, &image.label, left, y)?;
        marked_score(sheet, &unit.shown(image.score), agrees, left, y + LINE)?;
    }
    Ok(())
}

/// A class name centred on the column that begins at `left`.
fn label<B: DrawingBackend>(sheet: &Sheet<B>, name: &str, left: f64, y: f64) -> Drawn<B> {
    let shown = fit(without_wordnet_id(name), SMALL, PITCH - 0.4);
    let at = (left + SIDE / 2.0, y);
    sheet.text(&shown, at, Text::new(SMALL, INK, Align::Centre))
}

/// "scorpion" of "n01770393 scorpion", as ImageNet's classes are often called.
pub(super) fn without_wordnet_id(name: &str) -> &str {
    match name.split_once(' ') {
        Some((id, rest)) if is_wordnet_id(id) => rest,
        _ => name,
    }
}

fn is_wordnet_id(id: &str) -> bool {
    let digits = id.strip_prefix('n').unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// What stands left of a row of images that begins at `top`.
fn gutter<B: DrawingBackend>(
    sheet: &Sheet<B>,
    top: f64,
    heading: &str,
    lines: &[&str],
) -> Drawn<B> {
    let heading = fit(heading, POINTS, GUTTER - 1.0);
    let first = top + (SIDE - lines.len() as f64 * LINE) / 2.0;
    sheet.text(
        &heading,
        (MARGIN, first),
        Text::new(POINTS, INK, Align::Left),
    )?;
    for (line, at) in lines.iter().zip(1..) {
        let y = first + f64::from(at) * LINE;
        sheet.text(line, (MARGIN, y), Text::new(SMALL, QUIET, Align::Left))?;
    }
    Ok(())
}

/// A score with a tick or a cross before it, together centred on the column that begins at `column_left`.
fn marked_score<B: DrawingBackend>(
    sheet: &Sheet<B>,
    score: &str,
    agrees: bool,
    column_left: f64,
    y: f64,
) -> Drawn<B> {
    let left = column_left + (SIDE - text_width(score, SMALL) - MARK) / 2.0;
    let dot = |x: f64, up: f64| (dots(left + x), dots(y - up));
    if agrees {
        sheet.line(
            vec![dot(0.1, 0.05), dot(0.7, -0.65), dot(1.75, 0.95)],
            1.2,
            AGREES,
        )?;
    } else {
        sheet.line(vec![dot(0.25, 0.75), dot(1.65, -0.65)], 0.9, QUIET)?;
        sheet.line(vec![dot(0.25, -0.65), dot(1.65, 0.75)], 0.9, QUIET)?;
    }
    sheet.text(
        score,
        (left + MARK, y),
        Text::new(SMALL, QUIET, Align::Left),
    )
}

/// The unit in which a model's scores have few digits.
struct Unit {
    name: &'static str,
    scale: f64,
    decimals: usize,
}

impl Unit {
    fn of(model: &ModelExamples) -> Self {
        const UNITS: [(&str, f64); 5] = [
            ("score: nats", 1.0),
            ("score: millinats", 1e3),
            ("score: micronats", 1e6),
            ("score: nanonats", 1e9),
            ("score: piconats", 1e12),
        ];
        let largest = model
            .helpful
            .iter()
            .map(|image| image.score.abs())
            .fold(0.0, f64::max);
        let fitting = UNITS
            .into_iter()
            .find(|(_, scale)| largest == 0.0 || largest * scale >= 1.0);
        let (name, scale) = fitting.unwrap_or(UNITS[4]);
        // Three digits for the largest, so that a row of scores can be compared.
        let decimals = [10.0, 100.0]
            .into_iter()
            .filter(|limit| largest * scale < *limit)
            .count();
        Self {
            name,
            scale,
            decimals,
        }
    }

    /// A score in this unit; one too small for its digits as less than the last of them, so that it is not taken for 0.
    fn shown(&self, score: f64) -> String {
        let least = 0.1_f64.powi(self.decimals as i32);
        let scaled = score * self.scale;
        let (sign, number) = match scaled {
            tiny if tiny > 0.0 && tiny < least / 2.0 => ("<", least),
            tiny if tiny < 0.0 && tiny > -least / 2.0 => (">", -least),
            other => ("", other),
        };
        format!("{sign}{number:.*}", self.decimals).replace('-', "−")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_score_is_not_shown_as_zero() {
        let unit = Unit {
            name: "score: millinats",
            scale: 1e3,
            decimals: 1,
        };
        let shown = [0.0, 4e-5, 6e-5, 1.25e-2, -4e-5, -2e-3].map(|score| unit.shown(score));
        assert_eq!(shown, ["0.0", "<0.1", "0.1", "12.5", ">−0.1", "−2.0"]);
    }
}
