//! What figures are drawn on: plotters' SVG or its bitmap, one type for both, so that each figure is compiled once.

use super::letters::{Letters, boxed};
use plotters::prelude::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind,
};
use std::collections::BTreeSet;

/// A picture in the making, in the memory of whoever asked for it.
pub(super) enum Canvas<'b> {
    /// Text.
    Svg(SVGBackend<'b>),
    /// Pixels, and what is noted of them: words with boxes for letters.
    Bitmap(BitMapBackend<'b>, &'b mut BTreeSet<String>),
}

/// Why a canvas could not be drawn on, in the words of plotters' back end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CanvasError(String);

type Drawn = Result<(), DrawingErrorKind<CanvasError>>;

fn drawn<E: std::error::Error + Send + Sync>(result: Result<(), DrawingErrorKind<E>>) -> Drawn {
    result.map_err(|reason| match reason {
        DrawingErrorKind::DrawingError(reason) => {
            DrawingErrorKind::DrawingError(CanvasError(reason.to_string()))
        }
        DrawingErrorKind::FontError(reason) => DrawingErrorKind::FontError(reason),
    })
}

/// Any style of a shape.
struct Stroke {
    color: BackendColor,
    width: u32,
}

impl Stroke {
    fn of(style: &impl BackendStyle) -> Self {
        Self {
            color: style.color(),
            width: style.stroke_width(),
        }
    }
}

impl BackendStyle for Stroke {
    fn color(&self) -> BackendColor {
        self.color
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

/// The same call of whichever it is.
macro_rules! each {
    ($canvas:expr, $backend:ident => $call:expr) => {
        match $canvas {
            Canvas::Svg($backend) => drawn($call),
            Canvas::Bitmap($backend, _) => drawn($call),
        }
    };
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = CanvasError;

    fn get_size(&self) -> (u32, u32) {
        match self {
            Self::Svg(backend) => backend.get_size(),
            Self::Bitmap(backend, _) => backend.get_size(),
        }
    }

    fn ensure_prepared(&mut self) -> Drawn {
        each!(self, backend => backend.ensure_prepared())
    }

    fn present(&mut self) -> Drawn {
        each!(self, backend => backend.present())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Drawn {
        each!(self, backend => backend.draw_pixel(point, color))
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        let stroke = Stroke::of(style);
        each!(self, backend => backend.draw_line(from, to, &stroke))
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let stroke = Stroke::of(style);
        each!(self, backend => backend.draw_rect(upper_left, bottom_right, &stroke, fill))
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let (stroke, path) = (Stroke::of(style), Vec::from_iter(path));
        each!(self, backend => backend.draw_path(path, &stroke))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let stroke = Stroke::of(style);
        each!(self, backend => backend.draw_circle(center, radius, &stroke, fill))
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Drawn {
        let (stroke, corners) = (Stroke::of(style), Vec::from_iter(corners));
        each!(self, backend => backend.fill_polygon(corners, &stroke))
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        position: BackendCoord,
    ) -> Drawn {
        match self {
            Self::Svg(backend) => drawn(backend.draw_text(text, style, position)),
            Self::Bitmap(backend, words) => {
                words.extend(boxed(text).into_iter().map(str::to_owned));
                drawn(backend.draw_text(text, &Letters(style), position))
            }
        }
    }

    fn blit_bitmap(&mut self, position: BackendCoord, size: (u32, u32), source: &[u8]) -> Drawn {
        each!(self, backend => backend.blit_bitmap(position, size, source))
    }
}
