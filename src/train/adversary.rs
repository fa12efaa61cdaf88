//! Projected gradient descent on the image: the inner maximisation of adversarial training.
//!
//! Equation 1 of Utrera et al.: `min_θ E max_{‖δ‖_p ≤ ε} ℓ(x + δ, y; θ)`. One step moves along the gradient of the
//! loss, normalised to length 1 (L2) or by its sign (L∞), projects back to the ball of radius ε around the image and
//! clips the pixels to `[0, 1]` (Madry et al. 2018; the `robustness` library's formulas). ε is in units of pixels in
//! `[0, 1]`, before normalisation. The model is in evaluation mode while it is attacked, as in that library.

use crate::data::random::{Purpose, generator};
use crate::derivative::gradient;
use crate::model::ResNet;
use crate::{Error, Result};
use candle_core::{D, Tensor, Var};
use rand_distr::{Distribution, StandardNormal, Uniform};
use serde::{Deserialize, Serialize};

/// The norm that bounds a perturbation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Euclidean length over all pixels and channels of an image.
    L2,
    /// Largest change of one value.
    Linf,
}

/// Who perturbs the images, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adversary {
    /// The norm of the ball.
    pub norm: Norm,
    /// The radius, in pixel units of `[0, 1]`.
    pub epsilon: f64,
    /// Gradient steps.
    pub steps: usize,
    /// Length of a step; the customary value is `2.5·ε/steps`.
    pub step_size: f64,
    /// Whether to start at a random point of the ball rather than at the image.
    pub random_start: bool,
}

impl Adversary {
    /// An adversary with the customary step size, starting at the image.
    ///
    /// # Errors
    /// Where ε is not a positive number or there are no steps.
    pub fn new(norm: Norm, epsilon: f64, steps: usize) -> Result<Self> {
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(Error::config(
                "epsilon",
                format!("expected a positive number in pixel units of [0, 1], found {epsilon}"),
            ));
        }
        if steps == 0 {
            return Err(Error::config("steps", "expected at least 1"));
        }
        Ok(Self {
            norm,
            epsilon,
            steps,
            step_size: 2.5 * epsilon / steps as f64,
            random_start: false,
        })
    }

    /// Perturbed images `[B, 3, H, W]` that raise the cross-entropy of `model` (its weights must be constants).
    /// `draw` identifies the batch (seed, epoch, batch number) for the random start.
    ///
    /// # Errors
    /// As the model's forward pass.
    pub fn perturb(
        &self,
        model: &ResNet,
        images: &Tensor,
        labels: &Tensor,
        draw: (u64, u64, u64),
    ) -> Result<Tensor> {
        let mut perturbed = if self.random_start {
            self.project(images, &(images + self.random(images, draw)?)?)?
        } else {
            images.clone()
        };
        for _ in 0..self.steps {
            let variable = Var::from_tensor(&perturbed)?;
            let loss =
                candle_nn::loss::cross_entropy(&model.logits(variable.as_tensor())?, labels)?;
            let slope = gradient(&loss, &[variable.as_tensor()])?.remove(0);
            perturbed = self
                .project(
                    images,
                    &(&perturbed + (self.direction(&slope)? * self.step_size)?)?,
                )?
                .detach();
        }
        Ok(perturbed)
    }

    fn direction(&self, slope: &Tensor) -> Result<Tensor> {
        match self.norm {
            // A zero gradient gives a zero step.
            Norm::L2 => Ok(slope.broadcast_div(&lengths(slope)?.maximum(1e-30)?)?),
            Norm::Linf => Ok(slope.sign()?),
        }
    }

    /// The nearest point of the ball around `images`, pixels clipped to `[0, 1]`.
    fn project(&self, images: &Tensor, perturbed: &Tensor) -> Result<Tensor> {
        let difference = (perturbed - images)?;
        let inside = match self.norm {
            Norm::L2 => {
                let factor = (self.epsilon / lengths(&difference)?.maximum(self.epsilon)?)?;
                difference.broadcast_mul(&factor)?
            }
            Norm::Linf => difference.clamp(-self.epsilon, self.epsilon)?,
        };
        Ok((images + inside)?.clamp(0.0, 1.0)?)
    }

    fn random(&self, images: &Tensor, (seed, epoch, batch): (u64, u64, u64)) -> Result<Tensor> {
        let mut generator = generator(Purpose::Adversary, seed, epoch, batch);
        let count = images.elem_count();
        let values: Vec<f32> = match self.norm {
            Norm::L2 => StandardNormal
                .sample_iter(&mut generator)
                .take(count)
                .collect(),
            Norm::Linf => {
                let uniform = Uniform::new_inclusive(-1.0_f32, 1.0)
                    .map_err(|error| Error::config("epsilon", error.to_string()))?;
                uniform.sample_iter(&mut generator).take(count).collect()
            }
        };
        let noise =
            Tensor::from_vec(values, images.shape(), images.device())?.to_dtype(images.dtype())?;
        match self.norm {
            Norm::L2 => Ok((self.direction(&noise)? * self.epsilon)?),
            Norm::Linf => Ok((noise * self.epsilon)?),
        }
    }
}

