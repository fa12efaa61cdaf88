//! The drawing of Figure 6: panels side by side, under each a table that is its legend too.

use super::{ClassMatch, Curve, Panel, QuerySet, points};
use crate::figure::Style;
use crate::figure::axis::Axis;
use crate::figure::chart::{
    Chart, POINTS, TITLE, TITLE_LINE, TITLE_POINTS, draw_dotted, draw_mesh, draw_title, empty_chart,
};
use crate::figure::note::{MARGIN, Note, of_predicted};
use crate::figure::palette::{INK, QUIET, colour};
use crate::figure::sheet::{Drawn, Sheet, dots};
use crate::figure::text::{Align, Text, distinct, text_width, thousands, wrap};
use plotters::prelude::*;

/// What is drawn, and how the models' first ranks differ on the same queries.
pub(super) fn note(figure: &ClassMatch) -> String {
    let test = (figure.panels.iter()).filter(|panel| panel.queries == QuerySet::Test);
    let test = test.flat_map(|panel| &panel.curves);
    let class = match of_predicted(test.map(|curve| (&*curve.model, curve.predicted))) {
        None => "true class".to_owned(),
        Some(of) if of.is_empty() && figure.panels.len() == 1 => "predicted class".to_owned(),
        Some(of) => format!("true class (test images{of}: predicted class)"),
    };
    let mut note = format!(
        "Percent of queries whose training image at a rank (1 = most helpful; per rank, not cumulative) has the query’s \
         {class}. Band: 95 % Wilson interval over queries. Dotted: chance, the match expected if training images were \
         ranked at random."
    );
    let mut named: Vec<(&str, &str)> = Vec::new();
    for pair in figure.panels.iter().flat_map(|panel| &panel.pairs) {
        if !named.contains(&(&pair.model, &pair.first)) {
            named.push((&pair.model, &pair.first));
        }
    }
    for (model, first) in named {
        let of_panel = |panel: &Panel| {
            let mut pairs = panel.pairs.iter();
            let pair = pairs.find(|pair| (&*pair.model, &*pair.first) == (model, first))?;
            let difference = points(pair.difference.first_match);
            Some(format!("({}) {difference}", panel.queries.letter()))
        };
        let differences: Vec<String> = figure.panels.iter().filter_map(of_panel).collect();
        note.push_str(&format!(
            " {model} less {first} at rank 1, query by query: {} points (95 % interval over queries).",
            differences.join(", ")
        ));
    }
    note
}

/// What the axes say, and what they say where that is too long.
const ACROSS: [&str; 2] = ["Rank of the training image", "Rank"];
const UP: [&str; 2] = ["Queries matched by class (%)", "Matched by class (%)"];

/// Lengths in millimetres.
const GAP: f64 = 4.5;
/// A panel with less room than this has two lines for each row of its table.
const NARROW: f64 = 50.0;
const CHART: f64 = 50.0;
/// Of a chart on a smaller sheet, as a share of that.
const LEAST_HEIGHT: f64 = 0.9;
const LABELS_LEFT: f64 = 10.5;
const LABELS_BELOW: f64 = 8.5;
const TABLE_ROW: f64 = 3.9;
const SWATCH: f64 = 6.0;
/// Right edges of the columns, from the panel's right edge.
const COLUMNS: [f64; 3] = [24.8, 12.0, 0.0];
/// A number in them, and the space before it.
const NUMBER: f64 = 10.5;

/// The lengths that depend on style and number of panels.
#[derive(Clone, Copy)]
struct Lengths {
    width: f64,
    panel: f64,
    title: f64,
    chart: f64,
    /// Lines of a row of the table: two where a panel is too narrow for a name and its numbers in one.
    row_lines: usize,
}

