//! One decoded image: bytes in `[C, H, W]` layout.
//!
//! Greyscale stays one channel. Sixteen bits become eight, a palette becomes RGB, and an alpha channel is dropped
//! (not blended), so that a picture's colours do not depend on a background nobody chose.

use super::Framing;
use super::framing::Extent;
use super::resampling::resample;
use crate::decoder_panic::caught;
use crate::stand_in::stand_in;
use ::image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// What images may be stored as, for people.
pub(super) const FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP or PNM";

/// A decoded image, 8 bits a channel, row-major `[C, H, W]`; one channel for greyscale, three for RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// 1 (greyscale) or 3 (RGB).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `channels · height · width` bytes.
    pub pixels: Vec<u8>,
}

impl Image {
    /// Decodes a JPEG, PNG, WebP, GIF, BMP or PNM; of a moving picture the first.
    ///
    /// # Errors
    /// The reason, without file and place: the caller knows those. A JPEG that breaks off is refused, although its
    /// first rows could be shown.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let format = format_of(bytes)?;
        let decode = || ::image::load_from_memory_with_format(bytes, format);
        let decoded = caught(|| decode().map_err(|error| error.to_string()))?;
        check_size(decoded.width(), decoded.height())?;
        Ok(Self::from_dynamic(decoded))
    }

    /// Height and width of such a picture, from its header.
    ///
    /// # Errors
    /// The reason, without file and place.
    pub fn size_of(bytes: &[u8]) -> Result<(usize, usize), String> {
        let format = format_of(bytes)?;
        let reader = ::image::ImageReader::with_format(std::io::Cursor::new(bytes), format);
        let size = || reader.into_dimensions();
        let (width, height) = caught(|| size().map_err(|error| error.to_string()))?;
        check_size(width, height)?;
        Ok((height as usize, width as usize))
    }

    fn from_dynamic(decoded: DynamicImage) -> Self {
        let (height, width) = (decoded.height() as usize, decoded.width() as usize);
        if decoded.color().has_color() {
            Self {
                channels: 3,
                height,
                width,
                pixels: planes(&decoded.into_rgb8()),
            }
        } else {
            Self {
                channels: 1,
                height,
                width,
                pixels: decoded.into_luma8().into_raw(),
            }
        }
    }

    /// The same picture with three channels; greyscale is repeated.
    #[must_use]
    pub fn to_rgb(mut self) -> Self {
        if self.channels == 1 {
            self.pixels = self.pixels.repeat(3);
            self.channels = 3;
        }
        self
    }

    /// The picture at another size, bilinear with antialiasing when it shrinks; untouched when the size is the same.
    #[must_use]
    pub fn resize(self, height: usize, width: usize) -> Self {
        self.resampled(Extent::whole(height), Extent::whole(width))
    }

    /// What `framing` leaves of the picture; no more than there is after resizing.
    #[must_use]
    pub fn framed(self, framing: Framing) -> Self {
        let (rows, columns) = framing.extents((self.height, self.width));
        self.resampled(rows, columns)
    }

    fn resampled(self, rows: Extent, columns: Extent) -> Self {
        let same = (Extent::whole(self.height), Extent::whole(self.width));
        if (rows, columns) == same {
            return self;
        }
        let planes = self.pixels.chunks_exact((self.height * self.width).max(1));
        let planes = planes.flat_map(|plane| resample(plane, self.width, rows, columns));
        Self {
            channels: self.channels,
            height: rows.kept,
            width: columns.kept,
            pixels: planes.collect(),
        }
    }
}

/// Refuses an image that is none.
fn check_size(width: u32, height: u32) -> Result<(), String> {
    match width == 0 || height == 0 {
        true => Err(format!("{width} × {height} pixels")),
        false => Ok(()),
    }
}

/// The format of an image that is there, as far as its first bytes and its end say.
fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    if bytes.is_empty() {
        return Err("no bytes".into());
    }
    let known = ::image::guess_format(bytes).ok();
    let format = known.filter(|format| format.reading_enabled());
    let format = format.ok_or_else(|| unknown(bytes))?;
    if format == ImageFormat::Jpeg && !has_end_of_image(bytes) {
        return Err(format!(
            "a JPEG that breaks off after {} bytes",
            bytes.len()
        ));
    }
    Ok(format)
}

