//! The operations of a residual network: value, and tangents at that value along all directions at once.
//!
//! Values are computed by the model's own operations. Their tangents:
//!
//! | | value | tangent |
//! |---|---|---|
//! | convolution | x ∗ W | ẋ ∗ W + x ∗ Ẇ |
//! | batch norm | s x + t | s ẋ + ṡ x + ṫ |
//! | rectifier | max(x, 0) | ẋ where the value is above 0 (as in PyTorch not at 0) |
//! | max pool | x at the winners | ẋ at the winners |
//! | mean over pixels | x̄ | mean of ẋ |
//! | normalised by the batch's moments | x̂ | [`normalise`](super::normalise) |
//! | head | x Wᵀ + b | ẋ Wᵀ + x Ẇᵀ + ḃ |

use super::dual::{Directions, Dual, beside, sum};
use super::normalise;
use super::winners::{at_winners, winners};
use crate::model::op::{
    Convolution, ScaleAlong, Window, add_rectify, affine_along, channel_affine, convolve,
    gate_along, max_pool, rectified_channel_affine,
};
use candle_core::{Result, Tensor, bail};

/// An operation; numbers are places among the parameters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layer {
    Convolution {
        weight: usize,
        step: Convolution,
    },
    /// Batch norm in evaluation mode as scale and shift, and a rectifier after it where there is one.
    Affine {
        scale: usize,
        shift: usize,
        rectified: bool,
    },
    /// Each channel normalised by its moments over the batch, in training mode; an [`Layer::Affine`] follows.
    Normalise,
    /// The rectified sum of two inputs.
    AddRectifier,
    MaxPool(Window),
    /// `[B, C, H, W]` → `[B, C]`
    Mean,
    Head {
        weight: usize,
        bias: usize,
    },
}

/// What does not depend on directions, beside a layer's value.
#[derive(Debug)]
pub(super) enum Constant {
    /// Which pixel a pool took, `[B, C, H'·W']`.
    Winners(Tensor),
    /// 1/√(τ + ε) of each channel of a batch, `[C]`.
    InverseDeviation(Tensor),
}

impl Constant {
    pub(super) fn tensor(&self) -> &Tensor {
        match self {
            Self::Winners(tensor) | Self::InverseDeviation(tensor) => tensor,
        }
    }
}

/// What a layer took and gave.
pub(super) struct Seen<'a> {
    pub(super) inputs: Vec<Dual<'a>>,
    pub(super) output: Dual<'a>,
    pub(super) constant: Option<&'a Constant>,
}

impl Layer {
    /// Whether it multiplies patches by a matrix.
    pub(super) fn multiplies_patches(self) -> bool {
        matches!(self, Self::Convolution { .. } | Self::Head { .. })
    }

    /// From its inputs `x` and all `parameters`.
    pub(super) fn value(self, x: &[&Tensor], parameters: &[Tensor]) -> Result<Tensor> {
        match (self, x) {
            (Self::Convolution { weight, step }, [x]) => convolve(x, &parameters[weight], step),
            (
                Self::Affine {
                    scale,
                    shift,
                    rectified,
                },
                [x],
            ) => {
                let map = match rectified {
                    true => rectified_channel_affine,
                    false => channel_affine,
                };
                map(x, &parameters[scale], &parameters[shift])
            }
            (Self::AddRectifier, [a, b]) => add_rectify(a, b),
            (Self::MaxPool(window), [x]) => max_pool(x, window),
            (Self::Mean, [x]) => mean(x),
            (Self::Head { weight, bias }, [x]) => {
                product(x, &parameters[weight])?.broadcast_add(&parameters[bias])
            }
            (Self::Normalise, [x]) => Ok(normalise::value(x)?.0),
            _ => bail!("{self:?} of {} inputs", x.len()),
        }
    }

    /// The same with the constant that its tangents need.
    pub(super) fn value_with_constant(
        self,
        x: &[&Tensor],
        parameters: &[Tensor],
    ) -> Result<(Tensor, Option<Constant>)> {
        if let (Self::Normalise, [x]) = (self, x) {
            let (value, inverse) = normalise::value(x)?;
            return Ok((value, Some(Constant::InverseDeviation(inverse))));
        }
        let value = self.value(x, parameters)?;
        let constant = match (self, x) {
            (Self::MaxPool(window), [x]) => Some(Constant::Winners(winners(x, &value, window)?)),
            _ => None,
        };
        Ok((value, constant))
    }

    /// Along all directions; none where neither inputs nor parameters change.
    pub(super) fn tangent(
        self,
        seen: &Seen,
        (parameters, along): (&[Tensor], &Directions),
    ) -> Result<Option<Tensor>> {
        let value = seen.output.value;
        let as_value = |tangents: Tensor| beside(&tangents, value.dims(), along.count());
        match (self, &seen.inputs[..], seen.constant) {
            (Self::Convolution { weight, step }, [x], _) => {
                let through = |tangent: &Tensor| {
                    as_value(convolve(
                        &tangent.flatten(0, 1)?,
                        &parameters[weight],
                        step,
                    )?)
                };
                let own = as_value(convolve(x.value, &along.as_outputs(weight)?, step)?)?;
                sum(x.tangent.map(through).transpose()?, Some(own))
            }
            (
                Self::Affine {
                    scale,
                    shift,
                    rectified,
                },
                [x],
                _,
            ) => {
                let of = ScaleAlong {
                    scale: &parameters[scale],
                    scale_along: along.of(scale),
                    shift_along: along.of(shift),
                };
                let Some(tangent) = x.tangent else {
                    bail!("batch norm of what does not change");
                };
                affine_along((x.value, tangent), of, rectified.then_some(value)).map(Some)
            }
            (Self::AddRectifier, [a, b], _) => {
                let tangent = sum(a.tangent.cloned(), b.tangent.cloned())?;
                let gated = |tangent: Tensor| gate_along(value, &tangent);
                tangent.map(gated).transpose()
            }
            (Self::MaxPool(_), [x], Some(Constant::Winners(winners))) => {
                let through = |tangent| as_value(at_winners(tangent, winners)?);
                x.tangent.map(through).transpose()
            }
            (Self::Mean, [x], _) => {
                let through = |tangent: &Tensor| as_value(mean(&tangent.flatten(0, 1)?)?);
                x.tangent.map(through).transpose()
            }
            (Self::Head { weight, bias }, [x], _) => {
                let through = |tangent: &Tensor| {
                    as_value(product(&tangent.flatten(0, 1)?, &parameters[weight])?)
                };
                let own = as_value(product(x.value, &along.as_outputs(weight)?)?)?;
                let own = own.broadcast_add(along.of(bias))?;
                sum(x.tangent.map(through).transpose()?, Some(own))
            }
            (Self::Normalise, [x], Some(Constant::InverseDeviation(inverse))) => {
                let through = |tangent| normalise::projected((value, inverse), tangent);
                x.tangent.map(through).transpose()
            }
            (_, x, _) => bail!("the tangent of {self:?} of {} inputs", x.len()),
        }
    }
}

fn mean(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(2)?.mean(2)
}

fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)
}
