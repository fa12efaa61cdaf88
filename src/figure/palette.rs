//! Colours and markers of all figures: first those of Okabe and Ito (2008), which colour-blind readers can tell apart.

use plotters::style::RGBColor;
use std::f64::consts::{PI, TAU};

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
/// Text of second rank.
pub(super) const QUIET: RGBColor = RGBColor(85, 85, 85);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(225, 225, 225);
/// What agrees: the bluish green of Okabe and Ito.
pub(super) const AGREES: RGBColor = RGBColor(0, 158, 115);

/// Blue, vermillion, bluish green, reddish purple, orange, sky blue, black (Okabe and Ito, 2008); then indigo, olive, wine, sand,
/// grey and brown, which differ from those before in lightness too.
pub(super) const COLOURS: [RGBColor; 13] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(51, 34, 136),
    RGBColor(153, 153, 51),
    RGBColor(136, 34, 85),
    RGBColor(221, 204, 119),
    RGBColor(136, 136, 136),
    RGBColor(110, 62, 20),
];

/// Corners of a marker of radius 1, before the line's width; the circle is a many-sided polygon.
const SQUARE: [(f64, f64); 4] = [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)];
const TRIANGLE: [(f64, f64); 3] = [(0.0, -1.25), (1.15, 0.8), (-1.15, 0.8)];
const DIAMOND: [(f64, f64); 4] = [(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)];
/// Half the width of a bar of the cross, and how far it reaches.
const BAR: (f64, f64) = (0.4, 1.25);
/// Radii of the star's corners.
const STAR: (f64, f64) = (1.45, 0.6);
const CIRCLE_SIDES: usize = 24;
/// Markers there are.
pub(super) const SHAPES: usize = 9;

/// The colour of the model at `index`; 117 models differ in colour or marker.
pub(super) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// The outline of the marker of the model at `index`, around (0, 0), of radius about 1.
pub(super) fn marker(index: usize) -> Vec<(f64, f64)> {
    let turned = |corners: &[(f64, f64)], angle: f64| -> Vec<(f64, f64)> {
        let (sin, cos) = angle.sin_cos();
        let turn = |&(x, y): &(f64, f64)| (x * cos - y * sin, x * sin + y * cos);
        corners.iter().map(turn).collect()
    };
    match index % SHAPES {
        0 => (0..CIRCLE_SIDES)
            .map(|side| side as f64 * TAU / CIRCLE_SIDES as f64)
            .map(|angle| (angle.cos(), angle.sin()))
            .collect(),
        1 => SQUARE.to_vec(),
        2 => TRIANGLE.to_vec(),
        3 => DIAMOND.to_vec(),
        4 => turned(&TRIANGLE, PI),
        5 => cross(),
        6 => star(),
        7 => turned(&cross(), PI / 4.0),
        _ => turned(&TRIANGLE, PI / 2.0),
    }
}

/// With five points.
fn star() -> Vec<(f64, f64)> {
    let corner = |corner: usize| {
        let radius = [STAR.0, STAR.1][corner % 2];
        let angle = corner as f64 * TAU / 10.0 - PI / 2.0;
        (radius * angle.cos(), radius * angle.sin())
    };
    (0..10).map(corner).collect()
}

/// Two bars, one upright.
fn cross() -> Vec<(f64, f64)> {
    let (half, reach) = BAR;
    let quarter = [(half, -half), (reach, -half), (reach, half)];
    let turns = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)];
    let corner = |(cos, sin): (f64, f64)| {
        quarter.map(|(x, y): (f64, f64)| (x * cos - y * sin, x * sin + y * cos))
    };
    turns.into_iter().flat_map(corner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::style::Color;

    #[test]
    fn the_first_117_models_differ() {
        let rounded = |(x, y): (f64, f64)| ((1e3 * x).round() as i32, (1e3 * y).round() as i32);
        let outline = |index: usize| marker(index).into_iter().map(rounded).collect::<Vec<_>>();
        let looks: std::collections::HashSet<_> = (0..117)
            .map(|index| (colour(index).rgb(), outline(index)))
            .collect();
        assert_eq!(looks.len(), 117);
        // None is larger than another by much.
        for index in 0..SHAPES {
            let radii = marker(index).into_iter().map(|(x, y)| x.hypot(y));
            let radius = radii.fold(0.0, f64::max);
            assert!((1.0..1.5).contains(&radius), "{index}: {radius}");
        }
    }
}
