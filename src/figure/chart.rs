//! A chart with its title: room for labels, the look of axes and grid, and what more is the same in every figure.

use super::axis::Axis;
use super::canvas::Canvas;
use super::note::MARGIN;
use super::palette::{GRID, INK, QUIET};
use super::sheet::{Drawn, Sheet, dots};
use super::text::{Align, Text};
use plotters::coord::Shift;
use plotters::prelude::*;

/// What a title of one line takes, and every other line, in millimetres.
pub(super) const TITLE: f64 = 6.0;
pub(super) const TITLE_LINE: f64 = 3.6;
/// Sizes of text in points: of titles, and of what stands at axes and in legends.
pub(super) const TITLE_POINTS: f64 = 8.0;
pub(super) const POINTS: f64 = 7.5;

pub(super) type Chart<'a, 'c> = ChartContext<'a, Canvas<'c>, Cartesian2d<Axis, Axis>>;

/// What an axis says: its description, and its numbers in words.
pub(super) type Said<'a> = (&'a str, &'a dyn Fn(&f64) -> String);

/// Draws the lines of a title that begins at `left`, at the top of the sheet.
pub(super) fn draw_title(sheet: &Sheet, left: f64, lines: &[impl AsRef<str>]) -> Drawn {
    let look = Text::new(TITLE_POINTS, INK, Align::Left);
    for (line, at) in lines.iter().zip(0..) {
        let y = MARGIN + TITLE / 2.0 - 0.5 + f64::from(at) * TITLE_LINE;
        sheet.text(line.as_ref(), (left, y), look)?;
    }
    Ok(())
}

/// A chart with nothing drawn yet; `labels` is what those at its left and below it take of the area, in millimetres.
pub(super) fn empty_chart<'a, 'c>(
    area: &DrawingArea<Canvas<'c>, Shift>,
    labels: (f64, f64),
    across: Axis,
    up: Axis,
) -> Drawn<Chart<'a, 'c>> {
    ChartBuilder::on(area)
        .set_label_area_size(LabelAreaPosition::Left, dots(labels.0))
        .set_label_area_size(LabelAreaPosition::Bottom, dots(labels.1))
        .margin_right(dots(1.5))
        .margin_top(dots(1.0))
        .build_cartesian_2d(across, up)
}

/// Draws both axes of a chart on a sheet.
pub(super) fn draw_mesh<'c>(
    sheet: &Sheet<'c>,
    chart: &mut Chart<'_, 'c>,
    (across, across_label): Said,
    (up, up_label): Said,
) -> Drawn {
    let stroke = |width: f64| (width * sheet.style().line()).round() as u32;
    let label = Text::new(POINTS, INK, Align::Centre).style();
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(stroke(3.0)))
        .light_line_style(TRANSPARENT)
        .axis_style(QUIET.stroke_width(stroke(4.0)))
        .set_all_tick_mark_size(dots(0.8))
        .label_style(label.clone())
        .axis_desc_style(label)
        .y_label_offset(sheet.text_drop(POINTS))
        .x_label_formatter(&across_label)
        .y_label_formatter(&up_label)
        .x_desc(across)
        .y_desc(up)
        .draw()
}

/// Draws a dotted line at a value, from the left of a chart to its right.
pub(super) fn draw_dotted(sheet: &Sheet, chart: &Chart, value: f64) -> Drawn {
    let area = chart.plotting_area();
    let columns = area.get_x_range();
    let (start, y) = area.map_coordinate(&(columns.start, value));
    let (end, _) = area.map_coordinate(&(columns.end, value));
    for left in (start..end).step_by(dots(1.2) as usize) {
        let right = end.min(left + dots(0.45));
        sheet.line(vec![(left, y), (right, y)], 0.8, QUIET)?;
    }
    Ok(())
}
