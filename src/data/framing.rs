//! Which part of an image a model sees, and at what size.
//!
//! As torchvision's `Resize(shorter)` and `CenterCrop(side)`: the image is resized so that its shorter side has so many pixels (the
//! longer one rounded down), and the middle of that is taken (half a pixel too much on a side: to the even one).

use super::Image;
use serde::{Deserialize, Serialize};

/// The height and width that images are brought to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Framing {
    /// Rows that are left.
    pub height: usize,
    /// Columns that are left.
    pub width: usize,
    /// What the shorter side has before the middle is taken; where it is not given, no more than is needed.
    pub resize: Option<usize>,
}

/// A square.
impl From<usize> for Framing {
    fn from(side: usize) -> Self {
        (side, side).into()
    }
}

/// Height and width.
impl From<(usize, usize)> for Framing {
    fn from((height, width): (usize, usize)) -> Self {
        Self {
            height,
            width,
            resize: None,
        }
    }
}

/// Where what is left lies in an image: in its pixels, from the upper left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) top: f64,
    pub(super) left: f64,
    pub(super) height: f64,
    pub(super) width: f64,
}

impl Part {
    /// Whether that is all of an image of `height × width`.
    pub(super) fn is_whole(self, (height, width): (usize, usize)) -> bool {
        (self.top, self.left) == (0.0, 0.0)
            && (self.height, self.width) == (height as f64, width as f64)
    }
}

impl Framing {
    /// Whether all of an image is left.
    pub(crate) fn takes_all(self, image: &Image) -> bool {
        let size = (image.height, image.width);
        self.part(size).is_whole(size)
    }

    /// The part of an image of `height × width` that is left.
    pub(super) fn part(self, (height, width): (usize, usize)) -> Part {
        let least = self.resize.map_or((self.height, self.width), |it| (it, it));
        let (rows, columns) = resized((height, width), least);
        let (row, column) = (height as f64 / rows as f64, width as f64 / columns as f64);
        Part {
            top: half(rows - self.height) as f64 * row,
            left: half(columns - self.width) as f64 * column,
            height: self.height as f64 * row,
            width: self.width as f64 * column,
        }
    }
}

/// The size of an image that was resized as a whole to no more than covers `least`.
fn resized((height, width): (usize, usize), least: (usize, usize)) -> (usize, usize) {
    let (height, width) = (height.max(1), width.max(1));
    match width * least.0 >= height * least.1 {
        true => (least.0, least.0 * width / height),
        false => (least.1 * height / width, least.1),
    }
}

/// Python's `int(round(count / 2))`.
fn half(count: usize) -> usize {
    count / 2 + usize::from(count % 4 == 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(top: f64, left: f64, height: f64, width: f64) -> Part {
        Part {
            top,
            left,
            height,
            width,
        }
    }

    #[test]
    fn the_middle_is_torchvisions() {
        // Resize(224): 224 × 298 of 375 × 500; CenterCrop(224) begins in column 37.
        let (row, column) = (375.0 / 224.0, 500.0 / 298.0);
        assert_eq!(
            Framing::from(224).part((375, 500)),
            part(0.0, 37.0 * column, 224.0 * row, 224.0 * column)
        );
        // Resize(256): 384 × 256 of 500 × 333; CenterCrop(224) begins in row 80, column 16.
        let framing = Framing {
            resize: Some(256),
            ..Framing::from(224)
        };
        let (row, column) = (500.0 / 384.0, 333.0 / 256.0);
        assert_eq!(
            framing.part((500, 333)),
            part(80.0 * row, 16.0 * column, 224.0 * row, 224.0 * column)
        );
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(half), [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn a_square_is_taken_whole() {
        assert_eq!(Framing::from(8).part((5, 5)), part(0.0, 0.0, 5.0, 5.0));
        assert_eq!(Framing::from((2, 4)).part((4, 8)), part(0.0, 0.0, 4.0, 8.0));
        assert_eq!(Framing::from((2, 4)).part((4, 9)), part(0.0, 0.0, 4.0, 9.0));
    }
}
