//! What training is at one moment: weights, running statistics and velocities.

use super::recipe::Recipe;
use super::sgd::Sgd;
use crate::Result;
use crate::model::ResNet;
use candle_core::Tensor;
use std::collections::BTreeMap;

/// A moment to go back to.
#[derive(Debug)]
pub(super) struct State {
    /// Model tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Velocities of the optimiser by parameter name.
    pub velocities: BTreeMap<String, Tensor>,
}

impl State {
    /// Copies: the variables of a model change in place.
    pub(super) fn of(model: &ResNet, optimiser: &Sgd) -> Result<Self> {
        let copy = |map: &BTreeMap<String, Tensor>| {
            let copies = (map.iter()).map(|(name, tensor)| Ok((name.clone(), tensor.copy()?)));
            copies.collect::<Result<_>>()
        };
        Ok(Self {
            tensors: copy(model.tensors())?,
            velocities: copy(optimiser.velocities())?,
        })
    }

    /// Puts `model` there; the optimiser of its segments from `first_segment` on.
    pub(super) fn restore(
        self,
        model: &mut ResNet,
        first_segment: usize,
        recipe: &Recipe,
    ) -> Result<Sgd> {
        *model = ResNet::new(
            model.architecture().clone(),
            model.classes().to_vec(),
            model.normalisation(),
            model.framing(),
            self.tensors,
        )?
        .with_activations(model.activations());
        let variables = model.make_trainable(first_segment)?;
        let mut optimiser = Sgd::new(variables, recipe.momentum, recipe.l2);
        optimiser.resume(self.velocities);
        Ok(optimiser)
    }
}
