//! Colours and markers of all figures: first those of Okabe and Ito (2008), which colour-blind readers can tell apart.

use plotters::style::RGBColor;

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
const COLOURS: [RGBColor; 13] = [
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
const CIRCLE_SIDES: usize = 24;

/// The colour of the model at `index`; 52 models differ in colour or marker.
pub(super) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// The outline of the marker of the model at `index`, around (0, 0), of radius about 1.
pub(super) fn marker(index: usize) -> Vec<(f64, f64)> {
    match index % 4 {
        0 => (0..CIRCLE_SIDES)
            .map(|side| side as f64 * std::f64::consts::TAU / CIRCLE_SIDES as f64)
            .map(|angle| (angle.cos(), angle.sin()))
            .collect(),
        1 => SQUARE.to_vec(),
        2 => TRIANGLE.to_vec(),
        _ => DIAMOND.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::style::Color;

    #[test]
    fn the_first_52_models_differ() {
        let looks: std::collections::HashSet<_> = (0..52)
            .map(|index| (colour(index).rgb(), index % 4))
            .collect();
        assert_eq!(looks.len(), 52);
    }
}
