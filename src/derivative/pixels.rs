//! How the loss of an image changes with its pixels.

use super::head::HeadOutputs;
use super::reverse::{LossGradientsOf, OfInput, loss_gradients};
use crate::Result;
use crate::model::{Pass, ResNet};
use candle_core::Tensor;

/// ∂ℓ/∂x of every image, `[B, 3, H, W]` in nats for a pixel going from 0 to 1, at the given B labels, batch norm in evaluation
/// mode; and the losses. `images` hold pixels in [0, 1]: the model's own normalisation is inside.
///
/// Tsipras et al. (2019, section 3) and Utrera et al. (2020, figure 4) show it as a picture.
///
/// # Errors
/// Images or labels that do not fit the model.
pub fn pixel_gradients(
    model: &ResNet,
    images: &Tensor,
    labels: &[usize],
) -> Result<(Tensor, Vec<f64>)> {
    // The mean over the batch times its size: images do not touch each other in evaluation mode.
    let numbers: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
    let numbers = Tensor::new(&numbers[..], images.device())?;
    let wanted = LossGradientsOf {
        parameters_from: None,
        input: OfInput::Gradient,
    };
    let mut pass = Pass::evaluation();
    let found = loss_gradients(model, (0, images), &numbers, &mut pass, wanted)?;
    let losses = HeadOutputs::from_logits(&found.logits, labels)?.losses;
    let slopes = (found.of_input()? * images.dims()[0] as f64)?;
    Ok((slopes, losses))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Pixels, digits_test};
    use crate::model::read_model;
    use candle_core::{DType, Device};
    use std::path::Path;

    #[test]
    fn it_is_the_slope_of_each_images_own_loss() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let model = read_model(
            &root.join("fixtures/source/natural.safetensors"),
            &Device::Cpu,
        );
        let model = model.unwrap().to_dtype(DType::F64).unwrap();
        let pixels = Pixels::decode(&digits_test().unwrap(), &[0, 1, 2], 32).unwrap();
        let images = pixels.batch(&[0, 1, 2], &Device::Cpu).unwrap();
        let images = images.to_dtype(DType::F64).unwrap();
        let (slopes, losses) = pixel_gradients(&model, &images, &[3, 1, 7]).unwrap();
        let loss = |images: &Tensor, image: usize| {
            let logits = model.logits(images).unwrap().get(image).unwrap();
            let logits = logits.to_vec1::<f64>().unwrap();
            let most = logits.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let sum: f64 = logits.iter().map(|z| (z - most).exp()).sum();
            sum.ln() + most - logits[[3, 1, 7][image]]
        };
        let plain = images.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let found = slopes.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let mut smooth = 0;
        for place in (5..3 * 3072).step_by(613) {
            let here = loss(&images, place / 3072);
            assert!((losses[place / 3072] - here).abs() < 1e-9);
            let moved = |step: f64| {
                let mut values = plain.clone();
                values[place] += step;
                let moved = Tensor::from_vec(values, images.shape(), &Device::Cpu).unwrap();
                loss(&moved, place / 3072)
            };
            let (before, after) = (moved(-1e-5), moved(1e-5));
            // Where a rectifier bends in between there is no one slope.
            if (after - 2.0 * here + before).abs() > 1e-10 {
                continue;
            }
            smooth += 1;
            let slope = (after - before) / 2e-5;
            let error = (slope - found[place]).abs();
            assert!(
                error <= 1e-6 * found[place].abs().max(1e-3),
                "{slope} {}",
                found[place]
            );
        }
        assert!(smooth >= 10, "{smooth} of 16 places");
    }
}
