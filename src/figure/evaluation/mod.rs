//! The figures of `ascribe evaluate`: predicted against actual changes, curves of removal and support, quality against cost.

mod groups_left_out;
mod leave_one_out;
mod quality_and_cost;
mod removal;
#[cfg(test)]
mod tests;

pub use groups_left_out::GroupEffects;
pub use leave_one_out::{LeaveOneOut, ScatterPoint};
pub use quality_and_cost::{PlacedEstimator, QualityAndCost};
pub use removal::RemovalCurves;

use super::axis::Axis;
use super::canvas::Canvas;
use super::mesh::draw_mesh;
use super::note::{MARGIN, Note};
use super::palette::INK;
use super::sheet::{Drawn, Sheet, dots};
use super::text::{Align, Text};
use crate::{Error, Result};
use plotters::prelude::*;

/// Lengths in millimetres.
const TITLE: f64 = 6.0;
const LABELS_LEFT: f64 = 15.0;
const LABELS_BELOW: f64 = 8.5;
/// Sizes of text in points.
const TITLE_POINTS: f64 = 8.0;
const POINTS: f64 = 7.5;

type Chart<'a, 'c> = ChartContext<'a, Canvas<'c>, Cartesian2d<Axis, Axis>>;

/// A chart with its title, in millimetres.
struct Frame<'a> {
    left: f64,
    width: f64,
    height: f64,
    title: &'a str,
    x: &'a str,
    y: &'a str,
}

impl Frame<'_> {
    fn draw<'s, 'c>(
        &self,
        sheet: &'s Sheet<'c>,
        (across, across_label): (Axis, impl Fn(&f64) -> String),
        up: Axis,
    ) -> Drawn<Chart<'s, 'c>> {
        let at = (self.left, MARGIN + TITLE / 2.0 - 0.5);
        sheet.text(self.title, at, Text::new(TITLE_POINTS, INK, Align::Left))?;
        let area = sheet.part(self.left, MARGIN + TITLE, self.width, self.height);
        let up_label = up.label();
        let mut chart = ChartBuilder::on(&area)
            .set_label_area_size(LabelAreaPosition::Left, dots(LABELS_LEFT))
            .set_label_area_size(LabelAreaPosition::Bottom, dots(LABELS_BELOW))
            .margin_right(dots(1.5))
            .margin_top(dots(1.0))
            .build_cartesian_2d(across, up)?;
        draw_mesh(
            sheet,
            &mut chart,
            POINTS,
            (self.x, &across_label),
            (self.y, &up_label),
        )?;
        Ok(chart)
    }
}

/// A power of ten whose logarithm is drawn.
fn power(log: &f64) -> String {
    match (-3.0..4.0).contains(log) {
        true => 10f64.powf(*log).to_string(),
        false => format!("1e{log:.0}"),
    }
}

fn finite(what: &str, values: impl IntoIterator<Item = f64>) -> Result<()> {
    let (mut count, mut sound) = (0, true);
    for value in values {
        count += 1;
        sound &= value.is_finite();
    }
    match (count, sound) {
        (0, _) => Err(Error::mismatch(
            what,
            "something to draw",
            "nothing",
            "evaluate again",
        )),
        (_, true) => Ok(()),
        (_, false) => Err(Error::NonFinite {
            what: what.into(),
            place: "some value".into(),
            remedy: "evaluate again".into(),
        }),
    }
}

/// The smallest and the largest.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}
