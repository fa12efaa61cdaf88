//! The way back through an operation: gradients, and their tangents along all directions at once.
//!
//! With ḡ the gradient of what an operation gives (behind its rectifier, where it has one), x̄ that of its input and θ̄ that of
//! its parameters, and a dot for tangents:
//!
//! | | back | its tangent |
//! |---|---|---|
//! | convolution | x̄ = ḡ ⋆ W, W̄ = ḡ ⋆ x | ġ ⋆ W + ḡ ⋆ Ẇ, ġ ⋆ x + ḡ ⋆ ẋ |
//! | batch norm | x̄ = s ḡ, s̄ = Σ ḡ x, t̄ = Σ ḡ | s ġ + ṡ ḡ, Σ ġ x + ḡ ẋ, Σ ġ |
//! | rectified sum | ḡ to both | ġ to both |
//! | max pool | ḡ to the winners | ġ to the winners |
//! | mean over pixels | ḡ/N to each | ġ/N to each |
//! | head | x̄ = ḡ W, W̄ = ḡᵀ x, b̄ = Σ ḡ | ġ W + ḡ Ẇ, ġᵀ x + ḡᵀ ẋ, Σ ġ |
//! | normalised by the batch's moments | [`normalise`](super::normalise) | |
//!
//! The first terms on the right are those on the left of another gradient. So there is one way back: of k gradients side by side,
//! with the second terms where these are the tangents of a gradient that all directions share.

use super::dual::{Directions, Dual, beside, sum};
use super::layer::{Constant, Layer, Seen};
use super::normalise;
use crate::derivative::reverse::spread;
use crate::model::op::{
    Convolution, ScaleAlong, Wanted, affine_along, affine_along_gradients, channel_affine,
    convolution_input_gradient, convolution_weight_gradient, gate_along, max_pool_gradient,
};
use candle_core::{Result, Tensor, bail};

/// Gradients of an operation's result, in front of its rectifier.
#[derive(Clone, Copy)]
pub(super) struct Returning<'a> {
    /// `[B, k, …]`
    pub(super) gradients: &'a Tensor,
    /// Where they are tangents: the gradient `[B, …]` that they are tangents of, and the directions.
    pub(super) of: Option<(&'a Tensor, &'a Directions)>,
    /// What pulls at the layer's moments beside them.
    pub(super) pull: Option<&'a Pull>,
}

/// Gradients of a normalised batch's mean μ and variance τ, `[k, C]`, divided by the numbers of a channel.
pub(super) struct Pull {
    pub(super) mean: Tensor,
    pub(super) variance: Tensor,
}

impl Returning<'_> {
    /// k.
    fn count(&self) -> Result<usize> {
        self.gradients.dim(1)
    }
}

/// What comes of them.
#[derive(Default)]
pub(super) struct Back {
    /// `[B, k, …]` for each input; none where nobody asked for them.
    pub(super) inputs: Vec<Tensor>,
    /// `[k, …]` with their places.
    pub(super) parameters: Vec<(usize, Tensor)>,
}

impl Layer {
    /// Gradients `[B, k, …]` of the result as those in front of the layer's rectifier.
    pub(super) fn gated(self, value: &Tensor, gradients: Tensor) -> Result<Tensor> {
        match self {
            Self::Affine {
                rectified: true, ..
            }
            | Self::AddRectifier => gate_along(value, &gradients),
            _ => Ok(gradients),
        }
    }

    /// Through the operation, which has `seen` tangents too where `gradients` are tangents.
    pub(super) fn back(
        self,
        seen: &Seen,
        parameters: &[Tensor],
        gradients: Returning,
        wanted: Wanted,
    ) -> Result<Back> {
        match (self, &seen.inputs[..]) {
            (Self::Convolution { weight, step }, [x]) => {
                convolution((*x, step), (weight, &parameters[weight]), gradients, wanted)
            }
            (Self::Affine { scale, shift, .. }, [x]) => {
                affine(*x, (scale, shift, &parameters[scale]), gradients, wanted)
            }
            (Self::Head { weight, bias }, [x]) => {
                head(*x, (weight, bias, &parameters[weight]), gradients, wanted)
            }
            _ if wanted.input => self.along(seen, gradients),
            _ => Ok(Back::default()),
        }
    }

