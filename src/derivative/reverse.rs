//! Loss gradients of a whole network, the way back written out.
//!
//! Candle's own way back makes a tensor of zeros for every activation and adds the gradient to it, four times the traffic of the
//! gradient alone; where activations are large, that is most of what a pass costs besides its convolutions. Here the pass
//! forward leaves what the way back needs ([`crate::model`]'s trace), and each gradient is written once; where a block's two
//! ways meet, they are added once. What is no longer needed is freed on the way.

mod at_the_head;

use self::at_the_head::at_the_head;
use crate::model::op::{
    Wanted, batch_norm_gradients, channel_affine, channel_affine_gradients, convolution_gradients,
    gate, gate_sum, max_pool_gradient,
};
use crate::model::{EPSILON, LayerTrace, NormTrace, Pass, ResNet, Traced};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// What the gradients of a loss are wanted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossGradientsOf {
    /// The parameters of the segments from here on, the head's included; `None`: of none.
    pub parameters_from: Option<usize>,
    /// What the pass began with.
    pub input: OfInput,
}

/// What is wanted of the gradient of what a pass began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfInput {
    /// Nothing.
    Nothing,
    /// The gradient.
    Gradient,
    /// Where it points, each image's times a positive number: also where a prediction is so sure that the gradient is 0 in its
    /// precision.
    Direction,
}

impl OfInput {
    fn is_wanted(self) -> bool {
        self != Self::Nothing
    }
}

/// The mean cross-entropy of a batch, or where there are weights Σ w_i ℓ_i / B, and its gradients.
#[derive(Debug)]
pub struct LossGradients {
    /// That loss in nats and how many are predicted rightly, whatever their weights, in f64 `[2]`, where the model is.
    pub loss_and_right: Tensor,
    /// `[B, C]`
    pub logits: Tensor,
    /// By parameter name, in the parameters' dtype; on a CUDA device in that of the activations, as [`crate::train::Sgd`] takes
    /// them.
    pub parameters: BTreeMap<String, Tensor>,
    /// Of what the pass began with, where it was wanted.
    pub input: Option<Tensor>,
}

impl LossGradients {
    /// The gradient of what the pass began with, which was wanted.
    ///
    /// # Errors
    /// It was not.
    pub fn of_input(self) -> Result<Tensor> {
        self.input.ok_or_else(|| missing("the input"))
    }
}

/// [`weighted_loss_gradients`] with equal weights.
///
/// # Errors
/// As [`weighted_loss_gradients`].
pub fn loss_gradients(
    model: &ResNet,
    entered: (usize, &Tensor),
    labels: &Tensor,
    pass: &mut Pass,
    wanted: LossGradientsOf,
) -> Result<LossGradients> {
    weighted_loss_gradients(model, entered, (labels, None), pass, wanted)
}

/// Passes forward from what enters `segment` (0: images `[B, 3, H, W]`) as `pass` says, and back. Labels are `[B]`;
/// where there are weights `[B]` the loss is Σ w_i ℓ_i / B, and the images still meet in the batch's moments.
///
/// # Errors
/// As the model's pass forward; parameters are wanted of a segment whose batch norm uses running statistics.
pub fn weighted_loss_gradients(
    model: &ResNet,
    (segment, input): (usize, &Tensor),
    labels: (&Tensor, Option<&Tensor>),
    pass: &mut Pass,
    wanted: LossGradientsOf,
) -> Result<LossGradients> {
    let model = model.for_pass(segment, pass)?;
    let head = model.head_segment();
    let traced_from = match wanted.input.is_wanted() {
        true => segment,
        false => wanted.parameters_from.unwrap_or(head).max(segment),
    };
    pass.trace_from(traced_from);
    let features = model.features_from(segment, &input.detach(), pass)?;
    let mut found = at_the_head(&model, &features, labels, wanted)?;
    let features_gradient = found.input.take();
    if traced_from < head || wanted.input.is_wanted() {
        let mut way = WayBack {
            model: &model,
            wanted,
            trace: pass.take_trace(),
            parameters: std::mem::take(&mut found.parameters),
        };
        let gradient = features_gradient.ok_or_else(|| missing("the features"))?;
        found.input = way.walk(gradient)?.filter(|_| wanted.input.is_wanted());
        found.parameters = way.parameters;
    }
    Ok(found)
}

fn missing(of: &str) -> Error {
    Error::mismatch(format!("gradient of {of}"), "one", "none", "this is a bug")
}

/// A gradient on its way.
enum Arriving {
    /// Along one way.
    One(Tensor),
    /// Along the two ways of a block, which are to be added.
    Two([Tensor; 2]),
}

impl Arriving {
    fn sum(self) -> Result<Tensor> {
        match self {
            Self::One(gradient) => Ok(gradient),
            Self::Two([along, shortcut]) => Ok((along + shortcut)?),
        }
    }

    /// The sum where the rectifier that gave `output` let something through.
    fn gated(self, output: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::One(gradient) => gate(output, &gradient)?,
            Self::Two([along, shortcut]) => gate_sum(output, [&along, &shortcut])?,
        })
    }
}

struct WayBack<'a> {
    model: &'a ResNet,
    wanted: LossGradientsOf,
    trace: Vec<Traced>,
    parameters: BTreeMap<String, Tensor>,
}

