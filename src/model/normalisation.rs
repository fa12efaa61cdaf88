//! What a model shifts and scales its pixels by.

use crate::Result;
use crate::data::Pixels;
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

/// Per-channel mean and standard deviation of the pixels (in `[0, 1]`) the model was made for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalisation {
    /// Red, green, blue.
    pub mean: [f64; 3],
    /// Red, green, blue; positive.
    pub deviation: [f64; 3],
}

impl Normalisation {
    /// That of torchvision's and timm's ImageNet models.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        deviation: [0.229, 0.224, 0.225],
    };

    /// What it does to a pixel: scale `1/deviation` and shift `−mean/deviation`, `[3]` each.
    pub(super) fn scale_and_shift(self, dtype: DType, device: &Device) -> Result<(Tensor, Tensor)> {
        let scale = self.deviation.map(|deviation| 1.0 / deviation);
        let shift = [0, 1, 2].map(|c| -self.mean[c] * scale[c]);
        let constant = |values: [f64; 3]| -> Result<Tensor> {
            let values = Tensor::new(&values, &Device::Cpu)?.to_dtype(dtype)?;
            Ok(values.to_device(device)?)
        };
        Ok((constant(scale)?, constant(shift)?))
    }

    /// Mean and deviation of every pixel of the given images.
    ///
    /// # Errors
    /// An image that does not decode.
    pub fn of(images: &Pixels) -> Result<Self> {
        let plane = images.height() * images.width();
        let mut sums = [[0.0_f64; 2]; 3];
        for position in 0..images.len() {
            for (channel, pixels) in images.image(position)?.chunks(plane).enumerate() {
                // Integer sums are exact.
                let sum: u64 = pixels.iter().map(|&pixel| u64::from(pixel)).sum();
                let squares: u64 = pixels
                    .iter()
                    .map(|&pixel| u64::from(pixel) * u64::from(pixel))
                    .sum();
                sums[channel][0] += sum as f64;
                sums[channel][1] += squares as f64;
            }
        }
        let count = (images.len() * plane).max(1) as f64;
        let mean = sums.map(|[sum, _]| sum / count);
        let variance = [0, 1, 2].map(|c| sums[c][1] / count - mean[c] * mean[c]);
        // A constant channel keeps deviation 1/255 instead of 0.
        Ok(Self {
            mean: mean.map(|mean| mean / 255.0),
            deviation: variance.map(|variance| variance.max(1.0).sqrt() / 255.0),
        })
    }
}
