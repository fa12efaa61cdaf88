//! Layers in the order in which they run, and what a pass through them leaves.

use super::dual::Dual;
use super::layer::Layer;
use candle_core::{Result, Tensor, bail};

/// A layer and the values it takes: 0 is the input, `i` the result of the i-th layer, counted from 1.
pub(super) struct Node {
    pub(super) layer: Layer,
    pub(super) inputs: Vec<usize>,
}

/// The layers of the trained part; the last one gives the logits.
pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
}

/// A value, and the constant that tangents at it need.
struct Met {
    value: Tensor,
    aid: Option<Tensor>,
}

/// The values of a batch of images, and what tangents at them need; all directions share it.
pub(super) struct Trace {
    /// The input, and every layer's result.
    met: Vec<Met>,
}

impl Trace {
    /// `[B, C]`
    pub(super) fn logits(&self) -> &Tensor {
        &self.met[self.met.len() - 1].value
    }

    /// The same as constants: tangents at them are no graph.
    pub(super) fn detached(&self) -> Self {
        let constant = |met: &Met| Met {
            value: met.value.detach(),
            aid: met.aid.clone(),
        };
        Self {
            met: self.met.iter().map(constant).collect(),
        }
    }

    /// Numbers held.
    pub(super) fn elements(&self) -> usize {
        let elements = |tensor: &Tensor| tensor.elem_count();
        (self.met.iter())
            .map(|met| elements(&met.value) + met.aid.as_ref().map_or(0, elements))
            .sum()
    }
}

impl Program {
    /// The logits `[B, C]` alone; a graph where the parameters are variables.
    pub(super) fn logits(&self, input: &Tensor, parameters: &[Tensor]) -> Result<Tensor> {
        let mut values = vec![input.clone()];
        for node in &self.nodes {
            let x: Vec<&Tensor> = node.inputs.iter().map(|&input| &values[input]).collect();
            values.push(node.layer.value(&x, parameters)?);
        }
        Ok(values.swap_remove(self.nodes.len()))
    }

    /// All values, with what tangents need; a graph where the parameters are variables.
    pub(super) fn trace(&self, input: &Tensor, parameters: &[Tensor]) -> Result<Trace> {
        let mut met = vec![Met {
            value: input.clone(),
            aid: None,
        }];
        for node in &self.nodes {
            let x: Vec<&Tensor> = node.inputs.iter().map(|&input| &met[input].value).collect();
            let value = node.layer.value(&x, parameters)?;
            let aid = node.layer.aid(&x, &value)?;
            met.push(Met { value, aid });
        }
        Ok(Trace { met })
    }

    /// J v, the tangent `[B, C]` of the logits along a `direction` in the parameters; a graph where the trace and the
    /// parameters are.
    pub(super) fn tangent(
        &self,
        trace: &Trace,
        parameters: &[Tensor],
        direction: &[Tensor],
    ) -> Result<Tensor> {
        let parameter = |place: usize| Dual {
            value: &parameters[place],
            tangent: Some(&direction[place]),
        };
        let mut tangents: Vec<Option<Tensor>> = vec![None];
        for (index, node) in self.nodes.iter().enumerate() {
            let dual = |&input: &usize| Dual {
                value: &trace.met[input].value,
                tangent: tangents[input].as_ref(),
            };
            let x: Vec<Dual> = node.inputs.iter().map(dual).collect();
            let met = &trace.met[index + 1];
            let at = (&met.value, met.aid.as_ref());
            let tangent = node.layer.tangent(&x, parameter, at)?;
            tangents.push(tangent);
        }
        match tangents.pop().flatten() {
            Some(tangent) => Ok(tangent),
            None => bail!("a network without parameters has no tangent"),
        }
    }
}
