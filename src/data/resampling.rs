//! A plane of bytes at another size, as Pillow's `BILINEAR` makes it: a triangle as wide as the scale where the plane shrinks, across
//! the rows first, each pass rounded to bytes. Equal to Pillow's but for a byte in some hundreds, which is off by one.

use super::framing::Part;
use crate::{Error, Result};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};

/// `part` of a `plane` of `size`, at the size `to`.
pub(super) fn resample(
    plane: &[u8],
    (height, width): (usize, usize),
    part: Part,
    to: (usize, usize),
) -> Result<Vec<u8>> {
    let refused = |reason: String| {
        Error::mismatch("image", "one that can be resized", reason, "this is a bug")
    };
    let [rows, columns, height, width] = [to.0, to.1, height, width].map(|side| side as u32);
    let plane = ImageRef::new(width, height, plane, PixelType::U8);
    let plane = plane.map_err(|reason| refused(reason.to_string()))?;
    let across = (part.left, 0.0, part.width, f64::from(height));
    let narrow = pass(&plane, across, (height, columns)).map_err(refused)?;
    let along = (0.0, part.top, f64::from(columns), part.height);
    let small = pass(&narrow, along, (rows, columns)).map_err(refused)?;
    Ok(small.into_vec())
}

/// What lies at (left, top, width, height), in as many rows and columns.
fn pass(
    from: &impl IntoImageView,
    (left, top, width, height): (f64, f64, f64, f64),
    (rows, columns): (u32, u32),
) -> std::result::Result<Image<'static>, String> {
    let mut to = Image::new(columns, rows, PixelType::U8);
    // A part that ends at the edge may be rounded beyond it.
    let width = width.min(f64::from(from.width()) - left);
    let height = height.min(f64::from(from.height()) - top);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(left, top, width, height)
        .use_alpha(false);
    let done = Resizer::new().resize(from, &mut to, &options);
    done.map(|()| to).map_err(|reason| reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::{Framing, Image};

    fn picture(height: usize, width: usize) -> Image {
        let at = |(y, x): (usize, usize)| (x * 37 + y * 91 + x * y * 13) as u8;
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        Image {
            channels: 1,
            height,
            width,
            pixels: places.map(at).collect(),
        }
    }

    /// `Image.resize((width, height), Image.BILINEAR)` of Pillow 13.
    #[test]
    fn sizes_are_changed_as_pillow_changes_them() {
        let smaller = picture(7, 5).resize(4, 3).unwrap();
        assert_eq!(
            smaller.pixels,
            [66, 126, 129, 145, 142, 143, 117, 122, 160, 107, 101, 176]
        );
        let larger = picture(3, 4).resize(5, 6).unwrap();
        assert_eq!(
            larger.pixels,
            [
                0, 19, 43, 68, 93, 111, 36, 58, 85, 114, 142, 163, 91, 116, 149, 183, 216, 241,
                146, 175, 187, 124, 137, 165, 182, 214, 213, 84, 84, 115
            ]
        );
    }

    /// Pillow's, cropped as torchvision does: `Resize(6)` and `CenterCrop(4)`; `Resize(5)` and `CenterCrop(5)`.
    #[test]
    fn a_part_is_that_of_the_whole_resized() {
        let closer = Framing {
            resize: Some(6),
            ..4.into()
        };
        assert_eq!(
            picture(9, 14).framed(closer).unwrap().pixels,
            [
                145, 148, 115, 170, 157, 130, 136, 119, 167, 129, 127, 156, 173, 167, 153, 154
            ]
        );
        assert_eq!(
            picture(13, 8).framed(5.into()).unwrap().pixels,
            [
                104, 125, 155, 122, 144, 121, 109, 168, 136, 124, 147, 147, 166, 167, 166, 145,
                152, 88, 112, 137, 131, 132, 93, 134, 101
            ]
        );
    }
}
