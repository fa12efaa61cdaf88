//! Thumbnails of a list of images, many to a sheet: `[rows, columns]` of square tiles, in the order of the list.
//!
//! A page shows thousands of images; one file for each would be slow to open from a disk. A tile is as large as most images are, up to
//! what a list of so many may take; larger and smaller images are resized to fill it, as the model has them at one size too.

use crate::data::Image;
use crate::{Error, Result};
use image::{ExtendedColorType, ImageEncoder, Rgba, RgbaImage, codecs::png::PngEncoder};
use serde::Serialize;
use std::path::Path;

/// The longest side of a thumbnail: of many images, and of few.
const LARGEST_TILES: [usize; 2] = [96, 224];
/// Pixels of all thumbnails together, where that leaves more than the least of those sides.
const PIXELS: usize = 16 << 20;
/// The longest side of a sheet, unless a tile alone is larger.
const SHEET: usize = 512;

/// How a list of images lies on its sheets; what the page needs to cut one out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// Sheets are called so, with a number from 0: `train-0`.
    pub name: String,
    /// The side of a tile in pixels.
    pub tile: usize,
    /// Tiles in a row, and rows on a sheet.
    pub columns: usize,
    /// Images.
    pub count: usize,
}

impl Layout {
    /// For `count` images whose longer side is `longer` pixels, most of them.
    pub fn new(name: &str, count: usize, longer: usize) -> Self {
        let [least, most] = LARGEST_TILES;
        let tile = longer.clamp(1, (PIXELS / count.max(1)).isqrt().clamp(least, most));
        Self {
            name: name.to_owned(),
            tile,
            columns: (SHEET / tile).max(1),
            count,
        }
    }

    /// Images on a sheet.
    fn per_sheet(&self) -> usize {
        self.columns * self.columns
    }

    /// How many sheets there are.
    pub fn sheets(&self) -> usize {
        self.count.div_ceil(self.per_sheet())
    }

    /// The PNG of one sheet; `get` gives the image at a position.
    ///
    /// # Errors
    /// An image that cannot be read, or an encoder that fails; `path` is where the sheet is to go.
    pub fn sheet(
        &self,
        sheet: usize,
        path: &Path,
        get: &dyn Fn(usize) -> Result<Image>,
    ) -> Result<Vec<u8>> {
        let first = sheet * self.per_sheet();
        let last = (first + self.per_sheet()).min(self.count);
        let rows = (last - first).div_ceil(self.columns);
        let (width, height) = (self.columns * self.tile, rows * self.tile);
        let mut canvas = RgbaImage::new(width as u32, height as u32);
        for position in first..last {
            let place = position - first;
            let corner = (place % self.columns, place / self.columns);
            self.paint(&mut canvas, &self.fitted(get(position)?), corner);
        }
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(
                canvas.as_raw(),
                width as u32,
                height as u32,
                ExtendedColorType::Rgba8,
            )
            .map_err(|reason| Error::io(path, "encode")(std::io::Error::other(reason)))?;
        Ok(bytes)
    }

    fn fitted(&self, image: Image) -> Image {
        let longer = image.height.max(image.width);
        let scaled = |length: usize| (length * self.tile).div_ceil(longer).max(1);
        let (height, width) = (scaled(image.height), scaled(image.width));
        image.resize(height, width)
    }

    fn paint(&self, canvas: &mut RgbaImage, image: &Image, (column, row): (usize, usize)) {
        let left = column * self.tile + (self.tile - image.width) / 2;
        let top = row * self.tile + (self.tile - image.height) / 2;
        let plane = image.height * image.width;
        for y in 0..image.height {
            for x in 0..image.width {
                let at = y * image.width + x;
                let [red, green, blue] = [0, 1, 2].map(|channel: usize| {
                    image.pixels[channel.min(image.channels - 1) * plane + at]
                });
                let place = ((left + x) as u32, (top + y) as u32);
                canvas.put_pixel(place.0, place.1, Rgba([red, green, blue, 255]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(height: usize, width: usize, value: u8) -> Image {
        Image {
            channels: 1,
            height,
            width,
            pixels: vec![value; height * width],
        }
    }

    fn decoded(layout: &Layout, sheet: usize, get: &dyn Fn(usize) -> Result<Image>) -> RgbaImage {
        let png = layout.sheet(sheet, Path::new("sheet.png"), get).unwrap();
        image::load_from_memory(&png).unwrap().into_rgba8()
    }

    #[test]
    fn every_image_is_where_the_layout_says() {
        let layout = Layout::new("train", 600, 28);
        assert_eq!((layout.tile, layout.columns, layout.sheets()), (28, 18, 2));
        let get = |position: usize| Ok(grey(28, 28, (position % 251) as u8));
        for position in [0, 17, 18, 323, 324, 599] {
            let sheet = decoded(&layout, position / layout.per_sheet(), &get);
            let place = position % layout.per_sheet();
            let (x, y) = (place % layout.columns * 28, place / layout.columns * 28);
            let pixel = sheet.get_pixel(x as u32 + 27, y as u32);
            assert_eq!(pixel.0[..2], [(position % 251) as u8; 2], "{position}");
        }
    }

    #[test]
    fn images_fill_their_tile_whatever_their_size() {
        let layout = Layout::new("test", 5000, 300);
        assert_eq!((layout.tile, layout.columns), (96, 5));
        let get = |position: usize| Ok([grey(300, 150, 9), grey(1, 48, 200)][position % 2].clone());
        let sheet = decoded(&layout, 0, &get);
        assert_eq!((sheet.width(), sheet.height()), (480, 480));
        assert_eq!(sheet.get_pixel(10, 50).0, [0; 4]);
        assert_eq!(sheet.get_pixel(48, 95).0, [9, 9, 9, 255]);
        assert_eq!(sheet.get_pixel(96, 47).0, [200, 200, 200, 255]);
        assert_eq!(sheet.get_pixel(191, 48).0, [200, 200, 200, 255]);
        assert_eq!(sheet.get_pixel(96, 50).0, [0; 4]);
    }

    #[test]
    fn few_photos_are_kept_larger_than_many() {
        let tile = |count: usize, longer: usize| Layout::new("test", count, longer).tile;
        assert_eq!(
            [20, 400, 1000, 50_000].map(|count| tile(count, 500)),
            [224, 204, 129, 96]
        );
        assert_eq!([20, 50_000].map(|count| tile(count, 32)), [32, 32]);
    }

    #[test]
    fn an_image_that_cannot_be_read_is_an_error() {
        let layout = Layout::new("test", 1, 4);
        let broken = |_| Err(Error::config("test", "broken"));
        assert!(layout.sheet(0, Path::new("sheet.png"), &broken).is_err());
    }
}
