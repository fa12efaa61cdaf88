//! Gradients of each image by itself, layer by layer.
//!
//! A pass forward and one back leave what enters each layer and the gradients ḡ of what it gives, for every image of a batch.
//! With P `[C·taps, T]` the [`patches`] of an image at its T places, its gradients are
//!
//! | | |
//! |---|---|
//! | convolution | W̄ = ḡ Pᵀ |
//! | batch norm | s̄ = Σ ḡ x, t̄ = Σ ḡ |
//! | head | W̄ = ḡ xᵀ, b̄ = ḡ |
//!
//! and never all in memory, unless they are asked for: a product with k vectors takes each layer's gradients by a matrix product
//! as they come. That is 3 forward passes and p·k multiplications an image, where tangents along each vector would take 1 + 2k
//! passes: a vector meets an image once, not at every place.

use super::layer::Layer;
use super::products::no_images;
use super::program::{Program, Site, Trace};
use super::{DeviceExamples, DeviceNetwork};
use crate::Result;
use crate::model::op::patches;
use candle_core::{DType, Device, Tensor};

impl DeviceNetwork {
    /// ∇ℓ_i of each image at `positions`, `[m, p]`.
    ///
    /// # Errors
    /// As [`DeviceNetwork::outputs`], or no positions.
    pub fn example_gradients(
        &self,
        examples: &DeviceExamples,
        positions: &[u32],
    ) -> Result<Tensor> {
        let passes = positions.chunks(self.images_written(3 * self.size()));
        let parts = passes.map(|positions| {
            let (trace, softmax) = self.pass(examples, positions)?;
            self.written_out(&trace, &softmax.residuals(self.dtype)?)
        });
        match &parts.collect::<Result<Vec<_>>>()?[..] {
            [] => Err(no_images()),
            parts => Ok(Tensor::cat(parts, 0)?),
        }
    }

    /// ⟨∇ℓ_i, v⟩ for every row v of `vectors` `[k, p]` and image i at `positions`, over the parameters of each segment by
    /// themselves: `[segments, k, m]` in f64 on the host.
    ///
    /// # Errors
    /// As [`DeviceNetwork::outputs`], no positions, or vectors of another size or precision.
    pub fn segment_products(
        &self,
        examples: &DeviceExamples,
        positions: &[u32],
        vectors: &Tensor,
    ) -> Result<Tensor> {
        let count = self.check_vectors(vectors)?;
        let vectors = self.coordinates.inward(&self.space, vectors)?;
        let segments = self.space.segments();
        let mut parts = Vec::new();
        for positions in positions.chunks(self.images_written(0)) {
            let (trace, softmax) = self.pass(examples, positions)?;
            let zeros = Tensor::zeros((count, positions.len()), DType::F64, &self.device)?;
            let mut sums = vec![zeros; segments.len()];
            let residuals = softmax.residuals(self.dtype)?;
            self.visit_written(&trace, &residuals, |place, gradients| {
                let own = self.space.blocks()[place].segment;
                let sum = &mut sums[segments.partition_point(|&segment| segment < own)];
                let gradients = gradients.flatten_from(1)?;
                let products = vectors[place].flatten_from(1)?.matmul(&gradients.t()?)?;
                *sum = (&*sum + products.to_dtype(DType::F64)?)?;
                Ok(())
            })?;
            parts.push(Tensor::stack(&sums, 0)?.to_device(&Device::Cpu)?);
        }
        match &parts[..] {
            [] => Err(no_images()),
            parts => Ok(Tensor::cat(parts, 2)?),
        }
    }

    /// Jᵀs of every image of a trace with its row s of `rows` `[B, C]`, in the stored parameters, `[B, p]`.
    pub(super) fn written_out(&self, trace: &Trace, rows: &Tensor) -> Result<Tensor> {
        let mut found = vec![None; self.inner.len()];
        self.visit_written(trace, rows, |place, gradients| {
            found[place] = Some(gradients);
            Ok(())
        })?;
        self.total(found.into_iter().collect())
    }

    /// The same in the program's parameters, one after the other: their places, and `[B, …]`.
    fn visit_written(
        &self,
        trace: &Trace,
        rows: &Tensor,
        mut visit: impl FnMut(usize, Tensor) -> candle_core::Result<()>,
    ) -> Result<()> {
        let gradients = self.program.gradients(trace, &self.inner, rows)?;
        for (site, gradient) in self.program.sites(trace).zip(gradients.of_layers()) {
            for (place, gradients) in site.written_out(gradient, &self.inner)? {
                visit(place, gradients)?;
            }
        }
        Ok(())
    }
}

impl Program {
    /// The most numbers that an image's patches and gradient take in a layer, from its trace.
    pub(super) fn written_elements(&self, trace: &Trace, parameters: &[Tensor]) -> usize {
        let elements = |(index, site): (usize, Site)| match site.layer {
            Layer::Convolution { weight, .. } => {
                let weight = &parameters[weight];
                let (outputs, all) = (weight.dims()[0], weight.elem_count());
                let patches = all / outputs * (trace.result_elements(index) / outputs);
                patches + all
            }
            Layer::Head { weight, .. } => parameters[weight].elem_count(),
            _ => 0,
        };
        self.sites(trace)
            .enumerate()
            .map(elements)
            .max()
            .unwrap_or(0)
    }
}

/// `[B, C, …]` as `[B, C, T]`.
pub(super) fn by_place(values: &Tensor) -> candle_core::Result<Tensor> {
    values.reshape((values.dim(0)?, values.dim(1)?, ()))
}

impl Site<'_> {
    /// The patches of a layer that multiplies them, `[B, C·taps, T]`; none of other layers.
    pub(super) fn patches(&self, parameters: &[Tensor]) -> candle_core::Result<Option<Tensor>> {
        match self.layer {
            Layer::Convolution { weight, step } => {
                let (_, _, height, width) = parameters[weight].dims4()?;
                patches(self.input, (height, width), step).map(Some)
            }
            Layer::Head { .. } => by_place(self.input).map(Some),
            _ => Ok(None),
        }
    }

    /// Gradients of the layer's parameters, `[B, …]` with their places, from those of its result.
    fn written_out(
        &self,
        gradient: &Tensor,
        parameters: &[Tensor],
    ) -> candle_core::Result<Vec<(usize, Tensor)>> {
        let product = |patches: Tensor| by_place(gradient)?.matmul(&patches.transpose(1, 2)?);
        let weight_gradient = self.patches(parameters)?.map(product).transpose()?;
        let over_places = |values: &Tensor| by_place(values)?.sum(2);
        Ok(match (self.layer, weight_gradient) {
            (Layer::Convolution { weight, .. }, Some(found)) => vec![(weight, found)],
            (Layer::Head { weight, bias }, Some(found)) => {
                vec![(weight, found), (bias, gradient.clone())]
            }
            (Layer::Affine { scale, shift, .. }, _) => vec![
                (scale, over_places(&(self.input * gradient)?)?),
                (shift, over_places(gradient)?),
            ],
            _ => Vec::new(),
        })
    }
}
