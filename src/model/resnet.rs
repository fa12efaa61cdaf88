//! A residual network as plain named tensors, run segment by segment.
//!
//! Images enter as `[B, 3, H, W]` with pixels in `[0, 1]`; the normalisation is part of the model, so that an
//! adversary's ε is in pixel units. Parameter names are torchvision's. Layers hold no state of their own: a model is
//! its map of tensors, and what is trained is decided by which of them are variables.

use super::architecture::{Architecture, Block, BlockKind, Stem};
use super::op::{
    BatchMoments, Convolution, RunningStatistics, Window, add_rectify, batch_moments, batch_norm,
    channel_affine, convolve, folded_norm, max_pool, rectified_batch_norm,
    rectified_channel_affine,
};
use crate::data::Pixels;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Added to a variance before its root, as in PyTorch.
pub(crate) const EPSILON: f64 = 1e-5;
/// Weight of the newest batch in the running statistics, as in PyTorch.
const MOMENTUM: f64 = 0.1;

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

/// Which statistics batch norm uses, and what it saw.
#[derive(Debug)]
pub struct Pass {
    /// Segments from here on use the batch's own moments; `None`: all use the running statistics.
    batch_statistics_from: Option<usize>,
    observed: Vec<(String, BatchMoments)>,
}

impl Pass {
    /// Evaluation mode: running statistics everywhere.
    #[must_use]
    pub fn evaluation() -> Self {
        Self {
            batch_statistics_from: None,
            observed: Vec::new(),
        }
    }

    /// Training mode for the segments from `segment` on, evaluation mode before.
    #[must_use]
    pub fn training_from(segment: usize) -> Self {
        Self {
            batch_statistics_from: Some(segment),
            observed: Vec::new(),
        }
    }
}

/// A ResNet with its weights, running statistics, classes and normalisation.
#[derive(Debug, Clone)]
pub struct ResNet {
    architecture: Architecture,
    blocks: Vec<Block>,
    classes: Vec<String>,
    normalisation: Normalisation,
    side: usize,
    tensors: BTreeMap<String, Tensor>,
    activations: DType,
}

