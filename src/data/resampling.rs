//! A plane of bytes at another size, exactly as Pillow's `BILINEAR` makes it, from which torchvision's `Resize` of an image is.
//!
//! Each pixel of the result is a mean under a triangle that reaches one pixel of the *larger* of the two grids to both sides: where the
//! plane shrinks, all pixels count. Weights are rounded to 2⁻²², sums to bytes, of rows first and then of columns; the other way round
//! where more than twice as many rows as columns go (Pillow 13; earlier ones never did that). The crates for this round otherwise: of
//! an image from 280 to 224 pixels, one byte in thirteen was another.

use super::framing::Extent;
use std::ops::Range;

/// Bits behind the point of a weight.
const BITS: u32 = 22;

/// The parts `rows` and `columns` of a `plane` of so many columns after it was resized.
pub(super) fn resample(plane: &[u8], width: usize, rows: Extent, columns: Extent) -> Vec<u8> {
    let height = plane.len() / width.max(1);
    let (down, across) = (weights(height, rows), weights(width, columns));
    let lost = |length: usize, extent: Extent| length as i64 - extent.resized as i64;
    let (fewer_rows, fewer_columns) = (lost(height, rows), lost(width, columns));
    if fewer_rows > 0 && fewer_rows > 2 * fewer_columns {
        return along_rows(&down_columns(plane, width, &down), width, &across);
    }
    // Without the rows that no row of the result is made of.
    let first = down.first().map_or(0, |pixel| pixel.from.start);
    let last = down.last().map_or(0, |pixel| pixel.from.end);
    let narrow = along_rows(&plane[first * width..last * width], width, &across);
    let down = down.into_iter().map(|pixel| Pixel {
        from: pixel.from.start - first..pixel.from.end - first,
        ..pixel
    });
    down_columns(&narrow, columns.kept, &down.collect::<Vec<_>>())
}

/// Each row with other columns.
fn along_rows(plane: &[u8], width: usize, pixels: &[Pixel]) -> Vec<u8> {
    let mut result = Vec::with_capacity(plane.len() / width.max(1) * pixels.len());
    for row in plane.chunks_exact(width.max(1)) {
        result.extend(pixels.iter().map(|pixel| {
            let values = row[pixel.from.clone()].iter();
            let products = values.zip(&pixel.weights);
            byte(
                products
                    .map(|(&value, &weight)| i32::from(value) * weight)
                    .sum(),
            )
        }));
    }
    result
}

/// Other rows, each a sum of rows.
fn down_columns(plane: &[u8], width: usize, pixels: &[Pixel]) -> Vec<u8> {
    let mut result = Vec::with_capacity(pixels.len() * width);
    let mut sums = vec![0; width];
    for pixel in pixels {
        sums.fill(0);
        for (row, &weight) in pixel.from.clone().zip(&pixel.weights) {
            let row = &plane[row * width..][..width];
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        result.extend(sums.iter().map(|&sum| byte(sum)));
    }
    result
}

/// What a pixel of the result is made of along one side.
struct Pixel {
    from: Range<usize>,
    /// In 2⁻²²; they sum to about 1.
    weights: Vec<i32>,
}

fn weights(length: usize, extent: Extent) -> Vec<Pixel> {
    let scale = length as f64 / extent.resized as f64;
    let reach = scale.max(1.0);
    let pixel = |at: usize| {
        let centre = ((extent.first + at) as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let last = ((centre + reach + 0.5) as usize).min(length);
        let triangle = |place: usize| {
            let distance = (place as f64 - centre + 0.5) * (1.0 / reach);
            (1.0 - distance.abs()).max(0.0)
        };
        let sum: f64 = (first..last).map(triangle).sum();
        let whole = f64::from(1 << BITS);
        let rounded = |place: usize| (0.5 + triangle(place) / sum * whole) as i32;
        Pixel {
            from: first..last,
            weights: (first..last).map(rounded).collect(),
        }
    };
    (0..extent.kept).map(pixel).collect()
}

/// A sum in 2⁻²², rounded.
fn byte(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
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
        let smaller = picture(7, 5).resize(4, 3);
        assert_eq!(
            smaller.pixels,
            [66, 126, 129, 145, 142, 143, 117, 122, 160, 107, 101, 176]
        );
        // Columns first; rows first would make the third 148.
        let lower = picture(9, 5).resize(2, 4);
        assert_eq!(lower.pixels, [106, 128, 147, 135, 129, 132, 152, 148]);
        let larger = picture(3, 4).resize(5, 6);
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
            picture(9, 14).framed(closer).pixels,
            [
                145, 148, 115, 170, 157, 130, 136, 119, 167, 129, 127, 156, 173, 167, 153, 154
            ]
        );
        assert_eq!(
            picture(13, 8).framed(5.into()).pixels,
            [
                104, 125, 155, 122, 144, 121, 109, 168, 136, 124, 147, 147, 166, 167, 166, 145,
                152, 88, 112, 137, 131, 132, 93, 134, 101
            ]
        );
    }
}
