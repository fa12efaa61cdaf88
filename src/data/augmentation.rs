//! Train-time augmentation: crop with padding, horizontal flip, colour jitter, rotation.
//!
//! The recipe of Utrera et al. (ICLR 2021), as their code has it: `RandomCrop(padding 4)`, `RandomHorizontalFlip`,
//! `ColorJitter(.25, .25, .25)`, `RandomRotation(2)`, in this order, with torchvision's meaning of each: padding is
//! black; brightness, contrast and saturation are blended in a random order with factors uniform in `[1 − j, 1 + j]`;
//! the angle is uniform in `[−r, r]`, the nearest pixel is taken, and what comes from outside is black.
//! Unlike there, what happens to an example is fixed by (seed, epoch, example id) alone, not by the order of calls.

use super::random::{Purpose, generator};
use rand::{RngExt, seq::SliceRandom};
use serde::{Deserialize, Serialize};

/// Which random changes a training image undergoes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Black pixels added on each side before cropping back to the size, in pixels.
    pub crop_padding: usize,
    /// Whether half of the images are mirrored left to right.
    pub flip: bool,
    /// Largest relative change of brightness, contrast and saturation, from 0 (none) to 1.
    pub jitter: f32,
    /// Largest rotation to either side, in degrees.
    pub rotation_degrees: f32,
}

impl Augmentation {
    /// No change at all.
    #[must_use]
    pub fn none() -> Self {
        Self {
            crop_padding: 0,
            flip: false,
            jitter: 0.0,
            rotation_degrees: 0.0,
        }
    }

