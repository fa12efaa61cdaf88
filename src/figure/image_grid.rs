//! Columns of images: a test image on top, rows of what belongs to it below, in bands of ten columns.

use super::QueryExample;
use super::sheet::{Drawn, Sheet};
use super::style::{Align, INK, QUIET, Text, fit, wrap};
use plotters::prelude::DrawingBackend;

pub(super) const COLUMNS: usize = 10;
/// Side of an image's square in pixels of the PNG, at 300 an inch: 20 times 8, 5 times 32.
pub(super) const SIDE_PIXELS: u32 = 160;

/// Lengths in millimetres.
pub(super) const SIDE: f64 = SIDE_PIXELS as f64 * 25.4 / 300.0;
const PITCH: f64 = SIDE + 1.9;
const GUTTER: f64 = 20.5;
const MARGIN: f64 = 2.5;
pub(super) const LINE: f64 = 3.4;
pub(super) const ROW_GAP: f64 = 2.6;
/// Sizes of text in points.
const POINTS: f64 = 7.5;
pub(super) const SMALL: f64 = 7.0;

const QUERY_ROW: f64 = LINE + SIDE + ROW_GAP;

/// The test images, and how much room what is below them takes.
pub(super) struct ImageGrid<'a> {
    pub(super) queries: &'a [QueryExample],
    /// Height of a row in millimetres.
    pub(super) row: f64,
    /// How many rows there are below each test image.
    pub(super) rows: usize,
    /// What is said below everything.
    pub(super) note: &'a str,
}

impl ImageGrid<'_> {
    fn width(&self) -> f64 {
        // Never so narrow that the note becomes a column of words.
        let columns = self.queries.len().clamp(4, COLUMNS.max(4));
        2.0 * MARGIN + GUTTER + columns as f64 * PITCH
    }

    fn band_height(&self) -> f64 {
        QUERY_ROW + self.rows as f64 * self.row
    }

    fn wrapped_note(&self) -> Vec<String> {
        // Room for the wider fonts that a reader of an SVG may have.
        wrap(self.note, SMALL, 0.95 * (self.width() - 2.0 * MARGIN))
    }

    fn note_top(&self) -> f64 {
        let bands = self.queries.len().div_ceil(COLUMNS) as f64;
        MARGIN + bands * self.band_height()
    }

    /// Width and height in millimetres.
    pub(super) fn size(&self) -> (f64, f64) {
        let height = self.note_top() + self.wrapped_note().len() as f64 * LINE + MARGIN;
        (self.width(), height)
    }

    /// Test images and note; `row` draws a row by its number, from the first query of a band on, at a height.
    pub(super) fn draw<B: DrawingBackend>(
        &self,
        sheet: &Sheet<B>,
        row: impl Fn(usize, usize, f64) -> Drawn<B>,
    ) -> Drawn<B> {
        for (band, first) in (0..self.queries.len()).step_by(COLUMNS).enumerate() {
            let top = MARGIN + band as f64 * self.band_height();
            self.test_images(sheet, first, top)?;
            for index in 0..self.rows {
                row(index, first, top + QUERY_ROW + index as f64 * self.row)?;
            }
        }
        for (line, at) in self.wrapped_note().iter().zip(0..) {
            let y = self.note_top() + (f64::from(at) + 0.5) * LINE;
            sheet.text(line, (MARGIN, y), Text::new(SMALL, QUIET, Align::Left))?;
        }
        Ok(())
    }

    fn test_images<B: DrawingBackend>(&self, sheet: &Sheet<B>, first: usize, top: f64) -> Drawn<B> {
        gutter(sheet, top + LINE, "Test image", &[])?;
        for (column, query) in self.queries.iter().skip(first).take(COLUMNS).enumerate() {
            let left = left_of(column);
            label(sheet, &query.label, left, top + LINE / 2.0 - 0.3)?;
            sheet.picture(&query.picture, left, top + LINE, SIDE_PIXELS);
        }
        Ok(())
    }
}

/// Left edge of a column's image.
pub(super) fn left_of(column: usize) -> f64 {
    MARGIN + GUTTER + column as f64 * PITCH + (PITCH - SIDE) / 2.0
}

/// A class name centred on the column that begins at `left`.
pub(super) fn label<B: DrawingBackend>(
    sheet: &Sheet<B>,
    name: &str,
    left: f64,
    y: f64,
) -> Drawn<B> {
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
pub(super) fn gutter<B: DrawingBackend>(
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
