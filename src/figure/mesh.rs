//! The look of a chart's axes and grid, the same in every figure.

use super::canvas::Canvas;
use super::palette::{GRID, INK, QUIET};
use super::sheet::{Drawn, Sheet, dots};
use super::text::{Align, Text};
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

/// What an axis says: its description, and its numbers in words.
pub(super) type Said<'a> = (&'a str, &'a dyn Fn(&f64) -> String);

/// Draws both axes of a chart on a sheet, with text of `points`.
pub(super) fn draw_mesh<'c, X, Y>(
    sheet: &Sheet<'c>,
    chart: &mut ChartContext<Canvas<'c>, Cartesian2d<X, Y>>,
    points: f64,
    (across, across_label): Said,
    (up, up_label): Said,
) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let stroke = |width: f64| (width * sheet.style().line()).round() as u32;
    let label = Text::new(points, INK, Align::Centre).style();
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(stroke(3.0)))
        .light_line_style(TRANSPARENT)
        .axis_style(QUIET.stroke_width(stroke(4.0)))
        .set_all_tick_mark_size(dots(0.8))
        .label_style(label.clone())
        .axis_desc_style(label)
        .y_label_offset(sheet.text_drop(points))
        .x_label_formatter(&across_label)
        .y_label_formatter(&up_label)
        .x_desc(across)
        .y_desc(up)
        .draw()
}
