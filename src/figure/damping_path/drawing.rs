//! The drawing: two panels over one axis of dampings, a legend, a note.

use super::{in_use, note};
use crate::figure::Style;
use crate::figure::axis::Axis;
use crate::figure::chart::{Chart, POINTS, TITLE, draw_dotted, draw_mesh, draw_title, empty_chart};
use crate::figure::note::{MARGIN, Note};
use crate::figure::palette::{AGREES, INK, QUIET, colour};
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::text::{Align, Text, text_width};
use crate::influence::{AGREEMENT, DampingPath, DampingPoint};
use plotters::prelude::*;

/// Lengths in millimetres.
const WIDTH: f64 = 174.0;
const GAP: f64 = 5.0;
/// Above each chart: the names of the marked dampings, one row each.
const MARKS: f64 = 9.0;
const CHART: f64 = 54.0;
const FIRST: f64 = 106.0;
const LABELS_LEFT: f64 = 12.5;
const LABELS_BELOW: f64 = 8.5;
const LEGEND_ROW: f64 = 4.2;
const SWATCH: f64 = 9.0;
/// From an entry of the legend to the next.
const LEGEND_COLUMN: f64 = SWATCH + 62.0;

/// What the curves with markers show, and those without.
const MAIN: &str = "rank-biased overlap";
const OTHER: &str = "Jaccard index";

/// The lengths that depend on the style.
#[derive(Clone, Copy)]
struct Lengths {
    width: f64,
    chart: f64,
    /// Width of the first panel.
    first: f64,
}

impl Lengths {
    fn of(style: Style) -> Self {
        let share = style.shrink(WIDTH);
        Self {
            width: share * WIDTH,
            chart: share * CHART,
            first: share * FIRST,
        }
    }

    fn note(&self, path: &DampingPath) -> Note {
        Note::of(&note::note(path), self.width)
    }

    fn legend_top(&self) -> f64 {
        MARGIN + TITLE + MARKS + self.chart + 2.0
    }

    fn note_top(&self) -> f64 {
        self.legend_top() + 3.0 * LEGEND_ROW + 2.0
    }
}

pub(super) fn size(path: &DampingPath, style: Style) -> (f64, f64) {
    let lengths = Lengths::of(style);
    let height = lengths.note_top() + lengths.note(path).height();
    (lengths.width, height + MARGIN)
}

pub(super) fn draw(path: &DampingPath, sheet: &Sheet) -> Drawn {
    let lengths = Lengths::of(sheet.style());
    let second = MARGIN + lengths.first + GAP;
    let overlaps = Panel {
        sheet,
        path,
        lengths,
        left: MARGIN,
        width: lengths.first,
    };
    draw_title(sheet, overlaps.left, &["(a) overlap of the top ranks"])?;
    overlaps.overlaps()?;
    let scores = Panel {
        left: second,
        width: lengths.width - MARGIN - second,
        ..overlaps
    };
    draw_title(sheet, scores.left, &["(b) size of the top score"])?;
    scores.scores()?;
    legend(sheet, lengths)?;
    lengths.note(path).draw(sheet, lengths.note_top())
}

