//! The note below the charts of a figure: what is drawn, in small quiet lines across it.

use super::palette::QUIET;
use super::sheet::{Drawn, Sheet};
use super::text::{Align, Text, wrap};

/// Around every figure, in millimetres.
pub(super) const MARGIN: f64 = 2.5;
/// From a line to the next, in millimetres.
const LINE: f64 = 3.5;
/// Size of text in points.
const POINTS: f64 = 7.0;

/// Of models by name, and whether their test images count as images of the class that is predicted: `None` where no model's do, nothing
/// where all do, else ` of ` and the names of those whose do.
pub(super) fn of_predicted<'a>(models: impl Iterator<Item = (&'a str, bool)>) -> Option<String> {
    let (predicted, labelled): (Vec<_>, Vec<_>) = models.partition(|(_, predicted)| *predicted);
    let names: Vec<&str> = predicted.into_iter().map(|(model, _)| model).collect();
    match (names.is_empty(), labelled.is_empty()) {
        (true, _) => None,
        (false, true) => Some(String::new()),
        (false, false) => Some(format!(" of {}", names.join(", "))),
    }
}

/// Its lines.
pub(super) struct Note(Vec<String>);

impl Note {
    /// In a figure that is `width` millimetres wide.
    pub(super) fn of(text: &str, width: f64) -> Self {
        // Room for the wider fonts that a reader of an SVG may have.
        Self(wrap(text, POINTS, 0.95 * (width - 2.0 * MARGIN)))
    }

    /// In millimetres.
    pub(super) fn height(&self) -> f64 {
        self.0.len() as f64 * LINE
    }

    /// From `top` down, in millimetres.
    pub(super) fn draw(&self, sheet: &Sheet, top: f64) -> Drawn {
        for (line, at) in self.0.iter().zip(0..) {
            let y = top + (f64::from(at) + 0.5) * LINE;
            sheet.text(line, (MARGIN, y), Text::new(POINTS, QUIET, Align::Left))?;
        }
        Ok(())
    }
}
