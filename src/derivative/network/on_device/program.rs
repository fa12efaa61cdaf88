//! Layers in the order in which they run, and what passes through them leave.

use super::dual::Dual;
use super::layer::Layer;
use super::way_back::Back;
use crate::model::op::Wanted;
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

/// The values of a batch of images at the parameters, and what tangents at them need; all directions share it.
pub(super) struct Trace {
    /// The input, and every layer's result.
    values: Vec<Tensor>,
    /// Who won a pool, by layer.
    winners: Vec<Option<Tensor>>,
}

impl Trace {
    /// `[B, C]`
    pub(super) fn logits(&self) -> &Tensor {
        &self.values[self.values.len() - 1]
    }

    /// Numbers held.
    pub(super) fn elements(&self) -> usize {
        let winners = self.winners.iter().flatten();
        self.values
            .iter()
            .chain(winners)
            .map(Tensor::elem_count)
            .sum()
    }

    fn of<'a>(&'a self, node: &Node) -> Vec<&'a Tensor> {
        node.inputs
            .iter()
            .map(|&input| &self.values[input])
            .collect()
    }
}

/// The tangents of all values along a direction in the parameters; none where a value does not change.
pub(super) struct Tangents(Vec<Option<Tensor>>);

impl Tangents {
    /// J v, `[B, C]`.
    pub(super) fn logits(&self) -> Result<&Tensor> {
        match self.0.last() {
            Some(Some(tangent)) => Ok(tangent),
            _ => bail!("a network without parameters has no tangent"),
        }
    }
}

/// The gradients of all layers' results, each in front of the layer's rectifier.
pub(super) struct Gradients(Vec<Tensor>);

/// Parameters, and a direction in them.
#[derive(Clone, Copy)]
pub(super) struct Along<'a> {
    pub(super) parameters: &'a [Tensor],
    pub(super) direction: &'a [Tensor],
}

impl<'a> Along<'a> {
    fn dual(self) -> impl Fn(usize) -> Dual<'a> {
        move |place| Dual {
            value: &self.parameters[place],
            tangent: Some(&self.direction[place]),
        }
    }
}

impl Program {
    /// The logits `[B, C]` alone.
    pub(super) fn logits(&self, input: &Tensor, parameters: &[Tensor]) -> Result<Tensor> {
        let mut values = vec![input.clone()];
        for node in &self.nodes {
            let x: Vec<&Tensor> = node.inputs.iter().map(|&input| &values[input]).collect();
            values.push(node.layer.value(&x, parameters)?);
        }
        Ok(values.swap_remove(self.nodes.len()))
    }

    /// All values.
    pub(super) fn trace(&self, input: &Tensor, parameters: &[Tensor]) -> Result<Trace> {
        let mut trace = Trace {
            values: vec![input.clone()],
            winners: Vec::new(),
        };
        for node in &self.nodes {
            let x = trace.of(node);
            let value = node.layer.value(&x, parameters)?;
            let winners = node.layer.winners(&x, &value)?;
            trace.values.push(value);
            trace.winners.push(winners);
        }
        Ok(trace)
    }

    /// All tangents.
    pub(super) fn tangents(&self, trace: &Trace, along: Along) -> Result<Tangents> {
        let mut tangents = Tangents(vec![None]);
        for (index, node) in self.nodes.iter().enumerate() {
            let x = duals(node, trace, &tangents);
            let at = (&trace.values[index + 1], trace.winners[index].as_ref());
            let tangent = node.layer.tangent(&x, along.dual(), at)?;
            tangents.0.push(tangent);
        }
        Ok(tangents)
    }

    /// Jᵀ ḡ in the parameters, by their places, from the gradient ḡ `[B, C]` of the logits.
    pub(super) fn pulled_back(
        &self,
        trace: &Trace,
        parameters: &[Tensor],
        gradient: Tensor,
    ) -> Result<Vec<Tensor>> {
        let mut found = Found::of(parameters.len());
        self.walk_back(trace, gradient, |index, gradient, input| {
            let node = &self.nodes[index];
            let wanted = Wanted {
                input,
                parameters: true,
            };
            found.take(
                node.layer
                    .back(&trace.of(node), parameters, gradient, wanted)?,
            )
        })?;
        found.all()
    }

    /// The gradients of all results from that of the logits.
    pub(super) fn gradients(
        &self,
        trace: &Trace,
        parameters: &[Tensor],
        gradient: Tensor,
    ) -> Result<Gradients> {
        let mut gradients = Vec::with_capacity(self.nodes.len());
        self.walk_back(trace, gradient, |index, gradient, input| {
            gradients.push(gradient.clone());
            let node = &self.nodes[index];
            let wanted = Wanted {
                input,
                parameters: false,
            };
            let back = node
                .layer
                .back(&trace.of(node), parameters, gradient, wanted)?;
            Ok(back.inputs)
        })?;
        gradients.reverse();
        Ok(Gradients(gradients))
    }

    /// The tangent of [`pulled_back`](Self::pulled_back), from that of the logits' gradient.
    pub(super) fn pulled_back_tangent(
        &self,
        (trace, gradients): (&Trace, &Gradients),
        tangents: &Tangents,
        along: Along,
        tangent: Tensor,
    ) -> Result<Vec<Tensor>> {
        let mut found = Found::of(along.parameters.len());
        self.walk_back(trace, tangent, |index, tangent, input| {
            let node = &self.nodes[index];
            let gradient = Dual {
                value: &gradients.0[index],
                tangent: Some(tangent),
            };
            let x = duals(node, trace, tangents);
            found.take((node.layer).back_tangent(&x, along.dual(), gradient, input)?)
        })?;
        found.all()
    }

    /// Goes through the layers from the last to the first. `through` is given a layer's number and its gated gradient, and whether
    /// those of its inputs are wanted, which it returns.
    fn walk_back(
        &self,
        trace: &Trace,
        last: Tensor,
        mut through: impl FnMut(usize, &Tensor, bool) -> Result<Vec<Tensor>>,
    ) -> Result<()> {
        let mut arriving: Vec<Option<Tensor>> = vec![None; self.nodes.len()];
        arriving.push(Some(last));
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let Some(gradient) = arriving[index + 1].take() else {
                bail!("layer {index} leads nowhere");
            };
            let gradient = node.layer.gated(&trace.values[index + 1], gradient)?;
            let wanted = node.inputs.iter().any(|&input| input > 0);
            let back = through(index, &gradient, wanted)?;
            for (&input, part) in node.inputs.iter().zip(back) {
                arriving[input] = Some(match arriving[input].take() {
                    None => part,
                    Some(sum) => (sum + part)?,
                });
            }
        }
        Ok(())
    }
}

fn duals<'a>(node: &Node, trace: &'a Trace, tangents: &'a Tangents) -> Vec<Dual<'a>> {
    let dual = |&input: &usize| Dual {
        value: &trace.values[input],
        tangent: tangents.0[input].as_ref(),
    };
    node.inputs.iter().map(dual).collect()
}

/// What is found of the parameters, by their places.
struct Found(Vec<Option<Tensor>>);

impl Found {
    fn of(count: usize) -> Self {
        Self(vec![None; count])
    }

    /// Keeps the parameters' parts and gives the inputs' on.
    fn take(&mut self, back: Back) -> Result<Vec<Tensor>> {
        for (place, part) in back.parameters {
            self.0[place] = Some(part);
        }
        Ok(back.inputs)
    }

    fn all(self) -> Result<Vec<Tensor>> {
        match self.0.into_iter().collect() {
            Some(all) => Ok(all),
            None => bail!("a parameter is part of no layer"),
        }
    }
}
