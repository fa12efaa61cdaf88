//! The sheet a figure is drawn on: millimetres from the upper left corner, whatever the format.
//!
//! One grid serves SVG and PNG: 600 dots an inch. A PNG is drawn at that size and averaged down to 300, which smooths its
//! edges; an SVG takes it as its view box.

use super::canvas::{Canvas, CanvasError};
use super::text::Text;
use super::{Picture, Style};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::cell::RefCell;

/// Dots of the drawing grid in a millimetre.
pub(super) const DOTS_PER_MM: f64 = 600.0 / 25.4;
/// Dots of the drawing grid in a point of type.
pub(super) const DOTS_PER_POINT: f64 = 600.0 / 72.0;
/// Dots of the drawing grid, along each side, in a pixel of a PNG.
pub(super) const DOTS_PER_PIXEL: i32 = 2;

/// What drawing on a back end returns.
pub type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<CanvasError>>;

/// A white sheet.
pub struct Sheet<'c> {
    area: DrawingArea<Canvas<'c>, Shift>,
    style: Style,
    pictures: RefCell<Vec<PlacedPicture>>,
    text_drop: f64,
}

/// A photograph and where it lies, in pixels of a PNG.
pub(super) struct PlacedPicture {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) image: image::RgbImage,
}

/// A position in dots of the drawing grid.
type Dot = (i32, i32);

pub(super) fn dots(millimetres: f64) -> i32 {
    (millimetres * DOTS_PER_MM).round() as i32
}

impl<'c> Sheet<'c> {
    /// `text_drop`: by how many font sizes the back end sets vertically centred text too high.
    pub(super) fn new(
        area: DrawingArea<Canvas<'c>, Shift>,
        style: Style,
        text_drop: f64,
    ) -> Drawn<Self> {
        area.fill(&WHITE)?;
        Ok(Self {
            area,
            style,
            pictures: RefCell::new(Vec::new()),
            text_drop,
        })
    }

    /// What it is drawn for.
    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// By how many dots text of `points` is to be moved down.
    pub(super) fn text_drop(&self, points: f64) -> i32 {
        (self.text_drop * points * DOTS_PER_POINT).round() as i32
    }

    /// Ends the drawing; the pictures are for the format to place.
    pub(super) fn finish(self) -> Drawn<Vec<PlacedPicture>> {
        self.area.present()?;
        Ok(self.pictures.into_inner())
    }

    /// A rectangle of the sheet, for plotters' charts.
    pub(super) fn part(
        &self,
        left: f64,
        top: f64,
        width: f64,
        height: f64,
    ) -> DrawingArea<Canvas<'c>, Shift> {
        let corner = (dots(left), dots(top));
        self.area
            .clone()
            .shrink(corner, (dots(width), dots(height)))
    }

    /// Text at (x, y): its left end, its middle or its right end, halfway up.
    pub(super) fn text(&self, content: &str, (x, y): (f64, f64), look: Text) -> Drawn {
        let at = (dots(x), dots(y) + self.text_drop(look.points));
        self.area.draw_text(content, &look.style(), at)
    }

    /// Text that is read from below, its end at a dot.
    pub(super) fn text_upwards(&self, content: &str, (x, y): Dot, look: Text) -> Drawn {
        let at = (x + self.text_drop(look.points), y);
        let style = look.style().transform(FontTransform::Rotate270);
        self.area.draw_text(content, &style, at)
    }

    /// A line through dots, `points` wide on paper.
    pub(super) fn line(&self, through: Vec<Dot>, points: f64, colour: RGBColor) -> Drawn {
        let width = (points * self.style.line() * DOTS_PER_POINT)
            .round()
            .max(1.0) as u32;
        self.area
            .draw(&PathElement::new(through, colour.stroke_width(width)))
    }

    /// A dashed line through dots; `dash` and `gap` in millimetres.
    pub(super) fn dashes(
        &self,
        through: &[Dot],
        points: f64,
        colour: RGBColor,
        (dash, gap): (f64, f64),
    ) -> Drawn {
        let (dash, period) = (f64::from(dots(dash)), f64::from(dots(dash + gap)));
        let mut walked = 0.0;
        for pair in through.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let (across, down) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
            let length = across.hypot(down);
            let at = |share: f64| {
                let x = f64::from(from.0) + across * share / length;
                let y = f64::from(from.1) + down * share / length;
                (x.round() as i32, y.round() as i32)
            };
            // Dashes go on around corners.
            let mut start = -(walked % period);
            while start < length {
                let (begin, end) = (start.max(0.0), (start + dash).min(length));
                if end > begin {
                    self.line(vec![at(begin), at(end)], points, colour)?;
                }
                start += period;
            }
            walked += length;
        }
        Ok(())
    }

    /// A filled shape.
    pub(super) fn shape(&self, corners: Vec<Dot>, fill: impl Into<ShapeStyle>) -> Drawn {
        self.area.draw(&Polygon::new(corners, fill.into().filled()))
    }

    /// A marker of about `radius` millimetres on paper with a white edge, around a dot.
    pub(super) fn marker(&self, index: usize, at: Dot, radius: f64) -> Drawn {
        self.mark(index, super::palette::colour(index), at, radius)
    }

    /// The same, shape and colour apart.
    pub(super) fn mark(&self, shape: usize, colour: RGBColor, at: Dot, radius: f64) -> Drawn {
        let outline = |scale: f64| {
            let scale = scale * radius * self.style.marker() * DOTS_PER_MM;
            let corners = super::palette::marker(shape).into_iter();
            corners
                .map(|(x, y)| {
                    (
                        at.0 + (x * scale).round() as i32,
                        at.1 + (y * scale).round() as i32,
                    )
                })
                .collect()
        };
        self.shape(outline(1.35), WHITE)?;
        self.shape(outline(1.0), colour)
    }

    /// A square outline of `thickness` on paper, around (and outside) a square; all in millimetres.
    pub(super) fn frame(
        &self,
        left: f64,
        top: f64,
        side: f64,
        thickness: f64,
        colour: RGBColor,
    ) -> Drawn {
        let square = |beyond: f64| {
            let (low, high) = (-beyond, side + beyond);
            let corners = [(low, low), (high, low), (high, high), (low, high)];
            corners
                .map(|(x, y)| (dots(left + x), dots(top + y)))
                .to_vec()
        };
        self.shape(square(thickness * self.style.line()), colour)?;
        self.shape(square(0.0), WHITE)
    }

    /// A photograph centred in a square of `side` pixels whose upper left corner is at (x, y) millimetres.
    pub(super) fn picture(&self, picture: &Picture, x: f64, y: f64, side: u32) {
        let image = picture.fitted(side);
        let gap = |length: u32| (side.saturating_sub(length) / 2) as i32;
        self.pictures.borrow_mut().push(PlacedPicture {
            left: dots(x) / DOTS_PER_PIXEL + gap(image.width()),
            top: dots(y) / DOTS_PER_PIXEL + gap(image.height()),
            image,
        });
    }
}
