//! The drawing: two charts side by side, under them the legend of target sets and sources, and the note.

use super::TransferAccuracy;
use super::legend::{LEGEND_ROW, Look, draw_legend, mark, stroke};
use crate::figure::Style;
use crate::figure::axis::Axis;
use crate::figure::chart::{
    Chart, POINTS, TITLE, TITLE_LINE, TITLE_POINTS, draw_mesh, draw_title, empty_chart,
};
use crate::figure::note::{MARGIN, Note};
use crate::figure::palette::INK;
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::text::{Align, Text, distinct, text_width, wrap};
use crate::study::{Curve, Variable};
use plotters::prelude::*;
use std::collections::BTreeSet;

/// Lengths in millimetres.
const WIDTH: f64 = 174.0;
const NARROW: f64 = 90.0;
const GAP: f64 = 5.0;
const CHART: f64 = 62.0;
const LABELS_LEFT: f64 = 12.0;
const LABELS_BELOW: f64 = 9.0;
/// What the name of the vertical axis takes beside its numbers.
const BESIDE_NUMBERS: f64 = 6.5;
/// The share of the horizontal axis that a label takes on paper.
const CROWDED: f64 = 0.07;
/// Curves of more points carry no markers, or so many where there are more than two sources to tell apart.
const MARKED: usize = 12;
const SOME_MARKED: usize = 6;
/// Between an upright label and its tick.
const TICK: f64 = 1.2;
/// The widest that a label of the horizontal axis may be, lying and upright.
const LABEL: f64 = 26.0;
/// How opaque a band is; where there are more than so many curves less, so that bands upon bands stay pale.
const BAND: f64 = 0.16;
const FEW_CURVES: f64 = 6.0;

/// The lengths that depend on style and number of panels.
#[derive(Clone, Copy)]
struct Lengths {
    /// Of those on paper.
    share: f64,
    width: f64,
    title: f64,
    chart: f64,
    /// Where labels of the horizontal axis stand upright, what they take of the chart's height.
    upright: Option<f64>,
}

impl Lengths {
    fn of(figure: &TransferAccuracy, style: Style) -> Self {
        let width = match figure.summary.difference.is_empty() {
            true => NARROW,
            false => WIDTH,
        };
        let share = style.shrink(width);
        let mut lengths = Self {
            share,
            width: share * width,
            title: TITLE,
            chart: share * CHART,
            upright: None,
        };
        let titles = titles(figure);
        let panel = lengths.panel(titles.len());
        let lines = titles.iter().map(|title| title_lines(title, panel).len());
        lengths.title += lines.max().unwrap_or(1).saturating_sub(1) as f64 * TITLE_LINE;
        lengths.upright = lengths.upright_labels(figure);
        lengths.chart += lengths.upright.unwrap_or_default();
        lengths
    }

    /// Of a panel, of `count`.
    fn panel(&self, count: usize) -> f64 {
        let count = count as f64;
        (self.width - 2.0 * MARGIN - (count - 1.0) * GAP) / count
    }

    /// How much more height the names of categories take where they are too wide to lie beside each other.
    fn upright_labels(&self, figure: &TransferAccuracy) -> Option<f64> {
        let places = match is_categorical(figure) {
            true => places(figure),
            false => Vec::new(),
        };
        let widths = (places.iter()).map(|(_, label)| text_width(label, POINTS));
        let widest = widths.fold(0.0, f64::max).min(LABEL);
        let panels = 1 + usize::from(!figure.summary.difference.is_empty());
        let room = (self.panel(panels) - LABELS_LEFT) / places.len().max(1) as f64;
        (widest + 1.0 > room).then_some(widest)
    }

    fn note(&self, figure: &TransferAccuracy) -> Note {
        Note::of(&figure.note(), self.width)
    }

    fn legend_top(&self) -> f64 {
        MARGIN + self.title + self.chart + 1.5
    }

    /// Where the note begins, from the top.
    fn note_top(&self, figure: &TransferAccuracy) -> f64 {
        let legend = Look::of(figure).legend(self.width);
        let rows = legend.last().map_or(0, |last| last.row + 1);
        self.legend_top() + rows as f64 * LEGEND_ROW + 1.5
    }
}

pub(super) fn size(figure: &TransferAccuracy, style: Style) -> (f64, f64) {
    let lengths = Lengths::of(figure, style);
    let height = lengths.note_top(figure) + lengths.note(figure).height();
    (lengths.width, height + MARGIN)
}

