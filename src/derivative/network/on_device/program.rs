//! Layers in the order in which they run, and what passes through them leave.

use super::dual::{Directions, Dual};
use super::layer::{Constant, Layer, Seen};
use super::way_back::{Pull, Returning};
use crate::model::op::Wanted;
use candle_core::{Result, Tensor, bail};
use std::collections::BTreeMap;

/// A layer and the values it takes: 0 is the input, `i` the result of the i-th layer, counted from 1.
pub(super) struct Node {
    pub(super) layer: Layer,
    pub(super) inputs: Vec<usize>,
}

/// A batch norm of a program in training mode.
pub(super) struct Norm {
    /// torchvision's name.
    pub(super) name: String,
    /// The number of the layer that normalises.
    pub(super) node: usize,
}

/// The layers of the trained part; the last one gives the logits.
pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
    /// In training mode; none in evaluation mode.
    pub(super) norms: Vec<Norm>,
}

/// The values of a batch of images at the parameters, and what tangents at them need; all directions share it.
pub(super) struct Trace {
    /// The input, and every layer's result.
    values: Vec<Tensor>,
    /// By layer.
    constants: Vec<Option<Constant>>,
}

impl Trace {
    /// `[B, C]`
    pub(super) fn logits(&self) -> &Tensor {
        &self.values[self.values.len() - 1]
    }

    /// The values of the images at `places` of the batch, which may be there several times.
    pub(super) fn at(&self, places: &Tensor) -> Result<Self> {
        let of_images = |tensor: &Tensor| tensor.index_select(places, 0);
        let constant = |constant: &Option<Constant>| match constant {
            None => Ok(None),
            Some(Constant::Winners(winners)) => Ok(Some(Constant::Winners(of_images(winners)?))),
            Some(Constant::InverseDeviation(_)) => {
                bail!(
                    "images of a batch that is normalised by its own moments are none by themselves"
                )
            }
        };
        Ok(Self {
            values: self.values.iter().map(of_images).collect::<Result<_>>()?,
            constants: self.constants.iter().map(constant).collect::<Result<_>>()?,
        })
    }

    /// Numbers of a channel in the result of the layer numbered `index`, and its channels.
    pub(super) fn of_channel(&self, index: usize) -> Result<(usize, usize)> {
        let value = &self.values[index + 1];
        let channels = value.dim(1)?;
        Ok((value.elem_count() / channels.max(1), channels))
    }

    /// Numbers held.
    pub(super) fn elements(&self) -> usize {
        let constants = self.constants.iter().flatten().map(Constant::tensor);
        (self.values.iter().chain(constants))
            .map(Tensor::elem_count)
            .sum()
    }

    /// Images.
    pub(super) fn images(&self) -> Result<usize> {
        self.values[0].dim(0)
    }

    /// Numbers in the result of the layer numbered `index`.
    pub(super) fn result_elements(&self, index: usize) -> usize {
        self.values[index + 1].elem_count()
    }

    fn of<'a>(&'a self, node: &Node) -> Vec<&'a Tensor> {
        node.inputs
            .iter()
            .map(|&input| &self.values[input])
            .collect()
    }

    /// What the layer numbered `index` took and gave, as far as there are tangents of it.
    fn seen<'a>(
        &'a self,
        (index, node): (usize, &Node),
        tangents: Option<&'a Tangents>,
    ) -> Seen<'a> {
        let dual = |value: usize| Dual {
            value: &self.values[value],
            tangent: tangents.and_then(|tangents| tangents.0.get(value)?.as_ref()),
        };
        Seen {
            inputs: node.inputs.iter().map(|&input| dual(input)).collect(),
            output: dual(index + 1),
            constant: self.constants[index].as_ref(),
        }
    }
}

/// A layer and what enters it.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) layer: Layer,
    /// `[B, …]`
    pub(super) input: &'a Tensor,
}

/// The tangents `[B, k, …]` of all values; none where a value does not change.
pub(super) struct Tangents(Vec<Option<Tensor>>);

impl Tangents {
    /// J v for every direction v, `[B, k, C]`.
    pub(super) fn logits(&self) -> Result<&Tensor> {
        match self.0.last() {
            Some(Some(tangents)) => Ok(tangents),
            _ => bail!("a network without parameters has no tangents"),
        }
    }
}

