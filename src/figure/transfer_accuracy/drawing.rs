//! The drawing: two charts side by side, under them the legend of target sets and sources, and the note.

use super::TransferAccuracy;
use crate::figure::axis::Axis;
use crate::figure::mesh::draw_mesh;
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::style::{Align, INK, QUIET, Text, colour, text_width, wrap};
use crate::study::{Curve, Variable};
use plotters::prelude::*;

/// Lengths in millimetres.
const WIDTH: f64 = 174.0;
const NARROW: f64 = 90.0;
const MARGIN: f64 = 2.5;
const GAP: f64 = 5.0;
const TITLE: f64 = 6.0;
const CHART: f64 = 62.0;
const LABELS_LEFT: f64 = 12.0;
const LABELS_BELOW: f64 = 9.0;
const LEGEND_ROW: f64 = 4.4;
const SWATCH: f64 = 8.0;
const AFTER_NAME: f64 = 5.0;
const NOTE_LINE: f64 = 3.5;
const DASH: (f64, f64) = (1.5, 0.9);
/// Sizes of text in points.
const TITLE_POINTS: f64 = 8.0;
const POINTS: f64 = 7.5;
const NOTE_POINTS: f64 = 7.0;
/// Curves of more points carry no markers.
const MARKED: usize = 12;

type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<Axis, Axis>>;

/// One entry of the legend.
struct Entry {
    name: String,
    colour: RGBColor,
    /// None: a swatch of colour alone.
    marker: Option<usize>,
    dashed: bool,
    /// From the left edge, and its row.
    left: f64,
    row: usize,
}

/// Which colours and markers stand for what.
struct Look<'a> {
    targets: Vec<&'a str>,
    sources: Vec<&'a str>,
    natural: Option<&'a str>,
}

