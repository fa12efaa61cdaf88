//! The drawing: a row of panels for each set of queries, a column for each model, class names at the left, one scale below.

use super::{InfluenceMatrix, MatrixPanel, MatrixQueries};
use crate::figure::image_grid::without_wordnet_id;
use crate::figure::note::{MARGIN, Note, of_predicted};
use crate::figure::palette::{INK, QUIET, colour};
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::style::PIXELS_PER_INCH;
use crate::figure::text::{Align, Text, fit};
use crate::figure::{Picture, Style};
use plotters::prelude::*;

/// Lengths in millimetres.
const NAMES: f64 = 17.0;
const TITLE: f64 = 6.0;
const GAP: f64 = 4.0;
/// Side of a panel in pixels of the PNG, at 300 an inch, at most.
const SIDE_PIXELS: usize = 640;
const SCALE: f64 = 10.0;
const SCALE_WIDTH: f64 = 60.0;
const SCALE_STEPS: usize = 60;

/// Sizes of text in points.
const TITLE_POINTS: f64 = 8.0;
const POINTS: f64 = 7.0;

/// Colours of the two ends: blue and vermillion (Okabe and Ito, 2008).
const HELPFUL: usize = 0;
const HARMFUL: usize = 1;

pub(super) fn note(figure: &InfluenceMatrix) -> String {
    let limit = figure.limit();
    let is_of_training = |panel: &MatrixPanel| panel.queries == MatrixQueries::Train;
    let themselves = match figure.panels.iter().any(is_of_training) {
        true => {
            " Training images as queries are among the columns too: their scores for themselves lie on the diagonal."
        }
        false => "",
    };
    let test = (figure.panels.iter()).filter(|panel| panel.queries == MatrixQueries::Test);
    let predicted = of_predicted(test.map(|panel| (&*panel.model, panel.predicted)))
        .map_or_else(String::new, |of| {
            format!(" Test images{of} are sorted by predicted class.")
        });
    format!(
        "Rows: queries, columns: training images, classes in the same order. Each cell is the mean score of a part of a class \
         for a part of a class, in root mean squares of the panel’s scores; positive = helpful. Colours end at ±{limit:.2}.{themselves}{predicted}"
    )
}

/// The place of everything.
struct Layout<'a> {
    figure: &'a InfluenceMatrix,
    models: Vec<&'a str>,
    rows: Vec<MatrixQueries>,
    /// Pixels of a panel's side.
    pixels: usize,
}

impl<'a> Layout<'a> {
    fn new(figure: &'a InfluenceMatrix, style: Style) -> Self {
        let mut models: Vec<&str> = Vec::new();
        for panel in &figure.panels {
            if !models.contains(&panel.model.as_str()) {
                models.push(&panel.model);
            }
        }
        let rows = [MatrixQueries::Test, MatrixQueries::Train];
        let shown =
            |queries: &MatrixQueries| figure.panels.iter().any(|panel| panel.queries == *queries);
        let cells = figure.classes.len() * figure.parts;
        Self {
            figure,
            rows: rows.into_iter().filter(shown).collect(),
            // A whole number of pixels to a cell.
            pixels: side_pixels(models.len(), style).max(cells) / cells * cells,
            models,
        }
    }

    fn side(&self) -> f64 {
        self.pixels as f64 * 25.4 / PIXELS_PER_INCH
    }

    fn left(&self, column: usize) -> f64 {
        MARGIN + NAMES + column as f64 * (self.side() + GAP)
    }

    fn top(&self, row: usize) -> f64 {
        MARGIN + row as f64 * (TITLE + self.side() + GAP) + TITLE
    }

    fn width(&self) -> f64 {
        (self.left(self.models.len()) - GAP + MARGIN).max(90.0)
    }

    fn scale_top(&self) -> f64 {
        self.top(self.rows.len()) - TITLE
    }

    fn note(&self) -> Note {
        Note::of(&note(self.figure), self.width())
    }
}

/// Of a panel, so that those of a screen's sheet stand beside each other on it.
fn side_pixels(models: usize, style: Style) -> usize {
    match style {
        Style::Paper => SIDE_PIXELS,
        Style::Screen => {
            let gaps = models.saturating_sub(1) as f64 * GAP;
            let room = style.full_width() - 2.0 * MARGIN - NAMES - gaps;
            let pixels = room / models.max(1) as f64 / 25.4 * PIXELS_PER_INCH;
            SIDE_PIXELS.min(pixels as usize)
        }
    }
}

