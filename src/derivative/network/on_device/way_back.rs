//! The way back through an operation, and its tangent.
//!
//! With ḡ the gradient of what an operation gives (behind its rectifier, where it has one), x̄ that of its input and θ̄ that of
//! its parameters, and a dot for tangents along a direction:
//!
//! | | back | its tangent |
//! |---|---|---|
//! | convolution | x̄ = ḡ ⋆ W, W̄ = ḡ ⋆ x | ġ ⋆ W + ḡ ⋆ Ẇ, ġ ⋆ x + ḡ ⋆ ẋ |
//! | batch norm | x̄ = s ḡ, s̄ = Σ ḡ x, t̄ = Σ ḡ | s ġ + ṡ ḡ, Σ ġ x + ḡ ẋ, Σ ġ |
//! | rectified sum | ḡ to both | ġ to both |
//! | max pool | ḡ to the winners | ġ to the winners |
//! | mean over pixels | ḡ/N to each | ġ/N to each |
//! | head | x̄ = ḡ W, W̄ = ḡᵀ x, b̄ = Σ ḡ | ġ W + ḡ Ẇ, ġᵀ x + ḡᵀ ẋ, Σ ġ |
//!
//! Each is linear or bilinear, so that the tangents are the same maps of a [`Dual`].

use super::dual::{Dual, sum};
use super::layer::Layer;
use crate::derivative::reverse::spread;
use crate::model::op::{
    Convolution, Gradients, Wanted, channel_affine_gradients, convolution_gradients, gate,
    max_pool_gradient,
};
use candle_core::{Result, Tensor, bail};

/// Gradients, or their tangents, of what goes into an operation.
#[derive(Default)]
pub(super) struct Back {
    /// One for each input; none where nobody asked for them.
    pub(super) inputs: Vec<Tensor>,
    /// With their places.
    pub(super) parameters: Vec<(usize, Tensor)>,
}

impl Layer {
    /// A gradient, or its tangent, of the result as one in front of the layer's rectifier.
    pub(super) fn gated(self, value: &Tensor, gradient: Tensor) -> Result<Tensor> {
        match self {
            Self::Affine {
                rectified: true, ..
            }
            | Self::AddRectifier => gate(value, &gradient),
            _ => Ok(gradient),
        }
    }

    /// From the gated `gradient` of the result.
    pub(super) fn back(
        self,
        x: &[&Tensor],
        parameters: &[Tensor],
        gradient: &Tensor,
        wanted: Wanted,
    ) -> Result<Back> {
        match (self, x) {
            (Self::Convolution { weight, step }, [x]) => {
                let found = convolution_gradients(x, &parameters[weight], step, gradient, wanted)?;
                Ok(Back {
                    inputs: found.0.into_iter().collect(),
                    parameters: found.1.map(|found| (weight, found)).into_iter().collect(),
                })
            }
            (Self::Affine { scale, shift, .. }, [x]) => {
                let of = (&parameters[scale], &parameters[shift]);
                let found = channel_affine_gradients(x, of, None, gradient, wanted)?;
                Ok(Back::of_affine((scale, shift), found))
            }
            (Self::Head { weight, bias }, [x]) => {
                let mut back = Back::default();
                if wanted.input {
                    back.inputs.push(gradient.matmul(&parameters[weight])?);
                }
                if wanted.parameters {
                    back.parameters.push((weight, gradient.t()?.matmul(x)?));
                    back.parameters.push((bias, gradient.sum(0)?));
                }
                Ok(back)
            }
            _ if wanted.input => self.along(x, gradient),
            _ => Ok(Back::default()),
        }
    }

