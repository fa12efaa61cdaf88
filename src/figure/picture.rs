//! A photograph in a record: bytes `[C, H, W]`, enlarged without blur.

use crate::data::Image;
use crate::{Error, Result};
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

/// From this enlargement on, an image's pixels are shown as squares; below, it is resampled smoothly.
const SQUARE_PIXELS_FROM: u32 = 4;

/// An image of 8 bits a channel, row-major `[C, H, W]`; one channel for greyscale, three for RGB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// 1 (greyscale) or 3 (RGB).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels · height · width` bytes.
    pub pixels: Vec<u8>,
}

impl From<Image> for Picture {
    fn from(image: Image) -> Self {
        let Image {
            channels,
            height,
            width,
            pixels,
        } = image;
        Self {
            channels,
            height,
            width,
            pixels,
        }
    }
}

impl From<Picture> for Image {
    fn from(picture: Picture) -> Self {
        let Picture {
            channels,
            height,
            width,
            pixels,
        } = picture;
        Self {
            channels,
            height,
            width,
            pixels,
        }
    }
}

impl Picture {
    /// Whether the bytes are as many as the sizes say.
    ///
    /// # Errors
    /// They are not, or the picture is neither greyscale nor RGB, or it has no pixel.
    pub fn check(&self, what: &str) -> Result<()> {
        let expected = self.channels * self.height * self.width;
        if !matches!(self.channels, 1 | 3) || expected == 0 || self.pixels.len() != expected {
            let shape = format!("[{}, {}, {}]", self.channels, self.height, self.width);
            let found = format!("{} bytes for {shape}", self.pixels.len());
            return Err(Error::mismatch(
                format!("picture of {what}"),
                "one byte for each entry of [1 or 3, H, W]",
                found,
                "make the record again",
            ));
        }
        Ok(())
    }

    /// The picture as large as fits into a square of `side` pixels: small ones enlarged by a whole factor, pixel by pixel,
    /// large ones resampled.
    pub(super) fn fitted(&self, side: u32) -> RgbImage {
        let (width, height) = (self.width as u32, self.height as u32);
        let longer = width.max(height);
        let factor = side / longer;
        if factor >= SQUARE_PIXELS_FROM {
            return RgbImage::from_fn(width * factor, height * factor, |x, y| {
                self.pixel(x / factor, y / factor)
            });
        }
        let scaled = |length: u32| (length * side).div_ceil(longer).max(1);
        let image = RgbImage::from_fn(width, height, |x, y| self.pixel(x, y));
        resize(
            &image,
            scaled(width),
            scaled(height),
            FilterType::CatmullRom,
        )
    }

    fn pixel(&self, x: u32, y: u32) -> Rgb<u8> {
        let plane = self.height * self.width;
        let at = y as usize * self.width + x as usize;
        Rgb([0, 1, 2]
            .map(|channel: usize| self.pixels[channel.min(self.channels - 1) * plane + at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_keep_their_pixels_and_large_ones_fit() {
        let colours = Picture {
            channels: 3,
            height: 1,
            width: 2,
            pixels: vec![255, 1, 0, 2, 9, 3],
        };
        let large = colours.fitted(9);
        assert_eq!((large.width(), large.height()), (8, 4));
        let pixels = [(0, 0), (3, 3), (4, 0), (7, 3)].map(|(x, y)| large.get_pixel(x, y).0);
        assert_eq!(pixels, [[255, 0, 9], [255, 0, 9], [1, 2, 3], [1, 2, 3]]);

        let grey = Picture {
            channels: 1,
            height: 30,
            width: 60,
            pixels: vec![70; 1800],
        };
        let small = grey.fitted(20);
        assert_eq!((small.width(), small.height()), (20, 10));
        assert!(small.pixels().all(|pixel| pixel.0 == [70, 70, 70]));
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let good = Picture {
            channels: 3,
            height: 2,
            width: 2,
            pixels: vec![0; 12],
        };
        assert!(good.check("query 3").is_ok());
        for (channels, count) in [(3, 11), (2, 8), (0, 0)] {
            let bad = Picture {
                channels,
                pixels: vec![0; count],
                ..good.clone()
            };
            let message = bad.check("query 3").unwrap_err().to_string();
            assert!(
                message.contains("query 3") && message.contains(&format!("{count} bytes")),
                "{message}"
            );
        }
    }
}