    /// Through an operation without parameters.
    fn along(self, seen: &Seen, returning: Returning) -> Result<Back> {
        let count = returning.count()?;
        let gradients = returning.gradients;
        let inputs = match (self, &seen.inputs[..], seen.constant) {
            (Self::AddRectifier, [_, _], _) => vec![gradients.clone(), gradients.clone()],
            (Self::Normalise, [x], Some(Constant::InverseDeviation(inverse))) => {
                vec![normalise::back((*x, seen.output), inverse, returning)?]
            }
            (Self::MaxPool(window), [x], _) => {
                let (batch, channels, height, width) = x.value.dims4()?;
                let x = x.value.unsqueeze(1)?;
                let x = x.broadcast_as((batch, count, channels, height, width))?;
                let x = x.contiguous()?.flatten(0, 1)?;
                let found = max_pool_gradient(&x, window, &gradients.flatten(0, 1)?)?;
                vec![beside(&found, &[batch, channels, height, width], count)?]
            }
            (Self::Mean, [x], _) => {
                let (batch, channels, height, width) = x.value.dims4()?;
                let dims = [batch * count, channels, height, width];
                let found = spread(&gradients.flatten(0, 1)?, dims, gradients.dtype())?;
                vec![beside(&found, x.value.dims(), count)?]
            }
            (_, x, _) => bail!("the way back of {self:?} of {} inputs", x.len()),
        };
        Ok(Back {
            inputs,
            parameters: Vec::new(),
        })
    }
}

/// Through a product of the input and a weight `[out, in, …]` that is linear in both, by its two adjoints: `to_input(ḡ, W)` and
/// `to_weight(x, ḡ)`.
fn bilinear(
    x: Dual,
    (place, weight): (usize, &Tensor),
    Returning { gradients, of, .. }: Returning,
    wanted: Wanted,
    (to_input, to_weight): (impl Adjoint, impl Adjoint),
) -> Result<Back> {
    let mut back = Back::default();
    let count = gradients.dim(1)?;
    if wanted.input {
        let to = |gradient: &Tensor, weight: &Tensor| {
            beside(&to_input(gradient, weight)?, x.value.dims(), count)
        };
        let first = to(&gradients.flatten(0, 1)?, weight)?;
        let second = of.map(|(shared, along)| to(shared, along.as_inputs(place)?));
        back.inputs.extend(sum(Some(first), second.transpose()?)?);
    }
    if wanted.parameters {
        let mut shape = vec![count];
        shape.extend(weight.dims());
        let found = to_weight(x.value, &gradients.flatten(1, 2)?)?;
        let mut found = found.reshape(shape.as_slice())?;
        if let (Some((shared, _)), Some(tangent)) = (of, x.tangent) {
            shape.swap(0, 1);
            let second = to_weight(&tangent.flatten(1, 2)?, shared)?;
            found = (found + second.reshape(shape)?.transpose(0, 1)?)?;
        }
        back.parameters.push((place, found));
    }
    Ok(back)
}

/// A map of two tensors.
trait Adjoint: Fn(&Tensor, &Tensor) -> Result<Tensor> {}
impl<F: Fn(&Tensor, &Tensor) -> Result<Tensor>> Adjoint for F {}

fn convolution(
    (x, step): (Dual, Convolution),
    (place, weight): (usize, &Tensor),
    gradients: Returning,
    wanted: Wanted,
) -> Result<Back> {
    let (_, _, height, width) = x.value.dims4()?;
    let kernel = (weight.dim(2)?, weight.dim(3)?);
    let to_input = |gradient: &Tensor, weight: &Tensor| {
        convolution_input_gradient(gradient, weight, (height, width), step)
    };
    let to_weight =
        |x: &Tensor, gradient: &Tensor| convolution_weight_gradient(x, gradient, kernel, step);
    bilinear(x, (place, weight), gradients, wanted, (to_input, to_weight))
}

fn affine(
    x: Dual,
    (scale, shift, values): (usize, usize, &Tensor),
    Returning { gradients, of, .. }: Returning,
    wanted: Wanted,
) -> Result<Back> {
    let mut back = Back::default();
    if wanted.input {
        back.inputs.push(match of {
            Some((shared, along)) => {
                let of = ScaleAlong {
                    scale: values,
                    scale_along: along.of(scale),
                    shift_along: &along.of(scale).zeros_like()?,
                };
                affine_along((shared, gradients), of, None)?
            }
            None => {
                let flat = gradients.flatten(0, 1)?;
                let found = channel_affine(&flat, values, &values.zeros_like()?)?;
                found.reshape(gradients.shape())?
            }
        });
    }
    if wanted.parameters {
        let second = x.tangent.zip(of.map(|(shared, _)| shared));
        let (to_scale, to_shift) = affine_along_gradients(x.value, gradients, second)?;
        back.parameters = vec![(scale, to_scale), (shift, to_shift)];
    }
    Ok(back)
}

fn head(
    x: Dual,
    (place, bias, weight): (usize, usize, &Tensor),
    gradients: Returning,
    wanted: Wanted,
) -> Result<Back> {
    let to_input = |gradient: &Tensor, weight: &Tensor| gradient.matmul(weight);
    let to_weight = |x: &Tensor, gradient: &Tensor| gradient.t()?.matmul(x);
    let mut back = bilinear(x, (place, weight), gradients, wanted, (to_input, to_weight))?;
    if wanted.parameters {
        back.parameters.push((bias, gradients.gradients.sum(0)?));
    }
    Ok(back)
}
