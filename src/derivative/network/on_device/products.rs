//! Products of the loss's derivatives with vectors: sums over passes, every vector of a block at the values of a pass, and as many
//! as memory is meant for side by side.

use super::program::{TangentsOf, Trace};
use super::softmax::Softmax;
use super::{DeviceExamples, DeviceNetwork};
use crate::derivative::head::HeadOutputs;
use crate::derivative::network::Curvature;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

impl DeviceNetwork {
    /// Losses, probabilities and predictions of the images at `positions`, on the host.
    ///
    /// # Errors
    /// Examples of another shape, precision or with other classes, or a position out of range.
    pub fn outputs(
        &self,
        examples: &DeviceExamples,
        positions: &[u32],
    ) -> Result<Vec<HeadOutputs>> {
        let pass = |positions: &[u32]| {
            let (input, labels) = self.read(examples, positions)?;
            let logits = self.program.logits(&input, &self.inner)?;
            HeadOutputs::from_logits(&logits.to_device(&Device::Cpu)?, &labels)
        };
        positions.chunks(self.pass_images).map(pass).collect()
    }

    /// Σ ∇ℓ_i over the images at `positions`, `[p]`.
    ///
    /// # Errors
    /// As [`DeviceNetwork::outputs`], or no positions.
    pub fn gradient(&self, examples: &DeviceExamples, positions: &[u32]) -> Result<Tensor> {
        let mut sum = None;
        for pass in positions.chunks(self.pass_images) {
            let (trace, softmax) = self.pass(examples, pass)?;
            let residuals = softmax.residuals(self.dtype)?.unsqueeze(1)?;
            let found = (self.program).pulled_back(&trace, &self.inner, None, residuals)?;
            add(&mut sum, found)?;
        }
        Ok(self.total(sum)?.squeeze(0)?)
    }

    /// Σ ∇²ℓ_i v or Σ J_iᵀ (diag π_i − π_i π_iᵀ) J_i v over the images at `positions`, for every row v of `vectors` `[k, p]`;
    /// no mean, no L2 term.
    ///
    /// # Errors
    /// As [`DeviceNetwork::outputs`], no positions, or vectors of another size or precision.
    pub fn curvature_products(
        &self,
        curvature: Curvature,
        (examples, positions): (&DeviceExamples, &[u32]),
        vectors: &Tensor,
    ) -> Result<Tensor> {
        let of_gradients = curvature == Curvature::Hessian;
        let groups = self.directions(vectors, of_gradients)?;
        let mut sums: Vec<Option<Vec<Tensor>>> = vec![None; groups.len()];
        for pass in positions.chunks(self.images_beside(&groups)) {
            let (trace, softmax) = self.pass(examples, pass)?;
            let gradients = match curvature {
                Curvature::GaussNewton => None,
                Curvature::Hessian => {
                    let residuals = softmax.residuals(self.dtype)?;
                    Some(self.program.gradients(&trace, &self.inner, &residuals)?)
                }
            };
            for (directions, sum) in groups.iter().zip(&mut sums) {
                let tangents = self.program.tangents(&trace, &self.inner, directions)?;
                let slopes = softmax.curvature(tangents.logits()?)?;
                // The tangents go on or, for Gauss–Newton, are freed here.
                let of = gradients.as_ref().map(|gradients| TangentsOf {
                    gradients,
                    tangents,
                    directions,
                    pulls: BTreeMap::new(),
                });
                let found = (self.program).pulled_back(&trace, &self.inner, of.as_ref(), slopes)?;
                add(sum, found)?;
            }
        }
        let groups = sums.into_iter().map(|sum| self.total(sum));
        Ok(Tensor::cat(&groups.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// The values of the images at `positions`, and the loss at their logits.
    pub(super) fn pass(
        &self,
        examples: &DeviceExamples,
        positions: &[u32],
    ) -> Result<(Trace, Softmax)> {
        let (input, labels) = self.read(examples, positions)?;
        let trace = self.program.trace(&input, &self.inner)?;
        let softmax = Softmax::of(trace.logits(), &self.labels(&labels)?)?;
        Ok((trace, softmax))
    }

    /// Sums of gradients in the inner parameters as vectors, `[k, p]`.
    pub(super) fn total(&self, sum: Option<Vec<Tensor>>) -> Result<Tensor> {
        self.coordinates.outward(sum.ok_or_else(no_images)?)
    }
}

/// A product over no images has no shape.
pub(super) fn no_images() -> Error {
    Error::mismatch("images", "at least one", "none", "give their positions")
}

/// Adds a gradient to a sum.
fn add(sum: &mut Option<Vec<Tensor>>, gradient: Vec<Tensor>) -> candle_core::Result<()> {
    *sum = Some(match sum.take() {
        None => gradient,
        Some(sum) => (sum.iter().zip(&gradient))
            .map(|(sum, part)| sum + part)
            .collect::<candle_core::Result<_>>()?,
    });
    Ok(())
}
