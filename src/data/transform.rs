//! What is done to every image of a set, training and test alike, before it is resized to the model's side.
//!
//! A *low-pass* variant is the image made small and then large again (Utrera et al. resize to 32 before 224): fine
//! texture goes, shape stays. A *greyscale* variant keeps brightness alone, `Y = 0.299 R + 0.587 G + 0.114 B` (ITU-R
//! BT.601, in Pillow's integer form), in all three channels.

use super::Image;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A fixed change of images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transform {
    /// Colour is taken away.
    pub greyscale: bool,
    /// The image is made as small as this, height and width, before it is made as large as the model wants it.
    pub downscale: Option<usize>,
}

impl Transform {
    /// Applies it.
    #[must_use]
    pub fn apply(self, image: Image) -> Image {
        let image = if self.greyscale { grey(image) } else { image };
        match self.downscale {
            Some(side) => image.framed(side.into()),
            None => image,
        }
    }

    /// Whether it leaves images as they are.
    #[must_use]
    pub fn is_identity(self) -> bool {
        self == Self::default()
    }
}

/// `none`, `greyscale`, `downscale 16`, or both with a comma.
impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.greyscale, self.downscale) {
            (false, None) => f.write_str("none"),
            (true, None) => f.write_str("greyscale"),
            (false, Some(side)) => write!(f, "downscale {side}"),
            (true, Some(side)) => write!(f, "greyscale, downscale {side}"),
        }
    }
}

fn grey(image: Image) -> Image {
    if image.channels == 1 {
        return image;
    }
    let size = image.height * image.width;
    let (red, rest) = image.pixels.split_at(size);
    let (green, blue) = rest.split_at(size);
    let brightness = |((&red, &green), &blue): ((&u8, &u8), &u8)| {
        let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
        ((sum + 0x8000) >> 16) as u8
    };
    Image {
        channels: 1,
        height: image.height,
        width: image.width,
        pixels: red.iter().zip(green).zip(blue).map(brightness).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Image {
        Image {
            channels: 3,
            height: 2,
            width: 2,
            pixels: vec![255, 0, 0, 10, 0, 255, 0, 20, 0, 0, 255, 30],
        }
    }

    /// Pillow: `Image.convert("L")` of red, green, blue and (10, 20, 30).
    #[test]
    fn grey_is_the_brightness_that_pillow_finds() {
        let grey = Transform {
            greyscale: true,
            downscale: None,
        };
        assert_eq!(grey.apply(picture()).pixels, [76, 150, 29, 18]);
        assert_eq!(grey.apply(grey.apply(picture())).channels, 1);
        assert!(Transform::default().is_identity());
        assert_eq!(Transform::default().apply(picture()), picture());
    }

    #[test]
    fn small_and_large_again_leaves_the_mean() {
        let low = Transform {
            greyscale: true,
            downscale: Some(1),
        };
        let pixels = low.apply(picture()).resize(2, 2).pixels;
        // As Pillow's: 113 and 24 across the rows, then their mean.
        assert_eq!(pixels, [69; 4]);
        assert_eq!(low.to_string(), "greyscale, downscale 1");
    }
}