impl Lengths {
    fn of(figure: &ClassMatch, style: Style) -> Self {
        let width = match figure.panels.len() {
            0 | 1 => 90.0,
            2 => 174.0,
            _ => 180.0,
        };
        let share = style.shrink(width);
        let width = share * width;
        let count = figure.panels.len() as f64;
        let panel = (width - 2.0 * MARGIN - (count - 1.0) * GAP) / count;
        let title_lines = figure.panels.iter().map(|shown| title(shown, panel).len());
        let more = title_lines.max().unwrap_or(1).saturating_sub(1);
        Self {
            width,
            panel,
            title: TITLE + more as f64 * TITLE_LINE,
            chart: share.max(LEAST_HEIGHT) * CHART,
            row_lines: if panel < NARROW { 2 } else { 1 },
        }
    }

    fn note(&self, figure: &ClassMatch) -> Note {
        Note::of(&note(figure), self.width)
    }

    fn table_top(&self) -> f64 {
        MARGIN + self.title + self.chart + 2.0
    }

    fn row(&self) -> f64 {
        self.row_lines as f64 * TABLE_ROW
    }

    /// Where the note begins, from the top.
    fn note_top(&self, figure: &ClassMatch) -> f64 {
        let rows = figure
            .panels
            .iter()
            .map(|panel| panel.curves.len() + 1)
            .max();
        self.table_top() + rows.unwrap_or(0) as f64 * self.row() + 2.0
    }
}

/// A panel's title in lines of at most `width`.
fn title(panel: &Panel, width: f64) -> Vec<String> {
    let queries = panel.queries;
    let title = format!("({}) {}", queries.letter(), queries.description());
    wrap(&title, TITLE_POINTS, width)
}

pub(super) fn size(figure: &ClassMatch, style: Style) -> (f64, f64) {
    let lengths = Lengths::of(figure, style);
    let height = lengths.note_top(figure) + lengths.note(figure).height();
    (lengths.width, height + MARGIN)
}

pub(super) fn draw(figure: &ClassMatch, sheet: &Sheet) -> Drawn {
    let lengths = Lengths::of(figure, sheet.style());
    for (index, panel) in figure.panels.iter().enumerate() {
        let left = MARGIN + index as f64 * (lengths.panel + GAP);
        let place = Place {
            sheet,
            lengths,
            left,
            width: lengths.panel,
        };
        draw_title(sheet, left, &title(panel, lengths.panel))?;
        place.chart(panel, index == 0)?;
        place.table(panel)?;
    }
    lengths.note(figure).draw(sheet, lengths.note_top(figure))
}

/// A panel's column of the sheet, in millimetres.
struct Place<'a, 'c> {
    sheet: &'a Sheet<'c>,
    lengths: Lengths,
    left: f64,
    width: f64,
}

