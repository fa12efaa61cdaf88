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
use super::chart::{Chart, POINTS, TITLE, draw_mesh, draw_title, empty_chart};
use super::note::{MARGIN, Note};
use super::palette::INK;
use super::sheet::{Drawn, Sheet, dots};
use super::text::{Align, Text};
use crate::{Error, Result};

/// Lengths in millimetres.
const LABELS_LEFT: f64 = 15.0;
const LABELS_BELOW: f64 = 8.5;
/// Of names beside a chart, the first of which is so far below the title.
const NAME_ROW: f64 = 4.4;
const NAMES_TOP: f64 = 2.0;

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
        draw_title(sheet, self.left, &[self.title])?;
        let area = sheet.part(self.left, MARGIN + TITLE, self.width, self.height);
        let up_label = up.label();
        let mut chart = empty_chart(&area, (LABELS_LEFT, LABELS_BELOW), across, up)?;
        let (across, up) = ((self.x, &across_label as _), (self.y, &up_label as _));
        draw_mesh(sheet, &mut chart, across, up)?;
        Ok(chart)
    }
}

/// Names below each other from `left` on, each after its marker.
fn draw_names<'n>(sheet: &Sheet, left: f64, names: impl Iterator<Item = &'n str>) -> Drawn {
    for (index, name) in names.enumerate() {
        let y = MARGIN + TITLE + NAMES_TOP + (index as f64 + 0.5) * NAME_ROW;
        sheet.marker(index, (dots(left), dots(y)), 0.95)?;
        let look = Text::new(POINTS, INK, Align::Left);
        sheet.text(name, (left + 2.5, y), look)?;
    }
    Ok(())
}

/// What so many names take, from the title on.
fn names_height(count: usize) -> f64 {
    NAMES_TOP + count as f64 * NAME_ROW
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
        (_, false) => Err(Error::non_finite(what, "some value", "evaluate again")),
    }
}

/// The smallest and the largest.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}
