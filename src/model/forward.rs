//! The passes forward: images or activations in, activations, features or logits out, segment by segment.
//!
//! Where a [`Pass`] asks for it each layer leaves what the way back needs ([`super::trace`]).

use super::layers::{NormedConvolution, Segment};
use super::op::{
    Window, add_rectify, batch_moments, channel_affine, convolve, folded_norm, max_pool,
};
use super::pass::Pass;
use super::resnet::{EPSILON, ResNet};
use super::trace::{LayerTrace, NormTrace, Traced};
use crate::{Error, Result};
use candle_core::Tensor;

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
            activation = match &self.segments()[segment] {
                Segment::Stem { layer, pool } => self.stem((layer, *pool), &activation, pass)?,
                Segment::Block { way, projection } => {
                    let layers = (&way[..], projection.as_ref());
                    self.block(layers, &activation, (segment, pass))?
                }
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

    fn stem(
        &self,
        (layer, pool): (&NormedConvolution, Option<Window>),
        images: &Tensor,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let x = self.normalise(images)?.to_dtype(self.activations())?;
        if let Some(trace) = pass.trace_of(0) {
            trace.push(Traced::Normalised {
                scale: self.pixel_scale(images)?.0,
                dtype: images.dtype(),
            });
        }
        let x = self.layer(layer, &x, (0, pass), true)?;
        let Some(window) = pool else {
            return Ok(x);
        };
        let pooled = max_pool(&x, window)?;
        if let Some(trace) = pass.trace_of(0) {
            trace.push(Traced::Pooled { input: x, window });
        }
        Ok(pooled)
    }

    fn block(
        &self,
        (way, projection): (&[NormedConvolution], Option<&NormedConvolution>),
        x: &Tensor,
        (segment, pass): (usize, &mut Pass),
    ) -> Result<Tensor> {
        let mut h = x.clone();
        for (number, layer) in (1..).zip(way) {
            h = self.layer(layer, &h, (segment, pass), number < way.len())?;
        }
        let shortcut = match projection {
            Some(layer) => self.layer(layer, x, (segment, pass), false)?,
            None => x.clone(),
        };
        let output = add_rectify(&h, &shortcut)?;
        if let Some(trace) = pass.trace_of(segment) {
            trace.push(Traced::Block {
                projects: projection.is_some(),
                layers: way.len(),
                output: output.clone(),
            });
        }
        Ok(output)
    }

    /// A convolution, its batch norm, and the rectifier where there is one.
    fn layer(
        &self,
        layer: &NormedConvolution,
        x: &Tensor,
        (segment, pass): (usize, &mut Pass),
        rectified: bool,
    ) -> Result<Tensor> {
        let as_activations = |tensor: &Tensor| tensor.to_dtype(self.activations());
        let weight = as_activations(self.tensor(&format!("{}.weight", layer.name))?)?;
        let convolved = convolve(x, &weight, layer.step)?;
        let applied = self.norm(&layer.norm, &convolved, (segment, &*pass))?;
        let output = applied.apply(&convolved, rectified)?;
        if let NormTrace::Batch { moments, .. } = &applied {
            pass.observed.push((layer.norm.clone(), moments.clone()));
        }
        if let Some(trace) = pass.trace_of(segment) {
            trace.push(Traced::Layer(LayerTrace {
                convolution: layer.name.clone(),
                norm: layer.norm.clone(),
                segment,
                step: layer.step,
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
