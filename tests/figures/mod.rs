//! Figures: drawn from records, in both styles, and by `ascribe figure`.

mod command;
mod drawn;
mod styles;

use image::codecs::png::PngDecoder;
use image::{DynamicImage, RgbImage};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// The pixels of a PNG. `image::open` would bring the decoders of all other formats into this program.
pub(crate) fn pixels(file: &Path) -> RgbImage {
    let decoder = PngDecoder::new(BufReader::new(File::open(file).unwrap())).unwrap();
    DynamicImage::from_decoder(decoder).unwrap().into_rgb8()
}

/// The text elements of an SVG, in their order, the first line of each.
pub(crate) fn texts(svg: &str) -> Vec<&str> {
    let elements = svg.split("<text ").skip(1);
    let contents = elements.map(|rest| rest.split_once(">\n").unwrap().1);
    contents
        .map(|content| content.split('\n').next().unwrap())
        .collect()
}
