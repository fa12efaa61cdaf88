//! The look of a chart's axes and grid, the same in every figure.

use super::sheet::{Drawn, dots};
use super::style::{Align, GRID, INK, QUIET, Text};
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

/// What an axis says: its description, and its numbers in words.
pub(super) type Said<'a> = (&'a str, &'a dyn Fn(&f64) -> String);

/// Draws both axes with text of `points`, `text_drop` dots lower than the back end would set it.
pub(super) fn draw_mesh<B, X, Y>(
    chart: &mut ChartContext<B, Cartesian2d<X, Y>>,
    (points, text_drop): (f64, i32),
    (across, across_label): Said,
    (up, up_label): Said,
) -> Drawn<B>
where
    B: DrawingBackend,
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let label = Text::new(points, INK, Align::Centre).style();
    chart
        .configure_mesh()
        .bold_line_style(GRID.stroke_width(3))
        .light_line_style(TRANSPARENT)
        .axis_style(QUIET.stroke_width(4))
        .set_all_tick_mark_size(dots(0.8))
        .label_style(label.clone())
        .axis_desc_style(label)
        .y_label_offset(text_drop)
        .x_label_formatter(&across_label)
        .y_label_formatter(&up_label)
        .x_desc(across)
        .y_desc(up)
        .draw()
}