/// The gradients `[B, …]` of all layers' results, each in front of the layer's rectifier.
pub(super) struct Gradients(Vec<Tensor>);

impl Gradients {
    /// One for each layer.
    pub(super) fn of_layers(&self) -> &[Tensor] {
        &self.0
    }
}

/// What gradients are tangents of: a way back that all directions share, and the tangents of the values on it.
pub(super) struct TangentsOf<'a> {
    pub(super) gradients: &'a Gradients,
    pub(super) tangents: Tangents,
    pub(super) directions: &'a Directions,
    /// What pulls at the moments of layers that normalise a batch, by their numbers.
    pub(super) pulls: BTreeMap<usize, Pull>,
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
            constants: Vec::new(),
        };
        for node in &self.nodes {
            let (value, constant) = node
                .layer
                .value_with_constant(&trace.of(node), parameters)?;
            trace.values.push(value);
            trace.constants.push(constant);
        }
        Ok(trace)
    }

    /// The layers, each with what enters it, the first where it is more than one.
    pub(super) fn sites<'a>(&'a self, trace: &'a Trace) -> impl Iterator<Item = Site<'a>> {
        let site = |node: &'a Node| Site {
            layer: node.layer,
            input: &trace.values[node.inputs[0]],
        };
        self.nodes.iter().map(site)
    }

    /// All tangents.
    pub(super) fn tangents(
        &self,
        trace: &Trace,
        parameters: &[Tensor],
        directions: &Directions,
    ) -> Result<Tangents> {
        let mut tangents = Tangents(vec![None]);
        for (index, node) in self.nodes.iter().enumerate() {
            let seen = trace.seen((index, node), Some(&tangents));
            let tangent = node.layer.tangent(&seen, (parameters, directions))?;
            tangents.0.push(tangent);
        }
        Ok(tangents)
    }

    /// Jᵀ ḡ in the parameters, `[k, …]` by their places, from k gradients ḡ `[B, k, C]` of the logits; or, where these are the
    /// tangents `of` a gradient, the tangents of that one's.
    pub(super) fn pulled_back(
        &self,
        trace: &Trace,
        parameters: &[Tensor],
        of: Option<&TangentsOf>,
        gradients: Tensor,
    ) -> Result<Vec<Tensor>> {
        let mut found: Vec<Option<Tensor>> = vec![None; parameters.len()];
        self.walk_back(trace, gradients, |index, gradients, input| {
            let node = &self.nodes[index];
            let wanted = Wanted {
                input,
                parameters: true,
            };
            let returning = Returning {
                gradients,
                of: of.map(|of| (&of.gradients.0[index], of.directions)),
                pull: of.and_then(|of| of.pulls.get(&index)),
            };
            let seen = trace.seen((index, node), of.map(|of| &of.tangents));
            let back = node.layer.back(&seen, parameters, returning, wanted)?;
            for (place, part) in back.parameters {
                found[place] = Some(part);
            }
            Ok(back.inputs)
        })?;
        match found.into_iter().collect() {
            Some(all) => Ok(all),
            None => bail!("a parameter is part of no layer"),
        }
    }

    /// The gradients of all results from that of the logits, `[B, C]`.
    pub(super) fn gradients(
        &self,
        trace: &Trace,
        parameters: &[Tensor],
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let mut found = Vec::with_capacity(self.nodes.len());
        self.walk_back(trace, gradient.unsqueeze(1)?, |index, gradients, input| {
            found.push(gradients.squeeze(1)?);
            let node = &self.nodes[index];
            let wanted = Wanted {
                input,
                parameters: false,
            };
            let returning = Returning {
                gradients,
                of: None,
                pull: None,
            };
            let seen = trace.seen((index, node), None);
            Ok((node.layer.back(&seen, parameters, returning, wanted)?).inputs)
        })?;
        found.reverse();
        Ok(Gradients(found))
    }

    /// Goes through the layers from the last to the first, with gradients `[B, k, …]`. `through` is given a layer's number, the gated
    /// gradients of its result, and whether those of its inputs are wanted, which it returns.
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