/// What bytes are that no decoder knows.
fn unknown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(4)];
    match stand_in(bytes) {
        Some(known) => known.to_owned(),
        None => format!("none (it starts with the bytes {start:02x?})"),
    }
}

/// Interleaved RGB to `[3, H, W]`.
fn planes(interleaved: &RgbImage) -> Vec<u8> {
    (0..3)
        .flat_map(|channel| interleaved.pixels().map(move |Rgb(rgb)| rgb[channel]))
        .collect()
}

/// Whether the marker that ends a JPEG stream stands anywhere behind the first scan's (some writers append other data after it). A
/// thumbnail in a segment before has one of its own.
fn has_end_of_image(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let [0xff, marker, high, low, ..] = *rest
        && marker != START_OF_SCAN
    {
        let segment = 2 + usize::from(u16::from_be_bytes([high, low]));
        // Markers may have any number of 0xff before them.
        let length = if marker == 0xff { 1 } else { segment };
        rest = rest.get(length..).unwrap_or_default();
    }
    rest.windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}

/// The marker of a JPEG scan.
const START_OF_SCAN: u8 = 0xda;

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{GrayAlphaImage, ImageBuffer, Luma, LumaA, Rgba};
    use std::io::Cursor;

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A thumbnail in the head of a JPEG has an end of its own.
    #[test]
    fn a_jpeg_that_breaks_off_behind_its_thumbnail_is_refused() {
        let picture = |side: u32| {
            RgbImage::from_fn(side, side, |x, y| Rgb([(x * y) as u8, x as u8, y as u8]))
        };
        let (whole, thumbnail) = (
            encode(picture(64), ImageFormat::Jpeg),
            encode(picture(4), ImageFormat::Jpeg),
        );
        let mut bytes = whole[..2].to_vec();
        let segment = [b"Exif\0\0", &thumbnail[..]].concat();
        bytes.extend([0xff, 0xe1]);
        bytes.extend((segment.len() as u16 + 2).to_be_bytes());
        bytes.extend(&segment);
        bytes.extend(&whole[2..]);
        assert_eq!(Image::decode(&bytes).unwrap().width, 64);
        let cut = bytes.len() - whole.len() / 3;
        assert!(Image::decode(&bytes[..cut]).is_err());
    }

    #[test]
    fn png_round_trips_in_channel_planes() {
        let rgb = RgbImage::from_fn(2, 3, |x, y| Rgb([x as u8, y as u8, 200]));
        let image = Image::decode(&encode(rgb, ImageFormat::Png)).unwrap();
        assert_eq!((image.channels, image.height, image.width), (3, 3, 2));
        assert_eq!(image.pixels[..6], [0, 1, 0, 1, 0, 1]);
        assert_eq!(image.pixels[6..12], [0, 0, 1, 1, 2, 2]);
        assert_eq!(image.pixels[12..], [200; 6]);
    }

    #[test]
    fn other_formats_decode_and_are_refused_where_they_break_off() {
        let picture = RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8 & 0xf8, y as u8 & 0xf8, 0]));
        let expected = Image::decode(&encode(picture.clone(), ImageFormat::Png)).unwrap();
        for format in [
            ImageFormat::Bmp,
            ImageFormat::Gif,
            ImageFormat::Pnm,
            ImageFormat::WebP,
        ] {
            let bytes = encode(picture.clone(), format);
            let image = Image::decode(&bytes).unwrap();
            assert_eq!(Image::size_of(&bytes).unwrap(), (30, 40), "{format:?}");
            let pairs = image.pixels.iter().zip(&expected.pixels);
            let far = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // A GIF has 256 colours.
            assert!(
                far <= 8 && (format == ImageFormat::Gif || far == 0),
                "{format:?}: {far}"
            );
            for length in [20, bytes.len() / 2, bytes.len() - 40] {
                assert!(
                    Image::decode(&bytes[..length]).is_err(),
                    "{format:?}, {length} bytes"
                );
            }
        }
        let tiff = b"II*\0\x08\0\0\0";
        assert!(Image::decode(tiff).unwrap_err().contains("none"));
        let pointer = b"version https://git-lfs.github.com/spec/v1";
        assert!(Image::decode(pointer).unwrap_err().contains("git lfs pull"));
    }

    #[test]
    fn sixteen_bits_and_alpha_become_eight_bits_without_alpha() {
        let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_pixel(2, 1, Luma([0xab_ab]));
        let image = Image::decode(&encode(deep, ImageFormat::Png)).unwrap();
        assert_eq!((image.channels, &image.pixels[..]), (1, &[0xab, 0xab][..]));
        let clear = GrayAlphaImage::from_pixel(1, 1, LumaA([77, 0]));
        let image = Image::decode(&encode(clear, ImageFormat::Png)).unwrap();
        assert_eq!((image.channels, &image.pixels[..]), (1, &[77][..]));
        let clear: ImageBuffer<Rgba<u8>, _> = ImageBuffer::from_pixel(1, 1, Rgba([1, 2, 3, 0]));
        let image = Image::decode(&encode(clear, ImageFormat::Png)).unwrap();
        assert_eq!(image.pixels, [1, 2, 3]);
    }

    #[test]
    fn broken_pictures_are_refused_with_a_reason() {
        let jpeg = encode(
            RgbImage::from_pixel(16, 16, Rgb([9, 99, 199])),
            ImageFormat::Jpeg,
        );
        assert!(Image::decode(&jpeg).is_ok());
        let reason = Image::decode(&jpeg[..jpeg.len() - 5]).unwrap_err();
        assert!(reason.contains("breaks off"), "{reason}");
        let png = encode(RgbImage::new(16, 16), ImageFormat::Png);
        assert!(Image::decode(&png[..png.len() / 2]).is_err());
        assert!(Image::decode(&[]).is_err());
        assert!(Image::decode(b"GIF89a, or so it says").is_err());
    }

    #[test]
    fn pictures_without_a_pixel_are_refused() {
        for (bytes, found) in [("P5\n0 0\n255\n", "0 × 0"), ("P6\n3 0\n255\n", "3 × 0")] {
            let expected = format!("{found} pixels");
            assert_eq!(Image::decode(bytes.as_bytes()), Err(expected.clone()));
            assert_eq!(Image::size_of(bytes.as_bytes()), Err(expected));
        }
        // Its screen and its one frame are of no size.
        let screen = b"GIF89a\0\0\0\0\0\0\0";
        let frame = b",\0\0\0\0\0\0\0\0\x80\0\0\0\xff\xff\xff\x02\x01,\0;";
        let gif = [&screen[..], frame].concat();
        assert_eq!(Image::size_of(&gif), Err("0 × 0 pixels".to_owned()));
        assert!(Image::decode(&gif).is_err());
    }

    #[test]
    fn what_is_not_square_is_cropped_from_its_centre() {
        let image = |height: usize, width: usize| Image {
            channels: 2,
            height,
            width,
            pixels: (0..2 * height * width).map(|place| place as u8).collect(),
        };
        let framed = |image: Image, framing: Framing| image.framed(framing);
        let resized = |image: Image, height, width| image.resize(height, width);
        let wide = framed(image(2, 5), 2.into());
        assert_eq!(wide.pixels, [2, 3, 7, 8, 12, 13, 17, 18]);
        let tall = framed(image(5, 2), 2.into());
        assert_eq!(tall.pixels, [4, 5, 6, 7, 14, 15, 16, 17]);
        assert_eq!(framed(image(4, 4), 2.into()), resized(image(4, 4), 2, 2));
        assert_eq!(framed(image(1, 300), 3.into()).pixels.len(), 18);
        assert_eq!(
            framed(image(4, 8), (2, 4).into()),
            resized(image(4, 8), 2, 4)
        );
        let closer = Framing {
            resize: Some(4),
            ..2.into()
        };
        assert_eq!(
            framed(image(4, 4), closer).pixels,
            [5, 6, 9, 10, 21, 22, 25, 26]
        );
    }

    #[test]
    fn resize_keeps_the_mean_and_is_exact_at_the_same_size() {
        let image = Image {
            channels: 1,
            height: 2,
            width: 2,
            pixels: vec![0, 100, 100, 200],
        };
        assert_eq!(image.clone().resize(2, 2), image);
        let large = image.clone().to_rgb().resize(6, 4);
        assert_eq!((large.channels, large.height, large.width), (3, 6, 4));
        let mean = large.pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / 72.0;
        assert!((mean - 100.0).abs() < 1.0, "{mean}");
        assert_eq!(image.resize(1, 1).pixels, [100]);
    }
}
