//! What of an image's pixels is compared: all of them by digest, and a thumbnail.

use super::GetPixels;
use crate::Result;
use crate::data::Image;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Rows and columns of a thumbnail. With planted copies (brighter, paler, cropped, shifted, blurred, compressed) of photographs 8
/// to 16 find as many; in small grey pictures more tell more apart.
const SIDE: usize = 12;

/// Of one image.
pub(super) struct Look {
    /// Of its size and all of its pixels.
    pub(super) digest: [u8; 32],
    /// In colour, each channel less its mean, of length 1, `[3 · SIDE²]`: a copy that is brighter or paler looks the same. Zero where
    /// there is nothing to see.
    pub(super) thumbnail: Vec<f64>,
}

impl Look {
    fn of(image: Image) -> Self {
        let mut hasher = Sha256::new();
        for size in [image.channels, image.height, image.width] {
            hasher.update((size as u64).to_le_bytes());
        }
        hasher.update(&image.pixels);
        let small = image.to_rgb().resize(SIDE, SIDE);
        let mut thumbnail: Vec<f64> = small.pixels.iter().map(|&p| f64::from(p)).collect();
        for channel in thumbnail.chunks_exact_mut(SIDE * SIDE) {
            let mean = channel.iter().sum::<f64>() / channel.len() as f64;
            channel.iter_mut().for_each(|p| *p -= mean);
        }
        let length = thumbnail.iter().map(|p| p * p).sum::<f64>().sqrt();
        if length > 0.0 {
            thumbnail.iter_mut().for_each(|p| *p /= length);
        }
        Self {
            digest: hasher.finalize().into(),
            thumbnail,
        }
    }
}

/// Of the first `count` images.
pub(super) fn looks(count: usize, get: GetPixels) -> Result<Vec<Look>> {
    let look = |at: usize| get(at).map(Look::of);
    (0..count).into_par_iter().map(look).collect()
}