/// Euclidean length of each image, `[B, 1, 1, 1]`.
fn lengths(images: &Tensor) -> Result<Tensor> {
    Ok(images
        .sqr()?
        .flatten_from(1)?
        .sum_keepdim(D::Minus1)?
        .sqrt()?
        .unsqueeze(2)?
        .unsqueeze(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, Normalisation};
    use candle_core::Device;

    fn model() -> ResNet {
        let architecture: Architecture = "cifar-resnet8-w4".parse().unwrap();
        let classes = ["a", "b", "c"].map(String::from).to_vec();
        let normalisation = Normalisation {
            mean: [0.5; 3],
            deviation: [0.25; 3],
        };
        ResNet::initialise(architecture, classes, normalisation, 8, 1, &Device::Cpu).unwrap()
    }

    #[test]
    fn stays_in_the_ball_and_in_the_pixel_range_and_raises_the_loss() {
        let model = model();
        let images = Tensor::rand(0.0_f32, 1.0, (4, 3, 8, 8), &Device::Cpu).unwrap();
        let labels = Tensor::new(&[0_u32, 1, 2, 0], &Device::Cpu).unwrap();
        let loss = |x: &Tensor| {
            candle_nn::loss::cross_entropy(&model.logits(x).unwrap(), &labels)
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        for (norm, epsilon) in [(Norm::L2, 0.5), (Norm::Linf, 8.0 / 255.0)] {
            for random_start in [false, true] {
                let adversary = Adversary {
                    random_start,
                    ..Adversary::new(norm, epsilon, 5).unwrap()
                };
                let perturbed = adversary
                    .perturb(&model, &images, &labels, (1, 2, 3))
                    .unwrap();
                let difference = (&perturbed - &images).unwrap();
                let size = match norm {
                    Norm::L2 => lengths(&difference).unwrap().max_all().unwrap(),
                    Norm::Linf => difference.abs().unwrap().max_all().unwrap(),
                };
                let size = size.to_scalar::<f32>().unwrap();
                assert!(
                    size <= epsilon as f32 * 1.0001 && size > 0.3 * epsilon as f32,
                    "{norm:?} {size}"
                );
                let pixels = perturbed.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert!(pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
                assert!(loss(&perturbed) > loss(&images), "{norm:?}");
                let again = adversary
                    .perturb(&model, &images, &labels, (1, 2, 3))
                    .unwrap();
                assert_eq!(
                    again.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                    pixels
                );
            }
        }
        assert!(
            Adversary::new(Norm::L2, 0.0, 5)
                .unwrap_err()
                .to_string()
                .starts_with("--epsilon")
        );
        assert!(
            Adversary::new(Norm::L2, 1.0, 0)
                .unwrap_err()
                .to_string()
                .starts_with("--steps")
        );
    }

    /// One step in each norm, computed with NumPy in f64 from a given gradient (`fixtures/pytorch`).
    #[test]
    fn steps_and_projects_by_the_formulas() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/pytorch/pgd.safetensors"
        );
        let fixture = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let (images, slope) = (&fixture["data/images"], &fixture["data/gradient"]);
        for (norm, name) in [(Norm::L2, "l2"), (Norm::Linf, "linf")] {
            let entry = |part: &str| &fixture[&format!("{name}/{part}")];
            let number =
                |part: &str| entry(part).flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
            let adversary = Adversary {
                norm,
                epsilon: number("epsilon"),
                steps: 1,
                step_size: number("step"),
                random_start: false,
            };
            let moved = (entry("start")
                + (adversary.direction(slope).unwrap() * adversary.step_size).unwrap())
            .unwrap();
            let result = adversary.project(images, &moved).unwrap();
            for (found, expected) in [(&moved, "moved"), (&result, "result")] {
                let difference = (found - entry(expected))
                    .unwrap()
                    .abs()
                    .unwrap()
                    .max_all()
                    .unwrap();
                assert!(
                    difference.to_scalar::<f64>().unwrap() < 1e-14,
                    "{name} {expected}"
                );
            }
        }
    }
}
