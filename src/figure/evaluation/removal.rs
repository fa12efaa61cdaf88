//! The query's loss when its most helpful images are taken away, and when they are all that is left.

use super::{Frame, MARGIN, Note, TITLE, draw_names, ends, finite, names_height, power};
use crate::Result;
use crate::evaluate::{RemovalCurve, Side};
use crate::figure::axis::Axis;
use crate::figure::palette::colour;
use crate::figure::{Drawn, Figure, Sheet, Style};
use serde::{Deserialize, Serialize};

const WIDTH: f64 = 174.0;
const CHART: f64 = 60.0;
const GAP: f64 = 4.0;
const NAMES: f64 = 34.0;

/// All methods' curves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovalCurves {
    /// Two for each method: removal and support.
    pub curves: Vec<RemovalCurve>,
}

/// One row of the table.
#[derive(Serialize)]
struct Row<'a> {
    method: &'a str,
    side: Side,
    queries: usize,
    images: usize,
    rise: f64,
    rise_low: Option<f64>,
    rise_high: Option<f64>,
    correct: f64,
    correct_low: f64,
    correct_high: f64,
    /// Of the rises.
    unit: &'static str,
}

impl RemovalCurves {
    fn side(&self, side: Side) -> Vec<&RemovalCurve> {
        self.curves
            .iter()
            .filter(|curve| curve.side == side)
            .collect()
    }

    fn names_height(&self) -> f64 {
        names_height(self.side(Side::Removal).len())
    }

    fn note(&self) -> String {
        let queries = self.curves.first().map_or(0, |curve| curve.queries);
        let bars = match queries > 1 {
            true => "; bars: 95 % bootstrap intervals over queries",
            false => "",
        };
        format!(
            "Means over {queries} queries, each fitted again for at every point of every curve{bars}. \
             (a) The k images that a method ranks as most helpful are taken away. (b) They are all that is left."
        )
    }
}

impl Figure for RemovalCurves {
    fn title(&self) -> String {
        "The loss when the most helpful images are taken away, or alone are kept".into()
    }

    fn caption(&self) -> String {
        let flips = self.side(Side::Removal).into_iter().filter_map(|curve| {
            let flipped = curve.flipped?;
            Some(format!(
                "{}: {:.2} of predictions flip",
                curve.method, flipped.value
            ))
        });
        format!("{} {}.", self.note(), flips.collect::<Vec<_>>().join("; "))
    }

    fn check(&self) -> Result<()> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        finite(
            "removal curves",
            points.flat_map(|point| [point.rise.value, point.rise.low, point.rise.high]),
        )
    }

    fn size(&self, style: Style) -> (f64, f64) {
        let share = style.shrink(WIDTH);
        let width = share * WIDTH;
        let note = Note::of(&self.note(), width).height();
        let names = self.names_height();
        (
            width,
            2.0 * MARGIN + TITLE + (share * CHART).max(names) + note + 1.0,
        )
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        let share = sheet.style().shrink(WIDTH);
        let width = share * WIDTH;
        let panel = (width - 2.0 * MARGIN - NAMES - GAP) / 2.0;
        let sides = [
            (Side::Removal, "(a) taken away"),
            (Side::Support, "(b) alone kept"),
        ];
        for (place, (side, title)) in sides.into_iter().enumerate() {
            let frame = Frame {
                left: MARGIN + place as f64 * (panel + GAP),
                width: panel,
                height: share * CHART,
                title,
                x: "Images k",
                y: "Rise of the loss (nats)",
            };
            curves(sheet, &frame, &self.side(side))?;
        }
        let left = width - MARGIN - NAMES + 3.0;
        let curves = self.side(Side::Removal).into_iter();
        draw_names(sheet, left, curves.map(|curve| &*curve.method))?;
        let top = MARGIN + TITLE + (share * CHART).max(self.names_height()) + 0.8;
        Note::of(&self.note(), width).draw(sheet, top)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        for curve in &self.curves {
            for point in &curve.points {
                let interval = point.rise.over(curve.queries);
                rows.serialize(Row {
                    method: &curve.method,
                    side: curve.side,
                    queries: curve.queries,
                    images: point.images,
                    rise: point.rise.value,
                    rise_low: interval.map(|it| it.low),
                    rise_high: interval.map(|it| it.high),
                    correct: point.correct.value,
                    correct_low: point.correct.low,
                    correct_high: point.correct.high,
                    unit: "nats",
                })?;
            }
        }
        Ok(())
    }
}

fn curves(sheet: &Sheet, frame: &Frame, curves: &[&RemovalCurve]) -> Drawn {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let images = ends(points().map(|point| point.images as f64));
    let (low, high) = ends(points().flat_map(|point| [point.rise.low, point.rise.high]));
    let chart = frame.draw(
        sheet,
        (Axis::decades(images.0, images.1, 6), power),
        Axis::numbers(low.min(0.0), high),
    )?;
    let area = chart.plotting_area();
    for (index, curve) in curves.iter().enumerate() {
        let at = |images: usize, value: f64| area.map_coordinate(&((images as f64).log10(), value));
        for point in &curve.points {
            if let Some(rise) = point.rise.over(curve.queries) {
                let bar = [rise.low, rise.high].map(|end| at(point.images, end));
                sheet.line(bar.to_vec(), 0.4, colour(index))?;
            }
        }
        let line: Vec<_> = (curve.points.iter())
            .map(|point| at(point.images, point.rise.value))
            .collect();
        sheet.line(line.clone(), 1.0, colour(index))?;
        line.into_iter()
            .try_for_each(|dot| sheet.marker(index, dot, 0.7))?;
    }
    Ok(())
}
