//! The operations of a residual network: value, and tangent at that value.
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
//! | head | x Wᵀ + b | ẋ Wᵀ + x Ẇᵀ + ḃ |

use super::dual::{Dual, gated, sum};
use super::winners::{at_winners, winners};
use crate::model::op::{
    Convolution, Window, add_rectify, channel_affine, convolve, max_pool, rectified_channel_affine,
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

impl Layer {
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
            _ => bail!("{self:?} of {} inputs", x.len()),
        }
    }

    /// Who won a pool: the constant that its tangents need, the same for every direction.
    pub(super) fn winners(self, x: &[&Tensor], value: &Tensor) -> Result<Option<Tensor>> {
        match (self, x) {
            (Self::MaxPool(window), [x]) => winners(x, value, window).map(Some),
            _ => Ok(None),
        }
    }

    /// Along a direction; none where neither inputs nor parameters change.
    pub(super) fn tangent<'p>(
        self,
        x: &[Dual],
        parameter: impl Fn(usize) -> Dual<'p>,
        (value, winners): (&Tensor, Option<&Tensor>),
    ) -> Result<Option<Tensor>> {
        match (self, x, winners) {
            (Self::Convolution { weight, step }, [x], _) => {
                x.combined(parameter(weight), |x, weight| convolve(x, weight, step))
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
                let tangent = affine(*x, parameter(scale), parameter(shift))?;
                match rectified {
                    true => gated(tangent, value),
                    false => Ok(tangent),
                }
            }
            (Self::AddRectifier, [a, b], _) => {
                gated(sum(a.tangent.cloned(), b.tangent.cloned())?, value)
            }
            (Self::MaxPool(_), [x], Some(winners)) => {
                x.through(|tangent| at_winners(tangent, winners, value.dims()))
            }
            (Self::Mean, [x], _) => x.through(mean),
            (Self::Head { weight, bias }, [x], _) => {
                let product = x.combined(parameter(weight), product)?;
                match (product, parameter(bias).tangent) {
                    (Some(product), Some(bias)) => Ok(Some(product.broadcast_add(bias)?)),
                    (product, _) => Ok(product),
                }
            }
            _ => bail!("the tangent of {self:?} of {} inputs", x.len()),
        }
    }
}

/// s ẋ + (ṡ x + ṫ)
fn affine(x: Dual, scale: Dual, shift: Dual) -> Result<Option<Tensor>> {
    let moved = x.through(|tangent| {
        let zero = scale.value.zeros_like()?;
        channel_affine(tangent, scale.value, &zero)
    })?;
    let own = match (scale.tangent, shift.tangent) {
        (Some(scale), Some(shift)) => Some(channel_affine(x.value, scale, shift)?),
        _ => None,
    };
    sum(moved, own)
}

fn mean(x: &Tensor) -> Result<Tensor> {
    x.flatten_from(2)?.mean(2)
}

fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)
}