impl ResNet {
    /// Assembles a model from named tensors, which must be complete and of the right shapes
    /// ([`super::expected_shapes`]).
    ///
    /// # Errors
    /// Names the first tensor that is missing, left over, of the wrong shape or dtype; or no classes, no side, a
    /// deviation that is not positive.
    pub fn new(
        architecture: Architecture,
        classes: Vec<String>,
        normalisation: Normalisation,
        side: usize,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self> {
        super::parameters::check_description(&classes, normalisation, side)?;
        super::parameters::check(&architecture, classes.len(), &tensors)?;
        let blocks = architecture.blocks();
        Ok(Self {
            architecture,
            blocks,
            classes,
            normalisation,
            side,
            activations: tensors["fc.weight"].dtype(),
            tensors,
        })
    }

    /// The architecture.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Class names, in the order of the logits.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The input normalisation.
    #[must_use]
    pub fn normalisation(&self) -> Normalisation {
        self.normalisation
    }

    /// Height and width of the images the model was trained on.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// All tensors by torchvision name, running statistics included.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Number of the head's segment, B + 1.
    #[must_use]
    pub fn head_segment(&self) -> usize {
        self.blocks.len() + 1
    }

    /// The same model for images of another height and width.
    ///
    /// # Errors
    /// Where the side is 0.
    pub fn with_side(self, side: usize) -> Result<Self> {
        super::parameters::check_description(&self.classes, self.normalisation, side)?;
        Ok(Self { side, ..self })
    }

    /// The same model with weights that are constants; it shares their storage.
    #[must_use]
    pub fn detached(&self) -> Self {
        let tensors = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.detach()))
            .collect();
        Self {
            tensors,
            ..self.clone()
        }
    }

    /// The same model, its weights constants, on another device.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let moved = |(name, tensor): (&String, &Tensor)| {
            Ok((name.clone(), tensor.detach().to_device(device)?))
        };
        let tensors = self.tensors.iter().map(moved).collect::<Result<_>>()?;
        Ok(Self {
            tensors,
            ..self.clone()
        })
    }

    /// The same model, whose convolutions and what is between them are computed in `activations`; parameters, running
    /// statistics, features and head stay as they are.
    #[must_use]
    pub fn with_activations(self, activations: DType) -> Self {
        Self {
            activations,
            ..self
        }
    }

    /// What activations are computed in.
    #[must_use]
    pub fn activations(&self) -> DType {
        self.activations
    }

    /// The same model in another dtype.
    ///
    /// # Errors
    /// Where candle cannot convert.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let convert = |(name, tensor): (&String, &Tensor)| {
            Ok((name.clone(), tensor.detach().to_dtype(dtype)?))
        };
        let tensors = self.tensors.iter().map(convert).collect::<Result<_>>()?;
        Ok(Self {
            tensors,
            activations: dtype,
            ..self.clone()
        })
    }

    /// Turns the parameters of the segments from `first` on into variables and returns them by name;
    /// everything else becomes a constant.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn make_trainable(&mut self, first: usize) -> Result<BTreeMap<String, Var>> {
        let mut variables = BTreeMap::new();
        for (name, tensor) in &mut self.tensors {
            *tensor = tensor.detach();
            if !is_statistic(name) && self.architecture.segment_of(name) >= first {
                let variable = Var::from_tensor(tensor)?;
                *tensor = variable.as_tensor().clone();
                variables.insert(name.clone(), variable);
            }
        }
        Ok(variables)
    }

    /// Replaces the classifier head; the classes become those given.
    ///
    /// # Errors
    /// Where the shapes do not fit: `weight` is `[classes, feature dimension]`, `bias` `[classes]`.
    pub fn with_head(mut self, classes: Vec<String>, weight: Tensor, bias: Tensor) -> Result<Self> {
        self.tensors.insert("fc.weight".into(), weight);
        self.tensors.insert("fc.bias".into(), bias);
        let model = Self::new(
            self.architecture,
            classes,
            self.normalisation,
            self.side,
            self.tensors,
        )?;
        Ok(model.with_activations(self.activations))
    }

    /// The head's weight `[C, d]` and bias `[C]`, as constants.
    ///
    /// # Errors
    /// Never for an assembled model.
    pub fn head_parameters(&self) -> Result<(Tensor, Tensor)> {
        Ok((
            self.tensor("fc.weight")?.detach(),
            self.tensor("fc.bias")?.detach(),
        ))
    }

    /// Logits `[B, C]` of images `[B, 3, H, W]`.
    ///
    /// # Errors
    /// Where the images do not have three channels or are too small.
    pub fn forward(&self, images: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        self.head(&self.features_from(0, images, pass)?)
    }

    /// Logits in evaluation mode.
    ///
    /// # Errors
    /// As [`ResNet::forward`].
    pub fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.forward(images, &mut Pass::evaluation())
    }

    /// What enters `segment` (0: the images themselves), from what enters segment 0.
    ///
    /// # Errors
    /// As [`ResNet::forward`].
    pub fn prefix(&self, segment: usize, images: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        self.run(0, segment, images, pass)
    }

    /// Features `[B, d]` from what enters `segment`. Of the head's segment the input is the features themselves.
    ///
    /// # Errors
    /// As [`ResNet::forward`].
    pub fn features_from(
        &self,
        segment: usize,
        activation: &Tensor,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        self.run(segment, self.head_segment(), activation, pass)
    }

    /// Logits `[B, C]` of features `[B, d]`.
    ///
    /// # Errors
    /// Where the feature dimension differs.
    pub fn head(&self, features: &Tensor) -> Result<Tensor> {
        Ok(features
            .matmul(&self.tensor("fc.weight")?.t()?)?
            .broadcast_add(self.tensor("fc.bias")?)?)
    }

    /// Moves the running statistics towards the moments seen during `pass` (momentum 0.1, unbiased variance).
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn absorb(&mut self, pass: Pass) -> Result<()> {
        for (layer, moments) in pass.observed {
            let [mean, variance] =
                ["running_mean", "running_var"].map(|statistic| format!("{layer}.{statistic}"));
            let running = RunningStatistics {
                mean: self.tensor(&mean)?.clone(),
                variance: self.tensor(&variance)?.clone(),
            };
            let moved = running.moved(&moments, MOMENTUM)?;
            self.tensors.insert(mean, moved.mean);
            self.tensors.insert(variance, moved.variance);
        }
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            Error::mismatch(
                format!("model {}", self.architecture),
                format!("a tensor {name}"),
                "none",
                "the weight file is incomplete",
            )
        })
    }

    /// Runs the segments `first..last`; the last step before the head is the global average pool.
    fn run(
        &self,
        first: usize,
        last: usize,
        activation: &Tensor,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let mut activation = match first == 0 || first == self.head_segment() {
            true => activation.clone(),
            false => activation.to_dtype(self.activations)?,
        };
        for segment in first..last {
            activation = if segment == 0 {
                self.stem(&activation, pass)?
            } else {
                self.block(segment, &activation, pass)?
            };
            if segment + 1 == self.head_segment() {
                let features = self.tensor("fc.weight")?.dtype();
                activation = activation.to_dtype(features)?.flatten_from(2)?.mean(2)?;
            }
        }
        Ok(activation)
    }

    /// Images `[B, 3, H, W]` with pixels in [0, 1], shifted and scaled as the stem wants them.
    ///
    /// # Errors
    /// Where the images do not have three channels.
    pub fn normalise(&self, images: &Tensor) -> Result<Tensor> {
        let constant = |values: [f64; 3]| -> Result<Tensor> {
            Ok(Tensor::new(&values, images.device())?.to_dtype(images.dtype())?)
        };
        let Normalisation { mean, deviation } = self.normalisation;
        let scale = deviation.map(|deviation| 1.0 / deviation);
        let shift = [0, 1, 2].map(|c| -mean[c] * scale[c]);
        Ok(channel_affine(
            images,
            &constant(scale)?,
            &constant(shift)?,
        )?)
    }

    fn stem(&self, images: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let x = self.normalise(images)?.to_dtype(self.activations)?;
        match self.architecture.stem() {
            Stem::Cifar => self.layer("conv1", "bn1", &x, (1, 1), (0, pass), true),
            Stem::ImageNet => {
                let x = self.layer("conv1", "bn1", &x, (2, 3), (0, pass), true)?;
                Ok(max_pool(
                    &x,
                    Window {
                        size: 3,
                        stride: 2,
                        padding: 1,
                    },
                )?)
            }
        }
    }

    fn block(&self, segment: usize, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let block = &self.blocks[segment - 1];
        let stride = block.stride;
        // (stride, padding) of the block's convolutions in turn
        let steps: &[(usize, usize)] = match self.architecture.kind() {
            BlockKind::Basic => &[(stride, 1), (1, 1)],
            BlockKind::Bottleneck => &[(1, 0), (stride, 1), (1, 0)],
        };
        let mut h = x.clone();
        for (index, &step) in steps.iter().enumerate() {
            let (convolution, norm) = (
                format!("{}.conv{}", block.name, index + 1),
                format!("{}.bn{}", block.name, index + 1),
            );
            let rectified = index + 1 < steps.len();
            h = self.layer(&convolution, &norm, &h, step, (segment, pass), rectified)?;
        }
        let shortcut = if block.projects() {
            let (convolution, norm) = (
                format!("{}.downsample.0", block.name),
                format!("{}.downsample.1", block.name),
            );
            self.layer(&convolution, &norm, x, (stride, 0), (segment, pass), false)?
        } else {
            x.clone()
        };
        Ok(add_rectify(&h, &shortcut)?)
    }

    /// A convolution, its batch norm, and the rectifier where there is one.
    fn layer(
        &self,
        convolution: &str,
        norm: &str,
        x: &Tensor,
        (stride, padding): (usize, usize),
        (segment, pass): (usize, &mut Pass),
        rectified: bool,
    ) -> Result<Tensor> {
        let as_activations = |tensor: &Tensor| tensor.to_dtype(self.activations);
        let weight = self.tensor(&format!("{convolution}.weight"))?;
        let x = convolve(x, &as_activations(weight)?, Convolution { stride, padding })?;
        let (gamma, beta) = (
            self.tensor(&format!("{norm}.weight"))?,
            self.tensor(&format!("{norm}.bias"))?,
        );
        if pass
            .batch_statistics_from
            .is_some_and(|first| segment >= first)
        {
            let moments = batch_moments(&x)?;
            pass.observed.push((norm.to_owned(), moments.clone()));
            let (gamma, beta) = (as_activations(gamma)?, as_activations(beta)?);
            let normalise = match rectified {
                true => rectified_batch_norm,
                false => batch_norm,
            };
            return Ok(normalise(&x, &gamma, &beta, moments, EPSILON)?);
        }
        let (mean, variance) = (
            self.tensor(&format!("{norm}.running_mean"))?,
            self.tensor(&format!("{norm}.running_var"))?,
        );
        let (scale, shift) = folded_norm([gamma, beta, mean, variance], EPSILON)?;
        let (scale, shift) = (as_activations(&scale)?, as_activations(&shift)?);
        Ok(match rectified {
            true => rectified_channel_affine(&x, &scale, &shift)?,
            false => channel_affine(&x, &scale, &shift)?,
        })
    }

    /// The device the weights are on.
    ///
    /// # Errors
    /// Never for an assembled model.
    pub fn device(&self) -> Result<&Device> {
        Ok(self.tensor("fc.weight")?.device())
    }
}

/// Whether a tensor is a running statistic of batch norm rather than a parameter.
pub(crate) fn is_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}
