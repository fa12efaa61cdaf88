//! From a figure to the bytes of a file.

use super::canvas::Canvas;
use super::sheet::{DOTS_PER_PIXEL, PlacedPicture, Sheet, dots};
use super::{Figure, Style};
use crate::{Error, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use plotters::prelude::*;
use std::collections::BTreeSet;
use std::fmt::{Display, Formatter, Write};
use std::path::Path;
use std::str::FromStr;

/// File formats of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Vector graphics, with text as text.
    Svg,
    /// Pixels, 300 an inch.
    Png,
}

impl Display for Format {
    fn fmt(&self, formatter: &mut Formatter) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Svg => "svg",
            Self::Png => "png",
        })
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "svg" => Ok(Self::Svg),
            "png" => Ok(Self::Png),
            _ => Err(Error::config(
                "format",
                format!("expected svg or png, found {name}"),
            )),
        }
    }
}

/// How much too high the back ends set text, in font sizes: a browser centres on half the height of an x, plotters'
/// bitmaps on the middle of a line of which they leave the lowest part free.
const SVG_TEXT_DROP: f64 = 0.0;
const PNG_TEXT_DROP: f64 = 0.14;

/// The bytes of a figure's file; `path` is for messages.
///
/// # Errors
/// As [`Figure::check`]; or the drawing library's.
pub fn render(figure: &dyn Figure, format: Format, style: Style, path: &Path) -> Result<Vec<u8>> {
    render_noting(figure, format, style, path, &mut BTreeSet::new())
}

/// The same; adds to `boxed` the words that have boxes for letters.
pub(super) fn render_noting(
    figure: &dyn Figure,
    format: Format,
    style: Style,
    path: &Path,
    boxed: &mut BTreeSet<String>,
) -> Result<Vec<u8>> {
    figure.check()?;
    let (width, height) = figure.size(style);
    // Even, so that a PNG has whole pixels.
    let even = |length: f64| (dots(length) / DOTS_PER_PIXEL * DOTS_PER_PIXEL) as u32;
    let size = (even(width), even(height));
    let drawn = match format {
        Format::Svg => svg(figure, style, size),
        Format::Png => png(figure, style, size, boxed),
    };
    drawn.map_err(|reason| Error::Drawing {
        path: path.to_path_buf(),
        reason,
    })
}

fn svg(
    figure: &dyn Figure,
    style: Style,
    size: (u32, u32),
) -> std::result::Result<Vec<u8>, String> {
    let mut drawn = String::new();
    let pictures = on(
        Canvas::Svg(SVGBackend::with_string(&mut drawn, size)),
        (style, SVG_TEXT_DROP),
        figure,
    )?;
    let (_, body) = drawn.split_once(">\n").ok_or("no SVG came out")?;
    let body = body
        .strip_suffix("</svg>\n")
        .ok_or("no whole SVG came out")?;
    let (width, height) = figure.size(style);
    let (width, height) = (style.said(width), style.said(height));
    let (columns, rows) = size;
    let mut whole = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {columns} {rows}\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n{body}",
        escape(&figure.title()),
        escape(&figure.caption()),
    );
    for picture in pictures {
        whole.push_str(&image_element(&picture)?);
    }
    whole.push_str("</svg>\n");
    // A name may hold control characters and what is no character at all: XML bars most of the first, and both of the others.
    let is_barred = |letter: char| {
        let is_control = letter.is_control() && !matches!(letter, '\t' | '\n' | '\r');
        is_control || matches!(letter, '\u{fffe}' | '\u{ffff}')
    };
    Ok(whole.replace(is_barred, "\u{fffd}").into_bytes())
}

/// A picture inside an SVG. Our own, for plotters would draw each pixel as a rectangle.
fn image_element(picture: &PlacedPicture) -> std::result::Result<String, String> {
    let mut element = String::from("<image");
    let scale = DOTS_PER_PIXEL;
    let (width, height) = (picture.image.width() as i32, picture.image.height() as i32);
    for (name, pixels) in [
        ("x", picture.left),
        ("y", picture.top),
        ("width", width),
        ("height", height),
    ] {
        let _ = write!(element, " {name}=\"{}\"", pixels * scale); // Writing to a string cannot fail.
    }
    let content = BASE64_STANDARD.encode(png_bytes(&picture.image)?);
    Ok(format!(
        "{element} href=\"data:image/png;base64,{content}\"/>\n"
    ))
}

fn png(
    figure: &dyn Figure,
    style: Style,
    (width, height): (u32, u32),
    boxed: &mut BTreeSet<String>,
) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = vec![0; width as usize * height as usize * 3];
    let pictures = on(
        Canvas::Bitmap(
            BitMapBackend::with_buffer(&mut bytes, (width, height)),
            boxed,
        ),
        (style, PNG_TEXT_DROP),
        figure,
    )?;
    let fine = RgbImage::from_raw(width, height, bytes).ok_or("the picture is too large")?;
    let scale = DOTS_PER_PIXEL as u32;
    let mut image = imageops::thumbnail(&fine, width / scale, height / scale);
    for PlacedPicture {
        left,
        top,
        image: picture,
    } in pictures
    {
        imageops::replace(&mut image, &picture, left.into(), top.into());
    }
    png_bytes(&image)
}

/// Draws the figure on a canvas.
fn on(
    canvas: Canvas,
    (style, text_drop): (Style, f64),
    figure: &dyn Figure,
) -> std::result::Result<Vec<PlacedPicture>, String> {
    let drawn = Sheet::new(canvas.into_drawing_area(), style, text_drop).and_then(|sheet| {
        figure.draw(&sheet)?;
        sheet.finish()
    });
    drawn.map_err(|reason| reason.to_string())
}

fn png_bytes(image: &RgbImage) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(
            image,
            image.width(),
            image.height(),
            ExtendedColorType::Rgb8,
        )
        .map_err(|reason| reason.to_string())?;
    Ok(bytes)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