pub(super) fn size(figure: &InfluenceMatrix, style: Style) -> (f64, f64) {
    let layout = Layout::new(figure, style);
    let height = layout.scale_top() + SCALE + layout.note().height();
    (layout.width(), height + MARGIN)
}

pub(super) fn draw(figure: &InfluenceMatrix, sheet: &Sheet) -> Drawn {
    let layout = Layout::new(figure, sheet.style());
    let limit = figure.limit();
    for (row, queries) in layout.rows.iter().enumerate() {
        names(sheet, &layout, layout.top(row))?;
        for (column, model) in layout.models.iter().enumerate() {
            let panel = figure
                .panels
                .iter()
                .find(|panel| panel.model == *model && panel.queries == *queries);
            if let Some(panel) = panel {
                let (left, top) = (layout.left(column), layout.top(row));
                let title = format!("{model}: {}", queries.description());
                let at = (left, top - TITLE / 2.0 - 0.3);
                let title = fit(&title, TITLE_POINTS, layout.side());
                sheet.text(&title, at, Text::new(TITLE_POINTS, INK, Align::Left))?;
                sheet.picture(&picture(panel, limit), left, top, layout.pixels as u32);
            }
        }
    }
    scale(sheet, &layout, limit)?;
    layout.note().draw(sheet, layout.scale_top() + SCALE)
}

/// Class names at the left of a row of panels, as many as there is room for.
fn names(sheet: &Sheet, layout: &Layout, top: f64) -> Drawn {
    let classes = &layout.figure.classes;
    let pitch = layout.side() / classes.len() as f64;
    let every = (2.8 / pitch).ceil().max(1.0) as usize;
    for (class, name) in classes.iter().enumerate() {
        let edge = dots(top + class as f64 * pitch);
        let right = MARGIN + NAMES;
        sheet.line(
            vec![(dots(right - 1.2), edge), (dots(right - 0.2), edge)],
            0.4,
            QUIET,
        )?;
        if class % every == 0 {
            let name = fit(without_wordnet_id(name), POINTS, NAMES - 2.0);
            let at = (right - 1.6, top + (class as f64 + 0.5) * pitch);
            sheet.text(&name, at, Text::new(POINTS, INK, Align::Right))?;
        }
    }
    Ok(())
}

/// From harmful to helpful, with numbers.
fn scale(sheet: &Sheet, layout: &Layout, limit: f64) -> Drawn {
    let (left, top) = (layout.left(0), layout.scale_top() + 0.5);
    let step = SCALE_WIDTH / SCALE_STEPS as f64;
    for index in 0..SCALE_STEPS {
        let value = (2 * index + 1) as f64 / SCALE_STEPS as f64 - 1.0;
        let from = left + index as f64 * step;
        let [red, green, blue] = shade(value);
        let (low, high) = (dots(from), dots(from + step));
        let (above, below) = (dots(top), dots(top + 2.5));
        let corners = vec![(low, above), (high, above), (high, below), (low, below)];
        sheet.shape(corners, RGBColor(red, green, blue))?;
    }
    let words = [
        (0.0, Align::Left, format!("−{limit:.2} harmful")),
        (SCALE_WIDTH / 2.0, Align::Centre, "0".into()),
        (SCALE_WIDTH, Align::Right, format!("helpful +{limit:.2}")),
    ];
    for (at, align, text) in words {
        sheet.text(&text, (left + at, top + 4.6), Text::new(POINTS, INK, align))?;
    }
    Ok(())
}

fn picture(panel: &MatrixPanel, limit: f64) -> Picture {
    let shades: Vec<[u8; 3]> = panel
        .placed()
        .map(|(_, cell)| shade(cell / limit))
        .collect();
    let plane = |channel: usize| shades.iter().map(move |shade| shade[channel]);
    Picture {
        channels: 3,
        height: panel.cells.len(),
        width: panel.cells.len(),
        pixels: (0..3).flat_map(plane).collect(),
    }
}

/// White at 0, the ends' colours from ±1 on.
fn shade(value: f64) -> [u8; 3] {
    let RGBColor(red, green, blue) = colour(if value > 0.0 { HELPFUL } else { HARMFUL });
    let share = value.abs().min(1.0);
    [red, green, blue].map(|end| (255.0 + share * (f64::from(end) - 255.0)).round() as u8)
}
