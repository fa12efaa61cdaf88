//! Columns of images: a test image on top, rows of what belongs to it below, in bands of ten columns.
//!
//! What a row shows is said at its left on paper, above it on screens, where ten columns of large type leave no room beside.

use super::note::{MARGIN, Note};
use super::palette::{INK, QUIET};
use super::sheet::{Drawn, Sheet};
use super::style::PIXELS_PER_INCH;
use super::text::{Align, Text, fit, text_width};
use super::{QueryExample, Style};

pub(super) const COLUMNS: usize = 10;

/// Lengths in millimetres.
const GUTTER: f64 = 20.5;
/// Of a model where it stands above its row.
const LONGEST_NAME: f64 = 30.0;
pub(super) const LINE: f64 = 3.4;
pub(super) const ROW_GAP: f64 = 2.6;
/// Sizes of text in points.
const POINTS: f64 = 7.5;
pub(super) const SMALL: f64 = 7.0;

/// The sizes that depend on the style, in millimetres.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells {
    /// Side of an image's square in pixels of the PNG: a multiple of 8 and of 32.
    pub(super) side_pixels: u32,
    pub(super) side: f64,
    /// From a column to the next; ten of CIFAR-10’s class names stand beside each other uncut.
    pitch: f64,
    /// Left of the images, for what a row shows.
    gutter: f64,
    /// Above them, for the same.
    pub(super) heading: f64,
    /// Columns that there is room for at least, so that the note does not become a column of words.
    fewest: usize,
}

/// What a row shows: a name, more words in lines, and a unit.
pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    pub(super) words: &'a [&'a str],
    pub(super) unit: Option<&'a str>,
}

impl Cells {
    pub(super) fn of(style: Style) -> Self {
        let side = |pixels: u32| f64::from(pixels) * 25.4 / PIXELS_PER_INCH;
        match style {
            Style::Paper => Self {
                side_pixels: 160,
                side: side(160),
                pitch: side(160) + 1.9,
                gutter: GUTTER,
                heading: 0.0,
                fewest: 4,
            },
            Style::Screen => Self {
                side_pixels: 128,
                side: side(128),
                pitch: side(128) + 3.7,
                gutter: 0.0,
                heading: LINE + 1.0,
                fewest: 7,
            },
        }
    }

    fn query_row(&self) -> f64 {
        self.heading + LINE + self.side + ROW_GAP
    }

    /// Left edge of a column's image.
    pub(super) fn left_of(&self, column: usize) -> f64 {
        MARGIN + self.gutter + column as f64 * self.pitch + (self.pitch - self.side) / 2.0
    }

    /// A class name centred on the column that begins at `left`.
    pub(super) fn label(&self, sheet: &Sheet, name: &str, left: f64, y: f64) -> Drawn {
        let shown = fit(without_wordnet_id(name), SMALL, self.pitch - 0.4);
        let at = (left + self.side / 2.0, y);
        sheet.text(&shown, at, Text::new(SMALL, INK, Align::Centre))
    }

    /// What a row shows that begins at `top`, its images at `images`: beside these or at the top.
    pub(super) fn say(&self, sheet: &Sheet, (top, images): (f64, f64), shown: &Shown) -> Drawn {
        let (loud, quiet) = (
            Text::new(POINTS, INK, Align::Left),
            Text::new(SMALL, QUIET, Align::Left),
        );
        if self.gutter == 0.0 {
            let y = top + LINE / 2.0 - 0.3;
            let name = fit(shown.name, POINTS, LONGEST_NAME);
            sheet.text(&name, (MARGIN, y), loud)?;
            let mut words = shown.words.join(" ");
            if let Some(unit) = shown.unit {
                words = format!("{words}, {unit}");
            }
            let left = MARGIN + text_width(&name, POINTS) + 2.0;
            return sheet.text(&words, (left, y), quiet);
        }
        let lines: Vec<&str> = shown.words.iter().copied().chain(shown.unit).collect();
        let name = fit(shown.name, POINTS, self.gutter - 1.0);
        let first = images + (self.side - lines.len() as f64 * LINE) / 2.0;
        sheet.text(&name, (MARGIN, first), loud)?;
        for (line, at) in lines.iter().zip(1..) {
            sheet.text(line, (MARGIN, first + f64::from(at) * LINE), quiet)?;
        }
        Ok(())
    }
}

/// The test images, and how much room what is below them takes.
pub(super) struct ImageGrid<'a> {
    pub(super) cells: Cells,
    pub(super) queries: &'a [QueryExample],
    /// Height of a row in millimetres, without what is said above it.
    pub(super) row: f64,
    /// How many rows there are below each test image.
    pub(super) rows: usize,
    /// What is said below everything.
    pub(super) note: &'a str,
}

impl ImageGrid<'_> {
    fn width(&self) -> f64 {
        let columns = self.queries.len().clamp(self.cells.fewest, COLUMNS);
        2.0 * MARGIN + self.cells.gutter + columns as f64 * self.cells.pitch
    }

    fn band_height(&self) -> f64 {
        self.cells.query_row() + self.rows as f64 * self.row_height()
    }

    fn row_height(&self) -> f64 {
        self.cells.heading + self.row
    }

    fn wrapped_note(&self) -> Note {
        Note::of(self.note, self.width())
    }

    fn note_top(&self) -> f64 {
        let bands = self.queries.len().div_ceil(COLUMNS) as f64;
        MARGIN + bands * self.band_height()
    }

    /// Width and height in millimetres.
    pub(super) fn size(&self) -> (f64, f64) {
        let height = self.note_top() + self.wrapped_note().height();
        (self.width(), height + MARGIN)
    }

    /// Test images and note; `row` draws a row by its number, from the first query of a band on, at a height.
    pub(super) fn draw(&self, sheet: &Sheet, row: impl Fn(usize, usize, f64) -> Drawn) -> Drawn {
        for (band, first) in (0..self.queries.len()).step_by(COLUMNS).enumerate() {
            let top = MARGIN + band as f64 * self.band_height();
            self.test_images(sheet, first, top)?;
            for index in 0..self.rows {
                let below = self.cells.query_row() + index as f64 * self.row_height();
                row(index, first, top + below)?;
            }
        }
        self.wrapped_note().draw(sheet, self.note_top())
    }

    fn test_images(&self, sheet: &Sheet, first: usize, top: f64) -> Drawn {
        let cells = &self.cells;
        let labels = top + cells.heading;
        let shown = Shown {
            name: "Test image",
            words: &[],
            unit: None,
        };
        cells.say(sheet, (top, labels + LINE), &shown)?;
        for (column, query) in self.queries.iter().skip(first).take(COLUMNS).enumerate() {
            let left = cells.left_of(column);
            cells.label(sheet, &query.label, left, labels + LINE / 2.0 - 0.3)?;
            sheet.picture(&query.picture, left, labels + LINE, cells.side_pixels);
        }
        Ok(())
    }
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
