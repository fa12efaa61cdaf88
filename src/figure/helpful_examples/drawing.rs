//! The drawing of Figure 5: rows of the most helpful images below the test images.

use super::{HelpfulExamples, ModelExamples};
use crate::figure::Style;
use crate::figure::image_grid::{COLUMNS, Cells, ImageGrid, LINE, ROW_GAP, SMALL, Shown};
use crate::figure::note::of_predicted;
use crate::figure::palette::{AGREES, QUIET};
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::text::{Align, Text, text_width};
use crate::influence::NATS;

/// What is drawn, below the images.
pub(super) fn note(figure: &HelpfulExamples) -> String {
    let models = figure.models.iter();
    let predicted = of_predicted(models.map(|model| (&*model.model, model.predicted)));
    let (class, same, of_some) = match predicted.as_deref() {
        None => ("class", "same class as the test image", String::new()),
        Some("") => (
            "predicted class",
            "the test image’s predicted class",
            String::new(),
        ),
        Some(of) => (
            "class",
            "same class as the test image",
            format!(" Test images{of} count as images of their predicted class."),
        ),
    };
    let queries = match figure.named {
        true => "test images".to_owned(),
        false => format!("one random test image of each {class}"),
    };
    let in_nats = figure.models.iter().all(|model| model.unit == NATS);
    let score = match in_nats {
        true => "the rise of the test image’s loss predicted if that training image were left out",
        false => "in each model’s unit, not all of them rises of a loss",
    };
    format!(
        "Top: {queries}. Below: the training image most helpful for it. Score: {score} (positive = helpful). Frame \
         and tick: {same}; cross: another class.{of_some}"
    )
}

/// Lengths in millimetres.
const FRAME: f64 = 0.55;
/// Between an image and its frame.
const GAP: f64 = 0.2;
const MARK: f64 = 2.6;

fn grid<'a>(figure: &'a HelpfulExamples, style: Style, note: &'a str) -> ImageGrid<'a> {
    let cells = Cells::of(style);
    ImageGrid {
        cells,
        queries: &figure.queries,
        row: cells.side + 0.9 + 2.0 * LINE + ROW_GAP,
        rows: figure.models.len(),
        note,
    }
}

pub(super) fn size(figure: &HelpfulExamples, style: Style) -> (f64, f64) {
    grid(figure, style, &note(figure)).size()
}

pub(super) fn draw(figure: &HelpfulExamples, sheet: &Sheet) -> Drawn {
    grid(figure, sheet.style(), &note(figure)).draw(sheet, |index, first, top| {
        model_row(figure, &figure.models[index], sheet, first, top)
    })
}

fn model_row(
    figure: &HelpfulExamples,
    model: &ModelExamples,
    sheet: &Sheet,
    first: usize,
    top: f64,
) -> Drawn {
    let unit = Unit::of(model, &figure.models);
    let shown = Shown {
        name: &model.model,
        words: &["most helpful", "training image"],
        unit: Some(&unit.name),
    };
    let cells = Cells::of(sheet.style());
    let images = top + cells.heading;
    cells.say(sheet, (top, images), &shown)?;
    let columns = figure
        .queries
        .iter()
        .zip(&model.helpful)
        .skip(first)
        .take(COLUMNS);
    for (column, (query, image)) in columns.enumerate() {
        let left = cells.left_of(column);
        sheet.picture(&image.picture, left, images, cells.side_pixels);
        let agrees = query.class == image.class;
        if agrees {
            let (left, top) = (left - GAP, images - GAP);
            sheet.frame(left, top, cells.side + 2.0 * GAP, FRAME, AGREES)?;
        }
        let y = images + cells.side + 0.9 + LINE / 2.0;
        cells.label(sheet, &image.label, left, y)?;
        let score = unit.shown(image.score);
        marked_score(sheet, &score, agrees, left + cells.side / 2.0, y + LINE)?;
    }
    Ok(())
}

