//! The running statistics of batch norms as variables: what is measured in evaluation mode depends on them.
//!
//! With g the gradient of what batch norm gives, x̂ its normalised input and s = 1/√(σ² + ε), gradients with respect to them are sums of
//! the same numbers as those with respect to γ and β: μ̄ = −γ s Σ g = −γ s β̄ and σ̄² = −γ s² Σ g x̂ / 2 = −γ s² γ̄ / 2.

use super::ParameterSpace;
use super::assembly::missing;
use crate::model::{EPSILON, ResNet};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// Those of a model. A vector over them holds mean and variance of one batch norm after the other.
pub(super) struct RunningStatistics {
    norms: Vec<Norm>,
    /// Numbers of a parameter vector.
    parameters: usize,
}

/// A batch norm.
struct Norm {
    /// γ and β in a parameter vector.
    gamma: Range<usize>,
    beta: Range<usize>,
    /// γ s and s², by channel.
    scale: Vec<f64>,
    inverse_variance: Vec<f64>,
}

impl RunningStatistics {
    /// Of the batch norms with these names in `model`, whose parameters are in `space`.
    pub(super) fn of<'a>(
        model: &ResNet,
        space: &ParameterSpace,
        norms: impl Iterator<Item = &'a str>,
    ) -> Result<Self> {
        let norm = |name: &str| {
            let values = |part: &str| -> Result<Vec<f64>> {
                let name = format!("{name}.{part}");
                let tensor = model.tensors().get(&name).ok_or_else(|| missing(&name))?;
                let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
                Ok(tensor.to_vec1()?)
            };
            let range = |part: &str| {
                let name = format!("{name}.{part}");
                space.range(&name).ok_or_else(|| missing(&name))
            };
            let variances = values("running_var")?.into_iter();
            let inverse_variance: Vec<f64> = variances.map(|v| 1.0 / (v + EPSILON)).collect();
            let gamma = values("weight")?.into_iter().zip(&inverse_variance);
            Ok(Norm {
                gamma: range("weight")?,
                beta: range("bias")?,
                scale: gamma
                    .map(|(gamma, inverse)| gamma * inverse.sqrt())
                    .collect(),
                inverse_variance,
            })
        };
        Ok(Self {
            norms: norms.map(norm).collect::<Result<_>>()?,
            parameters: space.size(),
        })
    }

    /// Numbers of a vector over them.
    pub(super) fn size(&self) -> usize {
        self.norms.iter().map(|norm| 2 * norm.scale.len()).sum()
    }

    /// Refuses vectors over them that are not so many, or of another size.
    pub(super) fn check(&self, vectors: &Tensor, count: usize) -> Result<()> {
        check_shape(
            "vectors over running statistics",
            vectors,
            [count, self.size()],
        )
    }

    /// The gradients with respect to them, `[k, s]` on the processor, of what has `gradients` `[k, p]` with respect to the parameters in
    /// evaluation mode.
    pub(super) fn gradients(&self, gradients: &Tensor) -> Result<Tensor> {
        let expected = [gradients.dims2()?.0, self.parameters];
        check_shape("gradients of parameters", gradients, expected)?;
        let here = gradients.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let rows = here.to_vec2::<f64>()?;
        let mut found = Vec::with_capacity(rows.len() * self.size());
        for row in &rows {
            for norm in &self.norms {
                let (of_gamma, of_beta) = (&row[norm.gamma.clone()], &row[norm.beta.clone()]);
                let pairs = norm.scale.iter().zip(of_beta);
                found.extend(pairs.map(|(scale, beta)| -scale * beta));
                let pairs = (norm.scale.iter().zip(&norm.inverse_variance)).zip(of_gamma);
                found.extend(
                    pairs.map(|((scale, inverse), gamma)| -0.5 * scale * inverse.sqrt() * gamma),
                );
            }
        }
        let found = Tensor::from_vec(found, (rows.len(), self.size()), &Device::Cpu)?;
        Ok(found.to_dtype(gradients.dtype())?)
    }
}

fn check_shape(what: &str, vectors: &Tensor, expected: [usize; 2]) -> Result<()> {
    match vectors.dims() == expected {
        true => Ok(()),
        false => Err(Error::mismatch(
            what,
            format!("{expected:?}"),
            format!("{:?}", vectors.dims()),
            "use vectors over the network's own parameters and statistics",
        )),
    }
}