/// A row each: the overlap with the next damping and with the one in use, as rank-biased overlap and Jaccard index, and that with the
/// smallest, as the former.
fn legend(sheet: &Sheet, lengths: Lengths) -> Drawn {
    let both = &[(MAIN, 1.1), (OTHER, 0.6)][..];
    let rows = [
        ("with the next damping", both),
        ("with the damping in use", both),
        ("with the smallest damping", &both[..1]),
    ];
    // Below the first chart, or from the margin where that is too far to the right.
    let longest = |kind: &str| {
        let wide = |(words, _): &(&str, _)| text_width(&format!("{kind} {words}"), POINTS);
        SWATCH + rows.iter().map(wide).fold(0.0, f64::max)
    };
    let chart = MARGIN + LABELS_LEFT;
    let fits = chart + LEGEND_COLUMN + longest(OTHER) <= lengths.width - MARGIN;
    let (start, column) = match fits {
        true => (chart, LEGEND_COLUMN),
        false => (MARGIN, longest(MAIN) + 3.0),
    };
    for (index, (words, kinds)) in rows.iter().enumerate() {
        let middle = lengths.legend_top() + (index as f64 + 0.5) * LEGEND_ROW;
        let y = dots(middle);
        let mut left = start;
        for &(kind, points) in *kinds {
            let ends = [left, left + SWATCH - 1.5].map(|x| (dots(x), y));
            sheet.line(ends.to_vec(), points, colour(index))?;
            if points > 1.0 {
                let centre = dots(left + (SWATCH - 1.5) / 2.0);
                sheet.marker(index, (centre, y), 0.75)?;
            }
            let look = Text::new(POINTS, INK, Align::Left);
            let words = format!("{kind} {words}");
            sheet.text(&words, (left + SWATCH, middle), look)?;
            left += column;
        }
    }
    Ok(())
}

/// A panel's column of the sheet, in millimetres.
#[derive(Clone, Copy)]
struct Panel<'a, 'c> {
    sheet: &'a Sheet<'c>,
    path: &'a DampingPath,
    lengths: Lengths,
    left: f64,
    width: f64,
}

