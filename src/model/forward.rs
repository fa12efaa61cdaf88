//! The passes forward: images or activations in, activations, features or logits out, segment by segment.
//!
//! Where a [`Pass`] asks for it each layer leaves what the way back needs ([`super::trace`]).

use super::architecture::{BlockKind, Stem};
use super::op::{
    Convolution, Window, add_rectify, batch_moments, channel_affine, convolve, folded_norm,
    max_pool,
};
use super::pass::Pass;
use super::resnet::{EPSILON, ResNet};
use super::trace::{LayerTrace, NormTrace, Traced};
use crate::{Error, Result};
use candle_core::Tensor;

/// Of torchvision's ResNets.
const STEM_POOL: Window = Window {
    size: 3,
    stride: 2,
    padding: 1,
};

impl ResNet {
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
            false => activation.to_dtype(self.activations())?,
        };
        for segment in first..last {
            activation = if segment == 0 {
                self.stem(&activation, pass)?
            } else {
                self.block(segment, &activation, pass)?
            };
            if segment + 1 == self.head_segment() {
                if let Some(trace) = pass.trace_of(segment) {
                    trace.push(Traced::Averaged {
                        shape: activation.dims4()?.into(),
                        dtype: activation.dtype(),
                    });
                }
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
        let (scale, shift) = self.pixel_scale(images)?;
        Ok(channel_affine(images, &scale, &shift)?)
    }

    fn stem(&self, images: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let x = self.normalise(images)?.to_dtype(self.activations())?;
        if let Some(trace) = pass.trace_of(0) {
            trace.push(Traced::Normalised {
                scale: self.pixel_scale(images)?.0,
                dtype: images.dtype(),
            });
        }
        let (stride, padding) = match self.architecture().stem() {
            Stem::Cifar => (1, 1),
            Stem::ImageNet => (2, 3),
        };
        let step = Convolution { stride, padding };
        let x = self.layer(("conv1", "bn1"), &x, step, (0, pass), true)?;
        match self.architecture().stem() {
            Stem::Cifar => Ok(x),
            Stem::ImageNet => {
                let pooled = max_pool(&x, STEM_POOL)?;
                if let Some(trace) = pass.trace_of(0) {
                    trace.push(Traced::Pooled {
                        input: x,
                        window: STEM_POOL,
                    });
                }
                Ok(pooled)
            }
        }
    }

    fn block(&self, segment: usize, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let block = &self.blocks()[segment - 1];
        let stride = block.stride;
        // (stride, padding) of the block's convolutions in turn
        let steps: &[(usize, usize)] = match self.architecture().kind() {
            BlockKind::Basic => &[(stride, 1), (1, 1)],
            BlockKind::Bottleneck => &[(1, 0), (stride, 1), (1, 0)],
        };
        let mut h = x.clone();
        for (index, &(stride, padding)) in steps.iter().enumerate() {
            let [convolution, norm] =
                ["conv", "bn"].map(|kind| format!("{}.{kind}{}", block.name, index + 1));
            let (names, rectified) = ((&*convolution, &*norm), index + 1 < steps.len());
            let step = Convolution { stride, padding };
            h = self.layer(names, &h, step, (segment, pass), rectified)?;
        }
        let mut shortcut = x.clone();
        if block.projects() {
            let [convolution, norm] =
                [0, 1].map(|part| format!("{}.downsample.{part}", block.name));
            let step = Convolution { stride, padding: 0 };
            let names = (&*convolution, &*norm);
            shortcut = self.layer(names, x, step, (segment, pass), false)?;
        }
        let output = add_rectify(&h, &shortcut)?;
        if let Some(trace) = pass.trace_of(segment) {
            trace.push(Traced::Block {
                projects: block.projects(),
                layers: steps.len(),
                output: output.clone(),
            });
        }
        Ok(output)
    }

    /// A convolution, its batch norm, and the rectifier where there is one.
    fn layer(
        &self,
        (convolution, norm): (&str, &str),
        x: &Tensor,
        step: Convolution,
        (segment, pass): (usize, &mut Pass),
        rectified: bool,
    ) -> Result<Tensor> {
        let as_activations = |tensor: &Tensor| tensor.to_dtype(self.activations());
        let weight = as_activations(self.tensor(&format!("{convolution}.weight"))?)?;
        let convolved = convolve(x, &weight, step)?;
        let applied = self.norm(norm, &convolved, (segment, &*pass))?;
        let output = applied.apply(&convolved, rectified)?;
        if let NormTrace::Batch { moments, .. } = &applied {
            pass.observed.push((norm.to_owned(), moments.clone()));
        }
        if let Some(trace) = pass.trace_of(segment) {
            trace.push(Traced::Layer(LayerTrace {
                convolution: convolution.to_owned(),
                norm: norm.to_owned(),
                segment,
                step,
                input: x.clone(),
                weight,
                convolved,
                applied,
                rectified: rectified.then(|| output.clone()),
            }));
        }
        Ok(output)
    }

    /// What batch norm does to `x`, by the batch's own moments or by the running statistics.
    fn norm(&self, name: &str, x: &Tensor, (segment, pass): (usize, &Pass)) -> Result<NormTrace> {
        let part = |part: &str| self.tensor(&format!("{name}.{part}"));
        let as_activations = |tensor: &Tensor| tensor.to_dtype(self.activations());
        let (gamma, beta) = (part("weight")?, part("bias")?);
        if pass.has_batch_statistics(segment) {
            if let [1, _, 1, 1] = x.dims() {
                let reason = "a batch of one image, whose channels come down to one pixel, has no statistics for batch norm; choose a \
                    size that leaves no such batch at the end of an epoch, or a larger --side";
                return Err(Error::config("batch-size", reason));
            }
            return Ok(NormTrace::Batch {
                gamma: as_activations(gamma)?,
                beta: as_activations(beta)?,
                moments: batch_moments(x)?,
            });
        }
        if let Some((scale, shift)) = self.folded(name) {
            let (scale, shift) = (scale.clone(), shift.clone());
            return Ok(NormTrace::Running { scale, shift });
        }
        let statistics = [gamma, beta, part("running_mean")?, part("running_var")?];
        let (scale, shift) = folded_norm(statistics, EPSILON)?;
        Ok(NormTrace::Running {
            scale: as_activations(&scale)?,
            shift: as_activations(&shift)?,
        })
    }
}
