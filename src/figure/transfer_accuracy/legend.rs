//! Which colour, marker and line stand for which target set and source, and the legend that says so.

use super::TransferAccuracy;
use crate::figure::chart::POINTS;
use crate::figure::note::MARGIN;
use crate::figure::palette::{COLOURS, INK, QUIET, SHAPES, colour};
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::text::{Align, Text, text_width};
use crate::study::Curve;
use plotters::prelude::*;

/// Lengths in millimetres.
pub(super) const LEGEND_ROW: f64 = 4.4;
const SWATCH: f64 = 8.0;
const AFTER_NAME: f64 = 5.0;
const DASH: (f64, f64) = (1.5, 0.9);

/// The line of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) colour: RGBColor,
    dashed: bool,
    /// With a white core, which tells it from that of an earlier target set in this colour.
    hollow: bool,
}

/// What stands on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    shape: usize,
    /// With a white core, which tells it from that of an earlier source in this shape.
    hollow: bool,
}

/// One entry of the legend.
pub(super) struct Entry {
    name: String,
    pub(super) line: Line,
    /// None: a swatch of colour alone.
    marker: Option<Marker>,
    /// From the left edge, and its row.
    left: f64,
    pub(super) row: usize,
}

/// Which colours and markers stand for what.
pub(super) struct Look<'a> {
    pub(super) targets: Vec<&'a str>,
    pub(super) sources: Vec<&'a str>,
    pub(super) natural: Option<&'a str>,
    /// Whether some curve has several points, and so a line that is seen.
    has_lines: bool,
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
            has_lines: curves.iter().any(|curve| curve.points.len() > 1),
        }
    }

    /// Whether colours stand for sources: of one target set, where line and marker alone would have to tell many of them apart.
    pub(super) fn colours_sources(&self) -> bool {
        self.targets.len() == 1 && self.sources.len() > 2
    }

    pub(super) fn line(&self, curve: &Curve) -> Line {
        let (at, hollow) = match self.colours_sources() {
            true => (self.source(&curve.source), false),
            false => {
                let target = self.target(&curve.target);
                (target, self.is_hollow(target))
            }
        };
        Line {
            colour: colour(at),
            dashed: self.dashed(&curve.source),
            hollow,
        }
    }

    pub(super) fn marker(&self, source: &str) -> Marker {
        let at = self.source(source);
        Marker {
            shape: at % SHAPES,
            hollow: !self.colours_sources() && is_second(at, SHAPES),
        }
    }

    fn dashed(&self, source: &str) -> bool {
        self.sources.len() > 1 && self.natural == Some(source)
    }

    /// Whether the line of the target set at a place is hollow.
    fn is_hollow(&self, target: usize) -> bool {
        self.has_lines && is_second(target, COLOURS.len())
    }

    /// The place of a target set among all.
    pub(super) fn target(&self, name: &str) -> usize {
        place(&self.targets, name)
    }

    /// The place of a source among all.
    pub(super) fn source(&self, name: &str) -> usize {
        place(&self.sources, name)
    }

    /// Says so where there are too many target sets or sources to be told apart.
    pub(super) fn repeats(&self) -> String {
        let said = |names: &[&str], looks: usize, what: &str| {
            // A dashed line is told from one that is not.
            let is_alike = |(first, next): &(&&str, &&str)| {
                !self.has_lines || self.dashed(first) == self.dashed(next)
            };
            let alike = names.iter().zip(names.iter().skip(looks)).find(is_alike);
            alike.map_or_else(String::new, |(first, next)| {
                format!(" Looks begin again after {looks} {what}: {next} is drawn as {first} is.")
            })
        };
        match self.colours_sources() {
            true => said(&self.sources, COLOURS.len() * SHAPES, "sources"),
            false => {
                let sources = said(&self.sources, 2 * SHAPES, "sources");
                let colours = COLOURS.len() * (1 + usize::from(self.has_lines));
                said(&self.targets, colours, "target sets") + &sources
            }
        }
    }

    /// All entries, placed within `width`.
    pub(super) fn legend(&self, width: f64) -> Vec<Entry> {
        let by_source = self.colours_sources();
        let targets = self.targets.iter().filter(|_| !by_source);
        let targets = targets.zip(0..).map(|(name, at)| Entry {
            name: (*name).to_owned(),
            line: Line {
                colour: colour(at),
                dashed: false,
                hollow: self.is_hollow(at),
            },
            marker: None,
            left: 0.0,
            row: 0,
        });
        let sources = self.sources.iter().filter(|name| !name.is_empty());
        let sources = sources.map(|name| Entry {
            name: format!("from {name}"),
            line: Line {
                colour: match by_source {
                    true => colour(self.source(name)),
                    false => QUIET,
                },
                dashed: self.dashed(name),
                hollow: false,
            },
            marker: Some(self.marker(name)),
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

fn place(names: &[&str], name: &str) -> usize {
    let place = names.iter().position(|other| *other == name);
    place.unwrap_or(0)
}

/// Whether a look, of so many, is used the second time at a place.
fn is_second(place: usize, looks: usize) -> bool {
    place / looks % 2 == 1
}

pub(super) fn stroke(sheet: &Sheet, through: &[(i32, i32)], line: Line) -> Drawn {
    let draw = |points: f64, colour: RGBColor| match line.dashed {
        true => sheet.dashes(through, points, colour, DASH),
        false => sheet.line(through.to_vec(), points, colour),
    };
    if !line.hollow {
        return draw(1.1, line.colour);
    }
    draw(1.7, line.colour)?;
    draw(0.7, WHITE)
}

pub(super) fn mark(sheet: &Sheet, marker: Marker, colour: RGBColor, at: (i32, i32)) -> Drawn {
    sheet.mark(marker.shape, colour, at, 0.8)?;
    match marker.hollow {
        true => sheet.mark(marker.shape, WHITE, at, 0.3),
        false => Ok(()),
    }
}

pub(super) fn draw_legend(sheet: &Sheet, entries: &[Entry], top: f64) -> Drawn {
    for entry in entries {
        let y = top + (entry.row as f64 + 0.5) * LEGEND_ROW;
        let (start, end) = (dots(entry.left), dots(entry.left + SWATCH - 1.8));
        let middle = dots(y);
        match entry.marker {
            None => {
                let swatch = |edge: i32| {
                    let (left, right) = (start + edge, end - edge);
                    let half = dots(0.9) - edge;
                    let (above, below) = (middle - half, middle + half);
                    vec![(left, above), (right, above), (right, below), (left, below)]
                };
                sheet.shape(swatch(0), entry.line.colour)?;
                if entry.line.hollow {
                    sheet.shape(swatch(dots(0.45)), WHITE)?;
                }
            }
            Some(marker) => {
                stroke(sheet, &[(start, middle), (end, middle)], entry.line)?;
                let at = ((start + end) / 2, middle);
                mark(sheet, marker, entry.line.colour, at)?;
            }
        }
        let at = (entry.left + SWATCH, y);
        sheet.text(&entry.name, at, Text::new(POINTS, INK, Align::Left))?;
    }
    Ok(())
}