impl<'c> Panel<'_, 'c> {
    fn chart(&self, values: Axis) -> Drawn<Chart<'_, 'c>> {
        let top = MARGIN + TITLE + MARKS;
        let area = self
            .sheet
            .part(self.left, top, self.width, self.lengths.chart);
        // One label a centimetre.
        let most = (self.width / 10.0) as i32;
        let damped = damped(self.path);
        let ends = (damped[0].damping, damped[damped.len() - 1].damping);
        let dampings = Axis::decades(ends.0, ends.1, most);
        empty_chart(&area, (LABELS_LEFT, LABELS_BELOW), dampings, values)
    }

    fn overlaps(&self) -> Drawn {
        let mut chart = self.chart(Axis::shares())?;
        self.stretch(&chart)?;
        self.axes(&mut chart, "Overlap", |share| format!("{share:.1}"))?;
        draw_dotted(self.sheet, &chart, AGREEMENT)?;
        self.marks(&chart)?;
        let next = |value: fn(&DampingPoint) -> Option<f64>| self.between(value);
        let with = |value: fn(&DampingPoint) -> f64| self.at(value);
        self.curve(&chart, 0, false, &next(|point| point.jaccard_next))?;
        self.curve(&chart, 1, false, &with(|point| point.jaccard_chosen))?;
        self.curve(&chart, 2, true, &with(|point| point.rbo_smallest))?;
        self.curve(&chart, 1, true, &with(|point| point.rbo_chosen))?;
        self.curve(&chart, 0, true, &next(|point| point.rbo_next))
    }

    fn scores(&self) -> Drawn {
        let sizes = self.at(|point| point.median_top_score.log10());
        let drawn: Vec<(f64, f64)> = sizes.into_iter().filter(|at| at.1.is_finite()).collect();
        let logs = || drawn.iter().map(|at| at.1);
        let low = logs().reduce(f64::min).unwrap_or(-1.0);
        let high = logs().reduce(f64::max).unwrap_or(0.0);
        let mut chart = self.chart(Axis::decades(10f64.powf(low), 10f64.powf(high), 8))?;
        self.stretch(&chart)?;
        self.axes(&mut chart, "Median score (nats)", power)?;
        self.marks(&chart)?;
        self.curve(&chart, 6, true, &drawn)
    }

    fn axes(
        &self,
        chart: &mut Chart<'_, 'c>,
        description: &str,
        values: impl Fn(&f64) -> String,
    ) -> Drawn {
        let across = ("Damping λ", &power as _);
        draw_mesh(self.sheet, chart, across, (description, &values))
    }

    /// A value at every damping, (log₁₀ λ, value).
    fn at(&self, value: fn(&DampingPoint) -> f64) -> Vec<(f64, f64)> {
        let points = damped(self.path).iter();
        points
            .map(|point| (point.damping.log10(), value(point)))
            .collect()
    }

    /// A comparison of neighbours, halfway between them.
    fn between(&self, value: fn(&DampingPoint) -> Option<f64>) -> Vec<(f64, f64)> {
        let halfway = |pair: &[DampingPoint]| {
            let middle = 0.5 * (pair[0].damping.log10() + pair[1].damping.log10());
            value(&pair[0]).map(|value| (middle, value))
        };
        damped(self.path).windows(2).filter_map(halfway).collect()
    }

    fn curve(&self, chart: &Chart, index: usize, is_main: bool, values: &[(f64, f64)]) -> Drawn {
        let area = chart.plotting_area();
        let line: Vec<_> = values.iter().map(|at| area.map_coordinate(at)).collect();
        let points = if is_main { 1.1 } else { 0.6 };
        self.sheet.line(line.clone(), points, colour(index))?;
        if is_main {
            line.into_iter()
                .try_for_each(|dot| self.sheet.marker(index, dot, 0.75))?;
        }
        Ok(())
    }

    /// The shade of the stable stretch.
    fn stretch(&self, chart: &Chart) -> Drawn {
        let Some((first, last)) = self.path.suggestion.stretch else {
            return Ok(());
        };
        let area = chart.plotting_area();
        let rows = area.get_y_range();
        let corner = |damping: f64, value: f64| {
            let across = damping.log10().max(area.get_x_range().start);
            area.map_coordinate(&(across, value))
        };
        let corners = vec![
            corner(first, rows.start),
            corner(last, rows.start),
            corner(last, rows.end),
            corner(first, rows.end),
        ];
        self.sheet.shape(corners, AGREES.mix(0.1))
    }

    /// The damping in use and the suggested one: lines through the chart, named above it in a row each.
    fn marks(&self, chart: &Chart) -> Drawn {
        let suggestion = &self.path.suggestion;
        let in_use = format!("in use {}", in_use(self.path.damping));
        let suggested = format!("suggested {}", suggestion.brief());
        self.mark(chart, (self.path.damping, &in_use), 0, QUIET)?;
        self.mark(chart, (suggestion.damping, &suggested), 1, AGREES)
    }

    fn mark(
        &self,
        chart: &Chart,
        (damping, name): (f64, &str),
        row: u8,
        colour: RGBColor,
    ) -> Drawn {
        let area = chart.plotting_area();
        let rows = area.get_y_range();
        let across = damping.log10().max(area.get_x_range().start);
        let (x, bottom) = area.map_coordinate(&(across, rows.start));
        let y = MARGIN + TITLE + (f64::from(row) + 0.5) * (MARKS - 1.0) / 2.0;
        // The line starts below its own name and passes behind that of the other row where both stand together.
        let top = dots(y + (MARKS - 1.0) / 4.0 - 0.3);
        self.sheet.line(vec![(x, top), (x, bottom)], 1.0, colour)?;
        let half = 0.5 * text_width(name, POINTS);
        let middle = f64::from(x) / crate::figure::sheet::DOTS_PER_MM;
        let furthest = self.left + self.width - half;
        let middle = middle.clamp(self.left + half, furthest.max(self.left + half));
        let (aside, above) = (half + 0.4, 1.6);
        let corners = [
            (-aside, -above),
            (aside, -above),
            (aside, above),
            (-aside, above),
        ];
        let behind = corners.map(|(across, down)| (dots(middle + across), dots(y + down)));
        self.sheet.shape(behind.to_vec(), WHITE)?;
        self.sheet
            .text(name, (middle, y), Text::new(POINTS, colour, Align::Centre))
    }
}

/// What the axis has a place for: all but a damping of 0, which comes first.
fn damped(path: &DampingPath) -> &[DampingPoint] {
    let undamped = usize::from(path.points[0].damping == 0.0);
    &path.points[undamped..]
}

fn power(log: &f64) -> String {
    format!("1e{log:.0}")
}
