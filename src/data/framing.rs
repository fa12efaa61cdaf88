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

/// What is left along one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Pixels after the image was resized, at least one.
    pub(super) resized: usize,
    /// The first of them that is kept.
    pub(super) first: usize,
    pub(super) kept: usize,
}

impl Extent {
    /// All of so many pixels.
    pub(super) fn whole(length: usize) -> Self {
        Self {
            resized: length.max(1),
            first: 0,
            kept: length,
        }
    }

    /// The middle of `resized` pixels.
    fn middle(resized: usize, kept: usize) -> Self {
        let kept = kept.min(resized);
        Self {
            resized,
            first: half(resized - kept),
            kept,
        }
    }
}

impl Framing {
    /// Whether all of an image is left.
    pub(crate) fn takes_all(self, image: &Image) -> bool {
        let (rows, columns) = self.extents((image.height, image.width));
        [rows, columns].iter().all(|side| side.kept == side.resized)
    }

    /// Rows and columns of an image of `height × width` that are left.
    pub(super) fn extents(self, size: (usize, usize)) -> (Extent, Extent) {
        let least = self.resize.map_or((self.height, self.width), |it| (it, it));
        let (rows, columns) = resized(size, least);
        (
            Extent::middle(rows, self.height),
            Extent::middle(columns, self.width),
        )
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

    fn extent(resized: usize, first: usize, kept: usize) -> Extent {
        Extent {
            resized,
            first,
            kept,
        }
    }

    #[test]
    fn the_middle_is_torchvisions() {
        // Resize(224): 224 × 298 of 375 × 500; CenterCrop(224) begins in column 37.
        let found = Framing::from(224).extents((375, 500));
        assert_eq!(found, (extent(224, 0, 224), extent(298, 37, 224)));
        // Resize(256): 384 × 256 of 500 × 333; CenterCrop(224) begins in row 80, column 16.
        let framing = Framing {
            resize: Some(256),
            ..Framing::from(224)
        };
        let found = framing.extents((500, 333));
        assert_eq!(found, (extent(384, 80, 224), extent(256, 16, 224)));
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(half), [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn a_square_is_taken_whole() {
        let whole = |kept: usize| extent(kept, 0, kept);
        assert_eq!(Framing::from(8).extents((5, 5)), (whole(8), whole(8)));
        for width in [8, 9] {
            let found = Framing::from((2, 4)).extents((4, width));
            assert_eq!(found, (whole(2), whole(4)));
        }
    }

    /// A model has no such framing; a caller of the library may.
    #[test]
    fn no_more_is_left_than_there_is() {
        let framing = Framing {
            resize: Some(4),
            ..Framing::from(8)
        };
        assert_eq!(framing.extents((9, 9)).0, extent(4, 0, 4));
    }
}