impl<'a> Look<'a> {
    fn of(figure: &'a TransferAccuracy) -> Self {
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

    fn colour(&self, curve: &Curve) -> RGBColor {
        let at = self.targets.iter().position(|name| *name == curve.target);
        colour(at.unwrap_or(0))
    }

    fn marker(&self, source: &str) -> usize {
        self.sources
            .iter()
            .position(|name| *name == source)
            .unwrap_or(0)
    }

    fn dashed(&self, source: &str) -> bool {
        self.sources.len() > 1 && self.natural == Some(source)
    }

    /// All entries, placed within `width`.
    fn legend(&self, width: f64) -> Vec<Entry> {
        let targets = self.targets.iter().zip(0..).map(|(name, at)| Entry {
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
            colour: QUIET,
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

fn width(figure: &TransferAccuracy) -> f64 {
    match figure.summary.difference.is_empty() {
        true => NARROW,
        false => WIDTH,
    }
}

fn note(figure: &TransferAccuracy) -> Vec<String> {
    // Room for the wider fonts that a reader of an SVG may have.
    let room = 0.95 * (width(figure) - 2.0 * MARGIN);
    wrap(&figure.note(), NOTE_POINTS, room)
}

/// Where the note begins, from the top.
fn note_top(figure: &TransferAccuracy) -> f64 {
    let rows = Look::of(figure)
        .legend(width(figure))
        .last()
        .map_or(0, |last| last.row + 1);
    MARGIN + TITLE + CHART + 1.5 + rows as f64 * LEGEND_ROW + 1.5
}

pub(super) fn size(figure: &TransferAccuracy) -> (f64, f64) {
    let lines = note(figure).len() as f64;
    (width(figure), note_top(figure) + lines * NOTE_LINE + MARGIN)
}

pub(super) fn draw<B: DrawingBackend>(figure: &TransferAccuracy, sheet: &Sheet<B>) -> Drawn<B> {
    let look = Look::of(figure);
    let summary = &figure.summary;
    let mut panels = vec![("(a) Test accuracy".to_owned(), &summary.accuracy)];
    if !summary.difference.is_empty() {
        let robust = match &Look::of(figure).sources[..] {
            [one, other] if look.natural == Some(one) => (*other).to_owned(),
            [other, one] if look.natural == Some(one) => (*other).to_owned(),
            _ => "robust".to_owned(),
        };
        let natural = look.natural.unwrap_or("natural");
        panels.push((
            format!("(b) {robust} − {natural}, paired by seed"),
            &summary.difference,
        ));
    }
    let count = panels.len() as f64;
    let panel_width = (width(figure) - 2.0 * MARGIN - (count - 1.0) * GAP) / count;
    for (index, (title, curves)) in panels.into_iter().enumerate() {
        let place = Place {
            sheet,
            figure,
            look: &look,
            left: MARGIN + index as f64 * (panel_width + GAP),
            width: panel_width,
            differences: index == 1,
        };
        place.panel(&title, curves)?;
    }
    legend(sheet, &look.legend(width(figure)))?;
    for (line, at) in note(figure).iter().zip(0..) {
        let y = note_top(figure) + (f64::from(at) + 0.5) * NOTE_LINE;
        let look = Text::new(NOTE_POINTS, QUIET, Align::Left);
        sheet.text(line, (MARGIN, y), look)?;
    }
    Ok(())
}

fn legend<B: DrawingBackend>(sheet: &Sheet<B>, entries: &[Entry]) -> Drawn<B> {
    for entry in entries {
        let y = MARGIN + TITLE + CHART + 1.5 + (entry.row as f64 + 0.5) * LEGEND_ROW;
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

fn stroke<B: DrawingBackend>(
    sheet: &Sheet<B>,
    line: &[(i32, i32)],
    colour: RGBColor,
    dashed: bool,
) -> Drawn<B> {
    match dashed {
        true => sheet.dashes(line, 1.1, colour, DASH),
        false => sheet.line(line.to_vec(), 1.1, colour),
    }
}

struct Place<'a, B: DrawingBackend> {
    sheet: &'a Sheet<B>,
    figure: &'a TransferAccuracy,
    look: &'a Look<'a>,
    left: f64,
    width: f64,
    differences: bool,
}

impl<B: DrawingBackend> Place<'_, B> {
    fn panel(&self, title: &str, curves: &[Curve]) -> Drawn<B> {
        let at = (self.left, MARGIN + TITLE / 2.0 - 0.5);
        self.sheet
            .text(title, at, Text::new(TITLE_POINTS, INK, Align::Left))?;
        let area = self
            .sheet
            .part(self.left, MARGIN + TITLE, self.width, CHART);
        let mut chart = ChartBuilder::on(&area)
            .set_label_area_size(LabelAreaPosition::Left, dots(LABELS_LEFT))
            .set_label_area_size(LabelAreaPosition::Bottom, dots(LABELS_BELOW))
            .margin_right(dots(1.5))
            .margin_top(dots(1.0))
            .build_cartesian_2d(self.across(), self.up(curves))?;
        self.axes(&mut chart)?;
        if self.differences {
            self.zero(&chart)?;
        }
        for curve in curves {
            self.band(&chart, curve)?;
        }
        for curve in curves {
            self.curve(&chart, curve)?;
        }
        Ok(())
    }

    /// The same in both panels.
    fn across(&self) -> Axis {
        let places = self.places();
        let ends = (places.first(), places.last());
        match (self.figure.summary.variable, ends) {
            (Variable::Epoch, (Some((low, _)), Some((high, _)))) => Axis::numbers(*low, *high),
            _ => {
                let places: Vec<f64> = places.into_iter().map(|(place, _)| place).collect();
                Axis::places(&places, 0.07)
            }
        }
    }

    /// All places on the axis, ascending, with their labels.
    fn places(&self) -> Vec<(f64, &str)> {
        let points = (self.figure.summary.accuracy.iter()).flat_map(|curve| &curve.points);
        let mut places: Vec<(f64, &str)> = points
            .map(|point| (self.place(point.place), point.label.as_str()))
            .collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        places.dedup_by(|a, b| a.0 == b.0);
        places
    }

    /// Numbers of images lie by their logarithm.
    fn place(&self, place: f64) -> f64 {
        match self.figure.summary.variable {
            Variable::Images => place.log10(),
            _ => place,
        }
    }

    fn up(&self, curves: &[Curve]) -> Axis {
        let values = curves
            .iter()
            .flat_map(|curve| &curve.points)
            .flat_map(|point| [point.value.low, point.value.high]);
        let start = match self.differences {
            true => (0.0, 0.0),
            false => (f64::INFINITY, f64::NEG_INFINITY),
        };
        let (low, high) = values.fold(start, |(low, high), value| {
            (low.min(value), high.max(value))
        });
        Axis::numbers(low, high)
    }

    fn axes(&self, chart: &mut Chart<B>) -> Drawn<B> {
        let places = self.places();
        let by_label = |value: &f64| {
            let nearest =
                (places.iter()).min_by(|a, b| (a.0 - value).abs().total_cmp(&(b.0 - value).abs()));
            nearest.map_or(String::new(), |(_, label)| (*label).to_owned())
        };
        let number = |value: &f64| match value.fract().abs() < 1e-9 {
            true => format!("{value:.0}").replace('-', "−"),
            false => format!("{value:.1}").replace('-', "−"),
        };
        let across: &dyn Fn(&f64) -> String = match self.figure.summary.variable {
            Variable::Epoch => &number,
            _ => &by_label,
        };
        let name = match self.differences {
            true => "Difference (percentage points)",
            false => "Test accuracy (%)",
        };
        let text = (POINTS, self.sheet.text_drop(POINTS));
        draw_mesh(
            chart,
            text,
            (self.figure.axis_name(), across),
            (name, &number),
        )
    }

    fn zero(&self, chart: &Chart<B>) -> Drawn<B> {
        let area = chart.plotting_area();
        let range = area.get_x_range();
        let line = [range.start, range.end].map(|x| area.map_coordinate(&(x, 0.0)));
        self.sheet.line(line.to_vec(), 0.9, INK)
    }

    fn band(&self, chart: &Chart<B>, curve: &Curve) -> Drawn<B> {
        let area = chart.plotting_area();
        let at = |place: f64, value: f64| area.map_coordinate(&(self.place(place), value));
        let points = || curve.points.iter();
        let colour = self.look.colour(curve);
        if let [only] = &curve.points[..] {
            let bar = vec![
                at(only.place, only.value.low),
                at(only.place, only.value.high),
            ];
            return self.sheet.line(bar, 0.6, colour);
        }
        let upper = points().map(|point| at(point.place, point.value.high));
        let lower = points().rev().map(|point| at(point.place, point.value.low));
        self.sheet
            .shape(upper.chain(lower).collect(), colour.mix(0.16))
    }

    fn curve(&self, chart: &Chart<B>, curve: &Curve) -> Drawn<B> {
        let area = chart.plotting_area();
        let line: Vec<_> = (curve.points.iter())
            .map(|point| area.map_coordinate(&(self.place(point.place), point.value.value)))
            .collect();
        let colour = self.look.colour(curve);
        stroke(self.sheet, &line, colour, self.look.dashed(&curve.source))?;
        if line.len() > MARKED {
            return Ok(());
        }
        let marker = self.look.marker(&curve.source);
        line.into_iter()
            .try_for_each(|dot| self.sheet.mark(marker, colour, dot, 0.8))
    }
}