/// What less what.
fn difference(figure: &TransferAccuracy, look: &Look) -> String {
    let summary = &figure.summary;
    if let Some(against) = &summary.against {
        let targets: BTreeSet<&str> =
            (summary.difference.iter().map(|curve| &*curve.target)).collect();
        return match (targets.first(), targets.len()) {
            (Some(target), 1) => format!("{target} − {against}"),
            _ => format!("others − {against}"),
        };
    }
    let natural = look.natural.unwrap_or("natural");
    match &look.sources[..] {
        [one, other] | [other, one] if look.natural == Some(one) => format!("{other} − {natural}"),
        _ => format!("robust − {natural}"),
    }
}

/// One for each panel.
fn titles(figure: &TransferAccuracy) -> Vec<String> {
    let look = Look::of(figure);
    let mut titles = vec![match (look.colours_sources(), look.targets.first()) {
        (true, Some(target)) => format!("(a) Test accuracy on {target}"),
        _ => "(a) Test accuracy".to_owned(),
    }];
    if !figure.summary.difference.is_empty() {
        titles.push(format!("(b) {}, paired by seed", difference(figure, &look)));
    }
    titles
}

/// A title in lines of at most `width`.
fn title_lines(title: &str, width: f64) -> Vec<String> {
    wrap(title, TITLE_POINTS, width)
}

pub(super) fn draw(figure: &TransferAccuracy, sheet: &Sheet) -> Drawn {
    let look = Look::of(figure);
    let lengths = Lengths::of(figure, sheet.style());
    let titles = titles(figure);
    let panel_width = lengths.panel(titles.len());
    let curves = figure.panels().map(|(_, curves)| curves);
    for (index, (title, curves)) in titles.iter().zip(curves).enumerate() {
        let place = Place {
            sheet,
            figure,
            look: &look,
            left: MARGIN + index as f64 * (panel_width + GAP),
            width: panel_width,
            lengths,
            differences: index == 1,
        };
        place.panel(title, curves)?;
    }
    draw_legend(sheet, &look.legend(lengths.width), lengths.legend_top())?;
    lengths.note(figure).draw(sheet, lengths.note_top(figure))
}

struct Place<'a, 'c> {
    sheet: &'a Sheet<'c>,
    figure: &'a TransferAccuracy,
    look: &'a Look<'a>,
    left: f64,
    width: f64,
    lengths: Lengths,
    differences: bool,
}