    /// The paper's: padding 4, flip, jitter 0.25, two degrees.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            crop_padding: 4,
            flip: true,
            jitter: 0.25,
            rotation_degrees: 2.0,
        }
    }

    /// Padding 4 and flip: the customary one for small images, and the fastest.
    #[must_use]
    pub fn crop_and_flip() -> Self {
        Self {
            crop_padding: 4,
            flip: true,
            ..Self::none()
        }
    }

    /// The flip alone: every image is one of two.
    #[must_use]
    pub fn mirror() -> Self {
        Self {
            flip: true,
            ..Self::none()
        }
    }

    /// How many images one can become, where that is known to be few: 1 unchanged, 2 mirrored or not.
    #[must_use]
    pub fn variants(&self) -> Option<usize> {
        let mirrors = if self.flip { 2 } else { 1 };
        let rest = Self {
            flip: false,
            ..*self
        };
        (rest == Self::none()).then_some(mirrors)
    }

    /// Whether the example is mirrored in this epoch.
    #[must_use]
    pub fn mirrors(&self, seed: u64, epoch: u64, id: usize) -> bool {
        self.draw(seed, epoch, id).flip
    }

    /// What happens to one example in one epoch.
    pub(super) fn draw(&self, seed: u64, epoch: u64, id: usize) -> Change {
        let mut random = generator(Purpose::Augmentation, seed, epoch, id as u64);
        let padding = self.crop_padding as isize;
        let mut shift = || random.random_range(-padding as i64..=padding as i64) as isize;
        let (down, right) = (shift(), shift());
        let flip = random.random_bool(0.5) && self.flip;
        let mut colour = [Colour::Brightness, Colour::Contrast, Colour::Saturation].map(|kind| {
            let factor = 1.0 + self.jitter * random.random_range(-1.0f32..=1.0);
            (kind, factor.max(0.0))
        });
        colour.shuffle(&mut random);
        let angle = self.rotation_degrees * random.random_range(-1.0f32..=1.0);
        Change {
            down,
            right,
            flip,
            colour: (self.jitter > 0.0).then_some(colour),
            radians: angle.to_radians(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Colour {
    Brightness,
    Contrast,
    Saturation,
}

/// The changes drawn for one example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    down: isize,
    right: isize,
    flip: bool,
    colour: Option<[(Colour, f32); 3]>,
    radians: f32,
}

impl Change {
    /// Writes the changed image, `[3, H, W]` in `[0, 1]`, from bytes of the same layout.
    pub(super) fn apply(&self, source: &[u8], height: usize, width: usize, target: &mut [f32]) {
        self.crop(source, height, width, target);
        if let Some(colour) = self.colour {
            colour
                .into_iter()
                .for_each(|(kind, factor)| blend(kind, factor, target));
        }
        if self.radians != 0.0 {
            let upright = target.to_vec();
            rotate(&upright, height, width, self.radians, target);
        }
    }

    /// Shift with black border, then mirror: a copy of rows.
    fn crop(&self, source: &[u8], height: usize, width: usize, target: &mut [f32]) {
        let first = (-self.right).clamp(0, width as isize) as usize;
        let last = (width as isize - self.right).clamp(first as isize, width as isize) as usize;
        let planes = source
            .chunks_exact(height * width)
            .zip(target.chunks_exact_mut(height * width));
        for (plane, out) in planes {
            for (y, row) in out.chunks_exact_mut(width).enumerate() {
                let from = y as isize + self.down;
                if from < 0 || from >= height as isize || first == last {
                    row.fill(0.0);
                    continue;
                }
                let start = from as usize * width + (first as isize + self.right) as usize;
                row[..first].fill(0.0);
                row[last..].fill(0.0);
                to_unit(&plane[start..start + last - first], &mut row[first..last]);
                if self.flip {
                    row.reverse();
                }
            }
        }
    }
}

/// Bytes to `[0, 1]`.
pub(super) fn to_unit(bytes: &[u8], target: &mut [f32]) {
    for (value, &byte) in target.iter_mut().zip(bytes) {
        *value = f32::from(byte) / 255.0;
    }
}

/// The luma of ITU-R 601-2, as torchvision's `rgb_to_grayscale`.
fn luma(red: f32, green: f32, blue: f32) -> f32 {
    0.2989 * red + 0.587 * green + 0.114 * blue
}

fn blend(kind: Colour, factor: f32, image: &mut [f32]) {
    let count = image.len() / 3;
    let (red, rest) = image.split_at_mut(count);
    let (green, blue) = rest.split_at_mut(count);
    let pixels = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
    let mix = |value: &mut f32, other: f32| {
        *value = (factor * *value + (1.0 - factor) * other).clamp(0.0, 1.0)
    };
    match kind {
        Colour::Brightness => image.iter_mut().for_each(|value| mix(value, 0.0)),
        Colour::Contrast => {
            let mean = pixels
                .map(|((r, g), b)| f64::from(luma(*r, *g, *b)))
                .sum::<f64>()
                / count as f64;
            image.iter_mut().for_each(|value| mix(value, mean as f32));
        }
        Colour::Saturation => {
            for ((r, g), b) in pixels {
                let grey = luma(*r, *g, *b);
                [r, g, b].into_iter().for_each(|value| mix(value, grey));
            }
        }
    }
}

/// Counter-clockwise about the centre, nearest pixel, black outside.
fn rotate(source: &[f32], height: usize, width: usize, radians: f32, target: &mut [f32]) {
    let (sine, cosine) = radians.sin_cos();
    let (middle_y, middle_x) = ((height as f32 - 1.0) / 2.0, (width as f32 - 1.0) / 2.0);
    let count = height * width;
    for y in 0..height {
        for x in 0..width {
            let (dy, dx) = (y as f32 - middle_y, x as f32 - middle_x);
            let from_x = (cosine * dx - sine * dy + middle_x).round();
            let from_y = (sine * dx + cosine * dy + middle_y).round();
            let inside =
                from_x >= 0.0 && from_y >= 0.0 && from_x < width as f32 && from_y < height as f32;
            for channel in 0..3 {
                target[channel * count + y * width + x] = if inside {
                    source[channel * count + from_y as usize * width + from_x as usize]
                } else {
                    0.0
                };
            }
        }
    }
}

#[cfg(test)]
mod tests;
