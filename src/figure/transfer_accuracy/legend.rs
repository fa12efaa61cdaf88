//! Which colour, marker and line stand for which target set and source, and the legend that says so.

use super::TransferAccuracy;
use super::drawing::{POINTS, stroke};
use crate::figure::note::MARGIN;
use crate::figure::palette::{INK, QUIET, colour};
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::text::{Align, Text, text_width};
use crate::study::Curve;
use plotters::prelude::*;

/// Lengths in millimetres.
pub(super) const LEGEND_ROW: f64 = 4.4;
const SWATCH: f64 = 8.0;
const AFTER_NAME: f64 = 5.0;

/// One entry of the legend.
pub(super) struct Entry {
    name: String,
    colour: RGBColor,
    /// None: a swatch of colour alone.
    marker: Option<usize>,
    dashed: bool,
    /// From the left edge, and its row.
    left: f64,
    pub(super) row: usize,
}

/// Which colours and markers stand for what.
pub(super) struct Look<'a> {
    pub(super) targets: Vec<&'a str>,
    pub(super) sources: Vec<&'a str>,
    pub(super) natural: Option<&'a str>,
}

impl<'a> Look<'a> {
    pub(super) fn of(figure: &'a TransferAccuracy) -> Self {
        let curves = &figure.summary.accuracy;
        let distinct = |name: fn(&Curve) -> &str| {
            let mut names: Vec<&str> = Vec::new();
            for curve in curves {
                if !names.contains(&name(curve)) {
                    names.push(name(curve));
                }
            }
            names
        };
        Self {
            targets: distinct(|curve| &curve.target),
            sources: distinct(|curve| &curve.source),
            natural: figure.summary.natural.as_deref(),
        }
    }

    /// Whether colours stand for sources: of one target set, where line and marker alone would have to tell many of them apart.
    pub(super) fn colours_sources(&self) -> bool {
        self.targets.len() == 1 && self.sources.len() > 2
    }

    pub(super) fn colour(&self, curve: &Curve) -> RGBColor {
        let at = match self.colours_sources() {
            true => self.marker(&curve.source),
            false => {
                let targets = &mut self.targets.iter();
                targets.position(|name| *name == curve.target).unwrap_or(0)
            }
        };
        colour(at)
    }

    pub(super) fn marker(&self, source: &str) -> usize {
        self.sources
            .iter()
            .position(|name| *name == source)
            .unwrap_or(0)
    }

    pub(super) fn dashed(&self, source: &str) -> bool {
        self.sources.len() > 1 && self.natural == Some(source)
    }

    /// All entries, placed within `width`.
    pub(super) fn legend(&self, width: f64) -> Vec<Entry> {
        let by_source = self.colours_sources();
        let targets = self.targets.iter().filter(|_| !by_source);
        let targets = targets.zip(0..).map(|(name, at)| Entry {
            name: (*name).to_owned(),
            colour: colour(at),
            marker: None,
            dashed: false,
            left: 0.0,
            row: 0,
        });
        let sources = self.sources.iter().filter(|name| !name.is_empty());
        let sources = sources.map(|name| Entry {
            name: format!("from {name}"),
            colour: match by_source {
                true => colour(self.marker(name)),
                false => QUIET,
            },
            marker: Some(self.marker(name)),
            dashed: self.dashed(name),
            left: 0.0,
            row: 0,
        });
        let (mut left, mut row) = (MARGIN, 0);
        let mut entries: Vec<Entry> = Vec::new();
        for mut entry in targets.chain(sources) {
            let long = SWATCH + text_width(&entry.name, POINTS) + AFTER_NAME;
            let first_source =
                entry.marker.is_some() && entries.last().is_some_and(|last| last.marker.is_none());
            if left > MARGIN && (first_source || left + long > width - MARGIN) {
                (left, row) = (MARGIN, row + 1);
            }
            (entry.left, entry.row) = (left, row);
            left += long;
            entries.push(entry);
        }
        entries
    }
}

pub(super) fn draw_legend(sheet: &Sheet, entries: &[Entry], top: f64) -> Drawn {
    for entry in entries {
        let y = top + (entry.row as f64 + 0.5) * LEGEND_ROW;
        let (start, end) = (dots(entry.left), dots(entry.left + SWATCH - 1.8));
        let middle = dots(y);
        match entry.marker {
            None => {
                let half = dots(0.9);
                let corners = [
                    (start, middle - half),
                    (end, middle - half),
                    (end, middle + half),
                    (start, middle + half),
                ];
                sheet.shape(corners.to_vec(), entry.colour)?;
            }
            Some(marker) => {
                let line = [(start, middle), (end, middle)];
                stroke(sheet, &line, entry.colour, entry.dashed)?;
                sheet.mark(marker, entry.colour, ((start + end) / 2, middle), 0.8)?;
            }
        }
        let at = (entry.left + SWATCH, y);
        sheet.text(&entry.name, at, Text::new(POINTS, INK, Align::Left))?;
    }
    Ok(())
}