impl<'c> Place<'_, 'c> {
    fn chart(&self, panel: &Panel, first: bool) -> Drawn {
        let ranks = panel
            .curves
            .iter()
            .map(|curve| curve.points.len())
            .max()
            .unwrap_or(1);
        let top = MARGIN + self.lengths.title;
        let area = self
            .sheet
            .part(self.left, top, self.width, self.lengths.chart);
        let labels = (LABELS_LEFT, LABELS_BELOW);
        let mut chart = empty_chart(&area, labels, Axis::ranks(ranks), Axis::percent())?;
        self.axes(&mut chart, first)?;
        for curve in &panel.curves {
            draw_dotted(self.sheet, &chart, curve.chance_percent)?;
        }
        for (index, curve) in panel.curves.iter().enumerate() {
            self.band(&chart, index, curve)?;
        }
        for (index, curve) in panel.curves.iter().enumerate() {
            self.curve(&chart, index, curve)?;
        }
        Ok(())
    }

    fn axes(&self, chart: &mut Chart<'_, 'c>, first: bool) -> Drawn {
        let up = match first {
            true => described(UP, self.lengths.chart - LABELS_BELOW),
            false => "",
        };
        let across = described(ACROSS, self.width - LABELS_LEFT);
        let whole = |number: &f64| format!("{number:.0}");
        draw_mesh(self.sheet, chart, (across, &whole), (up, &whole))
    }

    fn band(&self, chart: &Chart, index: usize, curve: &Curve) -> Drawn {
        let area = chart.plotting_area();
        let at = |rank: usize, percent: f64| area.map_coordinate(&(rank as f64, percent));
        let upper = curve
            .points
            .iter()
            .map(|point| at(point.rank, point.high_percent));
        let lower = curve
            .points
            .iter()
            .rev()
            .map(|point| at(point.rank, point.low_percent));
        self.sheet
            .shape(upper.chain(lower).collect(), colour(index).mix(0.18))
    }

    fn curve(&self, chart: &Chart, index: usize, curve: &Curve) -> Drawn {
        let area = chart.plotting_area();
        let at = |rank: usize, percent: f64| area.map_coordinate(&(rank as f64, percent));
        let line: Vec<_> = curve
            .points
            .iter()
            .map(|point| at(point.rank, point.match_percent))
            .collect();
        self.sheet.line(line.clone(), 1.1, colour(index))?;
        // Half as many where there is little room.
        let step = 10 * self.lengths.row_lines;
        for (rank, &dot) in line.iter().enumerate() {
            if is_marked(rank, index, line.len(), step) {
                self.sheet.marker(index, dot, 0.62)?;
            }
        }
        Ok(())
    }

    fn table(&self, panel: &Panel) -> Drawn {
        let (left, right) = (self.left + 1.0, self.left + self.width - 1.0);
        let y = |row: usize| {
            self.lengths.table_top() + row as f64 * self.lengths.row() + 0.5 * TABLE_ROW
        };
        let below = (self.lengths.row_lines - 1) as f64 * TABLE_ROW;
        let row = |row: usize, cells: [String; 3], colour: RGBColor| {
            COLUMNS
                .iter()
                .zip(cells)
                .try_for_each(|(from_right, cell)| {
                    self.sheet.text(
                        &cell,
                        (right - from_right, y(row) + below),
                        Text::new(POINTS, colour, Align::Right),
                    )
                })
        };
        let quiet = Text::new(POINTS, QUIET, Align::Left);
        self.sheet.text(&queries(panel), (left, y(0)), quiet)?;
        row(0, ["top 1", "≥ 3 of 5", "chance"].map(String::from), QUIET)?;
        let numbers = match self.lengths.row_lines {
            1 => COLUMNS[0] + NUMBER,
            _ => 0.0,
        };
        let names: Vec<&str> = panel.curves.iter().map(|curve| &*curve.model).collect();
        let names = distinct(&names, POINTS, right - numbers - left - SWATCH);
        for (index, curve) in panel.curves.iter().enumerate() {
            let middle = dots(y(index + 1));
            self.sheet.line(
                vec![(dots(left), middle), (dots(left + SWATCH - 1.2), middle)],
                1.1,
                colour(index),
            )?;
            self.sheet
                .marker(index, (dots(left + SWATCH / 2.0 - 0.6), middle), 0.62)?;
            self.sheet.text(
                &names[index],
                (left + SWATCH, y(index + 1)),
                Text::new(POINTS, INK, Align::Left),
            )?;
            let values = [
                curve.top_one_percent(),
                curve.three_of_top_five_percent,
                Some(curve.chance_percent),
            ];
            row(index + 1, values.map(percent), INK)?;
        }
        Ok(())
    }
}

/// The first of an axis' descriptions that is no longer than the axis, or the shortest.
fn described(descriptions: [&'static str; 2], room: f64) -> &'static str {
    let [long, short] = descriptions;
    match text_width(long, POINTS) <= room {
        true => long,
        false => short,
    }
}

/// Rank 1 and one in `step` after it carry a marker, at different ranks for different models so that none hides another.
fn is_marked(position: usize, index: usize, ranks: usize, step: usize) -> bool {
    position == 0
        || ranks <= 20
        || (position + 1) % step == (index * 5 + index / 2 * 3) * step / 10 % step
}

/// How many queries a panel has, where its models agree on that.
fn queries(panel: &Panel) -> String {
    let count = panel.curves.first().map_or(0, |curve| curve.query_count);
    if panel.curves.iter().all(|curve| curve.query_count == count) {
        format!("{} queries", thousands(count))
    } else {
        String::new()
    }
}

/// A percentage with one decimal; a dash where there is none.
pub(super) fn percent(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.1} %"))
}
