//! Parameters of the program: batch norm as a scale and a shift for each channel.
//!
//! In training mode these are γ and β. In evaluation mode γ (x − μ)/σ + β = s x + t with s = γ/σ and t = β − μ s. This is linear
//! in (γ, β): directions go inward by the same map, gradients outward by its adjoint γ̄ = (s̄ − μ t̄)/σ, β̄ = t̄, once for each product
//! instead of once for each batch and layer. All other tensors are as they are stored.

use crate::Result;
use crate::derivative::network::assembly::missing;
use crate::derivative::network::space::ParameterSpace;
use crate::model::{EPSILON, ResNet};
use candle_core::{DType, Device, Tensor};

/// The maps between stored parameters and those of the program; by default those of training mode.
#[derive(Default)]
pub(super) struct Coordinates {
    norms: Vec<Norm>,
}

/// A batch norm: the places of its γ and β in the space, its μ and 1/σ.
struct Norm {
    gamma: usize,
    beta: usize,
    mean: Tensor,
    inverse: Tensor,
}

impl Coordinates {
    pub(super) fn new(model: &ResNet, space: &ParameterSpace, device: &Device) -> Result<Self> {
        let blocks = space.blocks();
        let mut norms = Vec::new();
        for (gamma, block) in blocks.iter().enumerate() {
            let Some(name) = block.name.strip_suffix(".weight") else {
                continue;
            };
            let Some(variance) = model.tensors().get(&format!("{name}.running_var")) else {
                continue;
            };
            let mean = format!("{name}.running_mean");
            let mean = model.tensors().get(&mean).ok_or_else(|| missing(&mean))?;
            let bias = format!("{name}.bias");
            let beta = blocks.iter().position(|block| block.name == bias);
            let dtype = variance.dtype();
            let variance = variance.to_device(device)?.to_dtype(DType::F64)?;
            norms.push(Norm {
                gamma,
                beta: beta.ok_or_else(|| missing(&bias))?,
                mean: mean.detach().to_device(device)?,
                inverse: (variance + EPSILON)?.sqrt()?.recip()?.to_dtype(dtype)?,
            });
        }
        Ok(Self { norms })
    }

    /// Parameter vectors or directions `[k, p]` as tensors `[k, …]` of the program, in the order of the space.
    pub(super) fn inward(&self, space: &ParameterSpace, vectors: &Tensor) -> Result<Vec<Tensor>> {
        let count = vectors.dims2()?.0;
        let part = |block: &crate::derivative::network::ParameterBlock| {
            let part = vectors.narrow(1, block.range.start, block.range.len())?;
            let mut shape = vec![count];
            shape.extend(&block.shape);
            // A copy of its own begins where a device likes it.
            part.force_contiguous()?.reshape(shape)
        };
        let mut parts = (space.blocks().iter())
            .map(part)
            .collect::<candle_core::Result<Vec<_>>>()?;
        for norm in &self.norms {
            let scale = parts[norm.gamma].broadcast_mul(&norm.inverse)?;
            parts[norm.beta] = (&parts[norm.beta] - scale.broadcast_mul(&norm.mean)?)?;
            parts[norm.gamma] = scale;
        }
        Ok(parts)
    }

    /// The same of one vector `[p]`, without the rows.
    pub(super) fn inward_one(
        &self,
        space: &ParameterSpace,
        vector: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let parts = self.inward(space, &vector.unsqueeze(0)?)?;
        let parts = parts.iter().map(|part| part.squeeze(0));
        Ok(parts.collect::<candle_core::Result<_>>()?)
    }

    /// Gradients `[k, …]` in the program's tensors as those in the stored parameters, `[k, p]`: the adjoint.
    pub(super) fn outward(&self, mut gradients: Vec<Tensor>) -> Result<Tensor> {
        for norm in &self.norms {
            let shared = gradients[norm.beta].broadcast_mul(&norm.mean)?;
            let scale = (&gradients[norm.gamma] - shared)?;
            gradients[norm.gamma] = scale.broadcast_mul(&norm.inverse)?;
        }
        let flat = (gradients.iter())
            .map(|gradient| gradient.flatten_from(1))
            .collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Tensor::cat(&flat, 1)?)
    }
}
