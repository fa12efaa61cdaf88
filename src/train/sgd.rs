//! Stochastic gradient descent with momentum and an L2 term, as PyTorch defines it.
//!
//! `g ← ∇L + l2·θ`, `v ← momentum·v + g`, `θ ← θ − rate·v`, with `v = g` in the first step. The L2 term is
//! `l2/2·‖θ‖²` over every trained parameter, biases and batch norm included, as in the paper's code; the influence
//! of the head counts the same term into its curvature.

#[cfg(feature = "cuda")]
use crate::model::op::cuda::{Descending, Descent, descend};
use crate::model::op::{accelerate, advance};
use crate::{Error, Result};
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// The optimiser and its velocities.
#[derive(Debug)]
pub struct Sgd {
    variables: BTreeMap<String, Var>,
    velocities: BTreeMap<String, Tensor>,
    momentum: f64,
    l2: f64,
}

impl Sgd {
    /// An optimiser at rest.
    #[must_use]
    pub fn new(variables: BTreeMap<String, Var>, momentum: f64, l2: f64) -> Self {
        Self {
            variables,
            velocities: BTreeMap::new(),
            momentum,
            l2,
        }
    }

    /// Velocities by parameter name; empty before the first step.
    #[must_use]
    pub fn velocities(&self) -> &BTreeMap<String, Tensor> {
        &self.velocities
    }

    /// Takes up velocities saved earlier, which change in place from then on.
    pub fn resume(&mut self, velocities: BTreeMap<String, Tensor>) {
        self.velocities = velocities;
    }

    /// One step along `gradients`, by parameter name; on a CUDA device they may be in bf16.
    ///
    /// # Errors
    /// Where a gradient is missing or shapes differ.
    pub fn step(&mut self, gradients: &BTreeMap<String, Tensor>, rate: f64) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.variables.values().any(|it| it.device().is_cuda()) {
            return self.step_on_device(gradients, rate);
        }
        for (name, variable) in &self.variables {
            let gradient = gradient_of(gradients, name)?;
            let parameter = variable.as_detached_tensor();
            match self.velocities.get(name) {
                Some(velocity) => {
                    let gradient = gradient.detach();
                    accelerate(velocity, &gradient, &parameter, (self.momentum, self.l2))?;
                    advance(&parameter, velocity, rate)?;
                }
                None => {
                    let velocity = (gradient.detach() + (&parameter * self.l2)?)?;
                    advance(&parameter, &velocity, rate)?;
                    self.velocities.insert(name.clone(), velocity);
                }
            }
        }
        Ok(())
    }

    /// The same in one launch, which begins with velocities of zero.
    #[cfg(feature = "cuda")]
    fn step_on_device(&mut self, gradients: &BTreeMap<String, Tensor>, rate: f64) -> Result<()> {
        let mut all = Vec::with_capacity(self.variables.len());
        for (name, variable) in &self.variables {
            let parameter = variable.as_detached_tensor();
            let velocity = match self.velocities.get(name) {
                Some(velocity) => velocity.clone(),
                None => parameter.zeros_like()?,
            };
            self.velocities.insert(name.clone(), velocity.clone());
            all.push(Descending {
                parameter,
                velocity,
                gradient: gradient_of(gradients, name)?.detach().contiguous()?,
            });
        }
        let descent = Descent {
            l2: self.l2,
            momentum: self.momentum,
            rate,
        };
        Ok(descend(&all, descent)?)
    }
}

fn gradient_of<'a>(gradients: &'a BTreeMap<String, Tensor>, name: &str) -> Result<&'a Tensor> {
    gradients.get(name).ok_or_else(|| {
        Error::mismatch(
            format!("gradient of {name}"),
            "one",
            "none",
            "this is a bug",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, safetensors::load};

    /// Five steps computed by PyTorch in f64, given its gradients (`fixtures/pytorch`).
    #[test]
    fn steps_as_pytorch_does() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/pytorch/sgd.safetensors"
        );
        let fixture = load(path, &Device::Cpu).unwrap();
        let variable = |name: &str| Var::from_tensor(&fixture[&format!("step0/{name}")]).unwrap();
        // Sorted by name: bias before weight.
        let names = ["bias", "weight"];
        let variables = names.map(|name| (name.to_owned(), variable(name)));
        let mut optimiser = Sgd::new(variables.clone().into(), 0.9, 5e-4);
        for step in 1..=5 {
            let entry = |name: &str| fixture[&format!("step{step}/{name}")].clone();
            let rate = entry("learning_rate")
                .flatten_all()
                .unwrap()
                .to_vec1::<f64>()
                .unwrap()[0];
            let gradient = |name: &str| (name.to_owned(), entry(&format!("{name}_gradient")));
            let gradients = names.map(gradient).into();
            optimiser.step(&gradients, rate).unwrap();
            for (name, variable) in &variables {
                let difference = (variable.as_tensor() - entry(name))
                    .unwrap()
                    .abs()
                    .unwrap()
                    .max_all()
                    .unwrap();
                assert!(
                    difference.to_scalar::<f64>().unwrap() < 1e-14,
                    "step {step}, {name}"
                );
            }
        }
    }
}