/// A score with a tick or a cross before it, together centred on a column.
fn marked_score(sheet: &Sheet, score: &str, agrees: bool, middle: f64, y: f64) -> Drawn {
    let left = middle - (text_width(score, SMALL) + MARK) / 2.0;
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

/// The unit in which scores have few digits: of models whose scores are of the same unit and comparable in size, one.
struct Unit {
    name: String,
    scale: f64,
    decimals: usize,
}

impl Unit {
    fn of(model: &ModelExamples, models: &[ModelExamples]) -> Self {
        let largest = largest_score(model);
        let alike = models.iter().filter(|other| other.unit == model.unit);
        let sizes = || alike.clone().map(largest_score).filter(|size| *size > 0.0);
        let (least, most) = (
            sizes().fold(f64::INFINITY, f64::min),
            sizes().fold(0.0, f64::max),
        );
        let own = match most < LARGEST_RATIO * least {
            true => least,
            false => largest,
        };
        let (prefix, scale) = prefix(own, &model.unit);
        // Three digits for the largest, so that a row of scores can be compared.
        let decimals = [10.0, 100.0]
            .into_iter()
            .filter(|limit| largest * scale < *limit)
            .count();
        Self {
            name: format!("score: {prefix}{}", model.unit),
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

/// Models whose largest scores differ by more are shown in units of their own.
const LARGEST_RATIO: f64 = 1e3;

fn largest_score(model: &ModelExamples) -> f64 {
    let scores = model.helpful.iter().map(|image| image.score.abs());
    scores.fold(0.0, f64::max)
}

/// What makes a size one of 1 to 1,000, with its factor.
fn prefix(size: f64, unit: &str) -> (&'static str, f64) {
    const PREFIXES: [(&str, f64); 5] = [
        ("", 1.0),
        ("milli", 1e3),
        ("micro", 1e6),
        ("nano", 1e9),
        ("pico", 1e12),
    ];
    let prefixes = match unit {
        NATS => &PREFIXES[..],
        _ => &PREFIXES[..1],
    };
    let fitting = (prefixes.iter()).find(|(_, scale)| size == 0.0 || size * scale >= 1.0);
    *fitting.or(prefixes.last()).unwrap_or(&PREFIXES[0])
}

#[cfg(test)]
mod tests {
    use super::super::HelpfulExample;
    use super::*;
    use crate::figure::Picture;

    fn model(score: f64) -> ModelExamples {
        let picture = Picture {
            channels: 1,
            height: 1,
            width: 1,
            pixels: vec![0],
        };
        ModelExamples {
            model: "natural".into(),
            unit: NATS.into(),
            predicted: false,
            helpful: vec![HelpfulExample {
                train: 0,
                class: 0,
                label: "cat".into(),
                score,
                picture,
            }],
        }
    }

    #[test]
    fn scores_that_can_be_compared_have_one_unit() {
        let name = |scores: [f64; 2]| {
            let models = scores.map(model);
            [0, 1].map(|at| Unit::of(&models[at], &models).name)
        };
        assert_eq!(name([1.4, 0.2]), ["score: millinats", "score: millinats"]);
        assert_eq!(name([0.2, 1.4]), ["score: millinats", "score: millinats"]);
        assert_eq!(name([1.4, 1e-6]), ["score: nats", "score: micronats"]);
        assert_eq!(name([1.4, 0.0]), ["score: nats", "score: nats"]);
    }

    #[test]
    fn a_small_score_is_not_shown_as_zero() {
        let unit = Unit {
            name: "score: millinats".into(),
            scale: 1e3,
            decimals: 1,
        };
        let shown = [0.0, 4e-5, 6e-5, 1.25e-2, -4e-5, -2e-3].map(|score| unit.shown(score));
        assert_eq!(shown, ["0.0", "<0.1", "0.1", "12.5", ">−0.1", "−2.0"]);
    }
}
