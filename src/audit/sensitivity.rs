//! Pictures of loss sensitivity: to which pixels, and in which direction, the loss of an image responds.
//!
//! The gradient ∂ℓ/∂x, batch norm in evaluation mode, clipped at ±3 standard deviations of its own values and scaled to
//! [0, 255], so that 128 is no response (Tsipras et al. 2019; Utrera et al. 2020, figure 4). Each image has its own scale:
//! pictures show where, not how much.

use crate::Result;
use crate::data::{Dataset, Pixels};
use crate::derivative::pixel_gradients;
use crate::figure::{Picture, SensitivityMap};
use crate::model::ResNet;
use candle_core::{DType, Device};

/// Standard deviations at which values are clipped.
const CLIP: f64 = 3.0;
/// Images of one pass.
const BATCH: usize = 64;

/// The response of every example in `ids`, at its label, in the model's input size. `progress` is told how many are done.
///
/// # Errors
/// An image that does not decode, or a pass that fails.
pub fn sensitivity(
    model: &ResNet,
    dataset: &Dataset,
    ids: &[usize],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<SensitivityMap>> {
    let mut maps = Vec::with_capacity(ids.len());
    for batch in ids.chunks(BATCH) {
        let pixels = Pixels::decode(dataset, batch, model.framing())?;
        let positions: Vec<usize> = (0..pixels.len()).collect();
        let images = pixels.batch(&positions, &Device::Cpu)?;
        let labels: Vec<usize> = batch.iter().map(|&id| dataset.label(id)).collect();
        let (gradients, losses) = pixel_gradients(model, &images, &labels)?;
        let values = gradients
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1::<f64>()?;
        let size = (values.len() / batch.len()).max(1);
        for (values, loss) in values.chunks_exact(size).zip(losses) {
            let (pixels, limit) = clipped(values);
            let picture = Picture {
                channels: 3,
                height: model.side(),
                width: model.side(),
                pixels,
            };
            maps.push(SensitivityMap {
                loss,
                limit,
                picture,
            });
        }
        progress(maps.len());
    }
    Ok(maps)
}

/// ±3 σ on 0 to 255, the middle where nothing responds; and 3 σ.
fn clipped(values: &[f64]) -> (Vec<u8>, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    let limit = CLIP * (squares.sum::<f64>() / count).sqrt();
    let level = |value: &f64| match limit > 0.0 {
        true => (127.5 + 127.5 * (value / limit).clamp(-1.0, 1.0)).round() as u8,
        false => 128,
    };
    (values.iter().map(level).collect(), limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_clipped_at_three_deviations_around_the_middle() {
        let mut values = vec![0.0; 1000];
        (values[3], values[7], values[8]) = (5.0, -100.0, 100.0);
        let (levels, limit) = clipped(&values);
        assert!((limit - 3.0 * 20.025f64.sqrt()).abs() < 1e-3);
        assert_eq!((levels[0], levels[7], levels[8]), (128, 0, 255));
        // σ is nearly √(20025/1000), so that 5 is 5/(3·4.475) of the way.
        assert_eq!(
            levels[3],
            (127.5 + 127.5 * 5.0 / (3.0 * 20.025f64.sqrt())).round() as u8
        );
        assert_eq!(clipped(&[0.0; 4]), (vec![128; 4], 0.0));
    }
}