impl<'c> Place<'_, 'c> {
    fn panel(&self, title: &str, curves: &[Curve]) -> Drawn {
        draw_title(self.sheet, self.left, &title_lines(title, self.width))?;
        let top = MARGIN + self.lengths.title;
        let area = self
            .sheet
            .part(self.left, top, self.width, self.lengths.chart);
        let below = LABELS_BELOW + self.lengths.upright.unwrap_or_default();
        let up = self.up(curves);
        let numbers = up.label();
        let widths = up
            .labels()
            .into_iter()
            .map(|label| text_width(&label, POINTS));
        let labels_left = LABELS_LEFT.max(widths.fold(0.0, f64::max) + BESIDE_NUMBERS);
        let mut chart = empty_chart(&area, (labels_left, below), self.across(), up)?;
        self.axes(&mut chart, &numbers)?;
        if self.differences {
            self.zero(&chart)?;
        }
        let opacity = BAND * (FEW_CURVES / curves.len() as f64).min(1.0);
        for curve in curves {
            self.band(&chart, curve, opacity)?;
        }
        for curve in curves {
            self.curve(&chart, curve)?;
        }
        Ok(())
    }

    /// The same in both panels.
    fn across(&self) -> Axis {
        let places: Vec<f64> = (places(self.figure).into_iter())
            .map(|(place, _)| place)
            .collect();
        match (self.figure.summary.variable, &places[..]) {
            (Variable::Epoch, [low, .., high]) => Axis::whole_numbers(*low, *high),
            (Variable::Epoch, [only]) => Axis::whole_numbers(*only, *only),
            _ if is_categorical(self.figure) => Axis::categories(&places),
            _ => Axis::places(&places, CROWDED / self.lengths.share),
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

    fn axes(&self, chart: &mut Chart<'_, 'c>, numbers: &dyn Fn(&f64) -> String) -> Drawn {
        let places = places(self.figure);
        let by_label = |value: &f64| {
            let nearest =
                (places.iter()).min_by(|a, b| (a.0 - value).abs().total_cmp(&(b.0 - value).abs()));
            nearest.map_or(String::new(), |(_, label)| (*label).to_owned())
        };
        let whole = |value: &f64| format!("{value:.0}");
        let across: &dyn Fn(&f64) -> String = match self.figure.summary.variable {
            Variable::Epoch => &whole,
            _ if self.lengths.upright.is_some() => &|_| String::new(),
            _ => &by_label,
        };
        let name = match self.differences {
            true => "Difference (percentage points)",
            false => "Test accuracy (%)",
        };
        let across = (self.figure.axis_name(), across);
        draw_mesh(self.sheet, chart, across, (name, numbers))?;
        match self.lengths.upright {
            None => Ok(()),
            Some(height) => self.upright_labels(chart, &places, height),
        }
    }

    /// Names of categories, each below its tick.
    fn upright_labels(&self, chart: &Chart, places: &[(f64, &str)], height: f64) -> Drawn {
        let area = chart.plotting_area();
        let low = area.get_y_range().start;
        let labels: Vec<&str> = places.iter().map(|(_, label)| *label).collect();
        let labels = distinct(&labels, POINTS, height);
        let look = Text::new(POINTS, INK, Align::Right);
        for ((place, _), label) in places.iter().zip(&labels) {
            let (x, y) = area.map_coordinate(&(*place, low));
            self.sheet.text_upwards(label, (x, y + dots(TICK)), look)?;
        }
        Ok(())
    }

    fn zero(&self, chart: &Chart) -> Drawn {
        let area = chart.plotting_area();
        let range = area.get_x_range();
        let line = [range.start, range.end].map(|x| area.map_coordinate(&(x, 0.0)));
        self.sheet.line(line.to_vec(), 0.9, INK)
    }

    /// Where a value is drawn; curves of one point stand beside each other.
    fn spot(&self, chart: &Chart, curve: &Curve, (place, value): (f64, f64)) -> (i32, i32) {
        let (x, y) = chart
            .plotting_area()
            .map_coordinate(&(spot(self.figure, place), value));
        if curve.points.len() > 1 {
            return (x, y);
        }
        let (at, count) = (self.look.target(&curve.target), self.look.targets.len());
        let from_middle = at as f64 - 0.5 * (count as f64 - 1.0);
        (x + dots(2.0 * from_middle), y)
    }

    /// Over each stretch of points that have an interval.
    fn band(&self, chart: &Chart, curve: &Curve, opacity: f64) -> Drawn {
        let at = |place: f64, value: f64| self.spot(chart, curve, (place, value));
        let colour = self.look.line(curve).colour;
        let stretches = (curve.points).chunk_by(|a, b| a.seeds > 1 && b.seeds > 1);
        for points in stretches.filter(|points| points[0].seeds > 1) {
            let upper = points.iter().map(|point| at(point.place, point.value.high));
            let lower = points.iter().rev();
            let lower = lower.map(|point| at(point.place, point.value.low));
            let around: Vec<_> = upper.chain(lower).collect();
            match around.len() {
                2 => self.sheet.line(around, 0.8, colour)?,
                _ => self.sheet.shape(around, colour.mix(opacity))?,
            }
        }
        Ok(())
    }

    fn curve(&self, chart: &Chart, curve: &Curve) -> Drawn {
        let line: Vec<_> = (curve.points.iter())
            .map(|point| self.spot(chart, curve, (point.place, point.value.value)))
            .collect();
        let look = self.look.line(curve);
        stroke(self.sheet, &line, look)?;
        let every = match line.len() {
            0..=MARKED => 1,
            _ if is_categorical(self.figure) => 1,
            _ if self.look.sources.len() <= 2 => return Ok(()),
            many => many.div_ceil(SOME_MARKED),
        };
        let marker = self.look.marker(&curve.source);
        // Those of the curves that go together stand beside each other.
        let first = self.look.source(&curve.source) % every;
        (line.into_iter().skip(first).step_by(every))
            .try_for_each(|dot| mark(self.sheet, marker, look.colour, dot))
    }
}

/// Whether the horizontal axis has names.
fn is_categorical(figure: &TransferAccuracy) -> bool {
    matches!(
        figure.summary.variable,
        Variable::Blocks | Variable::Epsilon
    )
}

/// All places on the horizontal axis, ascending, with their labels.
fn places(figure: &TransferAccuracy) -> Vec<(f64, &str)> {
    let points = (figure.summary.accuracy.iter()).flat_map(|curve| &curve.points);
    let mut places: Vec<(f64, &str)> = points
        .map(|point| (spot(figure, point.place), point.label.as_str()))
        .collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    places.dedup_by(|a, b| a.0 == b.0);
    places
}

/// Where on the horizontal axis a place is; numbers of images lie by their logarithm.
fn spot(figure: &TransferAccuracy, place: f64) -> f64 {
    match figure.summary.variable {
        Variable::Images => place.log10(),
        _ => place,
    }
}