    /// The tangent of [`back`](Self::back), of all that has one.
    pub(super) fn back_tangent<'p>(
        self,
        x: &[Dual],
        parameter: impl Fn(usize) -> Dual<'p>,
        gradient: Dual,
        input: bool,
    ) -> Result<Back> {
        match (self, x) {
            (Self::Convolution { weight, step }, [x]) => {
                convolution((*x, weight, step), parameter(weight), gradient, input)
            }
            (Self::Affine { scale, shift, .. }, [x]) => {
                let of = (parameter(scale), parameter(shift));
                affine((*x, (scale, shift)), of, gradient, input)
            }
            (Self::Head { weight, bias }, [x]) => {
                let mut back = Back::default();
                if input {
                    let through = |g: &Tensor, weight: &Tensor| g.matmul(weight);
                    let found = gradient.combined(parameter(weight), through)?;
                    back.inputs.extend(found);
                }
                let to_weight = gradient.combined(*x, |g, x| g.t()?.matmul(x))?;
                let to_bias = gradient.through(|g| g.sum(0))?;
                (back.parameters).extend(to_weight.map(|found| (weight, found)));
                (back.parameters).extend(to_bias.map(|found| (bias, found)));
                Ok(back)
            }
            _ => match gradient.tangent {
                Some(tangent) if input => {
                    let values: Vec<&Tensor> = x.iter().map(|x| x.value).collect();
                    self.along(&values, tangent)
                }
                _ => Ok(Back::default()),
            },
        }
    }

    /// Through an operation without parameters, which is linear where it is.
    fn along(self, x: &[&Tensor], gradient: &Tensor) -> Result<Back> {
        let inputs = match (self, x) {
            (Self::AddRectifier, [_, _]) => vec![gradient.clone(), gradient.clone()],
            (Self::MaxPool(window), [x]) => vec![max_pool_gradient(x, window, gradient)?],
            (Self::Mean, [x]) => {
                let (batch, channels, height, width) = x.dims4()?;
                vec![spread(
                    gradient,
                    [batch, channels, height, width],
                    gradient.dtype(),
                )?]
            }
            _ => bail!("the way back of {self:?} of {} inputs", x.len()),
        };
        Ok(Back {
            inputs,
            parameters: Vec::new(),
        })
    }
}

impl Back {
    fn of_affine((scale, shift): (usize, usize), found: Gradients) -> Self {
        let (to_scale, to_shift) = found.parameters.unzip();
        let parameters = [(scale, to_scale), (shift, to_shift)];
        Self {
            inputs: found.input.into_iter().collect(),
            parameters: (parameters.into_iter())
                .filter_map(|(place, found)| Some((place, found?)))
                .collect(),
        }
    }
}

fn convolution(
    (x, place, step): (Dual, usize, Convolution),
    weight: Dual,
    gradient: Dual,
    input: bool,
) -> Result<Back> {
    let mut back = Back::default();
    if input {
        let found = gradient.combined(weight, |g, weight| {
            let wanted = Wanted {
                input: true,
                parameters: false,
            };
            one(convolution_gradients(x.value, weight, step, g, wanted)?.0)
        })?;
        back.inputs.extend(found);
    }
    let found = gradient.combined(x, |g, x| {
        let wanted = Wanted {
            input: false,
            parameters: true,
        };
        one(convolution_gradients(x, weight.value, step, g, wanted)?.1)
    })?;
    back.parameters.extend(found.map(|found| (place, found)));
    Ok(back)
}

/// The two terms of each sum in one pass each: (s ġ, Σ ġ x, Σ ġ) and (ṡ ḡ, Σ ḡ ẋ).
fn affine(
    (x, places): (Dual, (usize, usize)),
    (scale, shift): (Dual, Dual),
    gradient: Dual,
    input: bool,
) -> Result<Back> {
    let tangents = (gradient.tangent, x.tangent, scale.tangent);
    let (Some(along), Some(x_along), Some(scale_along)) = tangents else {
        bail!("batch norm of what does not change");
    };
    let wanted = Wanted {
        input,
        parameters: true,
    };
    let of = |x: &Tensor, scale: &Tensor, gradient: &Tensor| {
        channel_affine_gradients(x, (scale, shift.value), None, gradient, wanted)
    };
    let first = of(x.value, scale.value, along)?;
    let second = of(x_along, scale_along, gradient.value)?;
    let parameters = match (first.parameters, second.parameters) {
        (Some((scale, shift)), Some((own, _))) => Some(((scale + own)?, shift)),
        _ => None,
    };
    let found = Gradients {
        input: sum(first.input, second.input)?,
        parameters,
    };
    Ok(Back::of_affine(places, found))
}

fn one(found: Option<Tensor>) -> Result<Tensor> {
    match found {
        Some(found) => Ok(found),
        None => bail!("a gradient that was asked for is missing"),
    }
}