impl WayBack<'_> {
    /// From the gradient of the features to that of what the traced pass began with; none where nobody asks for it.
    fn walk(&mut self, features: Tensor) -> Result<Option<Tensor>> {
        let mut gradient = Some(Arriving::One(features));
        while let Some(step) = self.trace.pop() {
            let Some(after) = gradient.take() else {
                break;
            };
            gradient = match step {
                Traced::Averaged { shape, dtype } => one(spread(&after.sum()?, shape, dtype)?),
                Traced::Block {
                    projects,
                    layers,
                    output,
                } => self.block((projects, layers), after.gated(&output)?)?,
                Traced::Layer(layer) => {
                    let found = self.layer(layer, &after.sum()?, self.goes_on())?;
                    found.map(Arriving::One)
                }
                Traced::Pooled { input, window } => {
                    one(max_pool_gradient(&input, window, &after.sum()?)?)
                }
                Traced::Normalised { scale, dtype } => {
                    let after = after.sum()?.to_dtype(dtype)?;
                    one(channel_affine(&after, &scale, &scale.zeros_like()?)?)
                }
            };
        }
        gradient.map(Arriving::sum).transpose()
    }

    /// Whether anything before the step just taken off needs a gradient.
    fn goes_on(&self) -> bool {
        self.wanted.input.is_wanted() || !self.trace.is_empty()
    }

    fn block(
        &mut self,
        (projects, layers): (bool, usize),
        gradient: Tensor,
    ) -> Result<Option<Arriving>> {
        let taken = layers + usize::from(projects);
        let mut traced = self.trace.split_off(self.trace.len().saturating_sub(taken));
        let goes_on = self.goes_on();
        let mut shortcut = Some(gradient.clone());
        if projects {
            let layer = layer_of(traced.pop())?;
            shortcut = self.layer(layer, &gradient, goes_on)?;
        }
        let mut along = Some(gradient);
        while let Some(step) = traced.pop() {
            let after = along.take().ok_or_else(|| missing("a block"))?;
            let first = traced.is_empty();
            along = self.layer(layer_of(Some(step))?, &after, goes_on || !first)?;
        }
        match (along, shortcut) {
            (Some(along), Some(shortcut)) if goes_on => Ok(Some(Arriving::Two([along, shortcut]))),
            _ => Ok(None),
        }
    }

    fn layer(
        &mut self,
        layer: LayerTrace,
        gradient: &Tensor,
        input: bool,
    ) -> Result<Option<Tensor>> {
        let parameters = (self.wanted.parameters_from).is_some_and(|first| layer.segment >= first);
        let wanted = Wanted {
            input: true,
            parameters,
        };
        let convolved = match layer.applied {
            NormTrace::Batch {
                gamma,
                beta,
                moments,
            } => {
                let found = batch_norm_gradients(
                    &layer.convolved,
                    (&gamma, &beta),
                    (moments, EPSILON),
                    layer.rectified.is_some(),
                    gradient,
                    wanted,
                )?;
                if let Some((gamma, beta)) = found.parameters {
                    self.keep(format!("{}.weight", layer.norm), &gamma)?;
                    self.keep(format!("{}.bias", layer.norm), &beta)?;
                }
                found.input.ok_or_else(|| missing(&layer.norm))?
            }
            NormTrace::Running { .. } if parameters => {
                let what = format!("training {} by running statistics", layer.norm);
                let instead = "pass forward with the batch's own from that segment on";
                return Err(Error::unsupported(what, instead));
            }
            NormTrace::Running { scale, shift } => {
                let wanted = Wanted {
                    input: true,
                    parameters: false,
                };
                let of = (&scale, &shift);
                channel_affine_gradients(
                    &layer.convolved,
                    of,
                    layer.rectified.as_ref(),
                    gradient,
                    wanted,
                )?
                .input
                .ok_or_else(|| missing(&layer.norm))?
            }
        };
        let wanted = Wanted { input, parameters };
        let (to_input, to_weight) =
            convolution_gradients(&layer.input, &layer.weight, layer.step, &convolved, wanted)?;
        if let Some(weight) = to_weight {
            self.keep(format!("{}.weight", layer.convolution), &weight)?;
        }
        Ok(to_input)
    }

    fn keep(&mut self, name: String, gradient: &Tensor) -> Result<()> {
        let parameter = (self.model.tensors().get(&name)).ok_or_else(|| missing(&name))?;
        let gradient = match gradient.device().is_cuda() {
            true => gradient.clone(),
            false => gradient.to_dtype(parameter.dtype())?,
        };
        self.parameters.insert(name, gradient);
        Ok(())
    }
}

fn one(gradient: Tensor) -> Option<Arriving> {
    Some(Arriving::One(gradient))
}

fn layer_of(step: Option<Traced>) -> Result<LayerTrace> {
    match step {
        Some(Traced::Layer(layer)) => Ok(layer),
        _ => Err(missing("a layer")),
    }
}

/// The gradient `[B, C]` of means over planes as that of the planes.
pub(super) fn spread(
    gradient: &Tensor,
    [batch, channels, height, width]: [usize; 4],
    dtype: DType,
) -> candle_core::Result<Tensor> {
    let each = (gradient / (height * width) as f64)?.to_dtype(dtype)?;
    let planes = each.reshape((batch, channels, 1, 1))?;
    planes
        .broadcast_as((batch, channels, height, width))?
        .contiguous()
}

#[cfg(test)]
mod tests;
