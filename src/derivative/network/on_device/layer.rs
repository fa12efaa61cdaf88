//! The operations of a residual network: value, and tangent at that value.
//!
//! Values are computed by the model's own operations. Their tangents:
//!
//! | | value | tangent |
//! |---|---|---|
//! | convolution | x ∗ W | ẋ ∗ W + x ∗ Ẇ |
//! | batch norm | s x + t | s ẋ + ṡ x + ṫ |
//! | rectifier | max(x, 0) | ẋ where the value is above 0 |
//! | max pool | x at the winners | ẋ at the winners |
//! | mean over pixels | x̄ | mean of ẋ |
//! | head | x Wᵀ + b | ẋ Wᵀ + x Ẇᵀ + ḃ |

use super::dual::{Dual, gated, sum};
use super::winners::{at_winners, winners};
use crate::model::op::{
    Convolution, Window, add_rectify, channel_affine, convolve, max_pool, rectify,
};
use candle_core::{Result, Tensor, bail};

/// An operation; numbers are places among the parameters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layer {
    Convolution {
        weight: usize,
        step: Convolution,
    },
    /// Batch norm in evaluation mode as scale and shift.
    Affine {
        scale: usize,
        shift: usize,
    },
    Rectifier,
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
            (Self::Affine { scale, shift }, [x]) => {
                channel_affine(x, &parameters[scale], &parameters[shift])
            }
            (Self::Rectifier, [x]) => rectify(x),
            (Self::AddRectifier, [a, b]) => add_rectify(a, b),
            (Self::MaxPool(window), [x]) => max_pool(x, window),
            (Self::Mean, [x]) => mean(x),
            (Self::Head { weight, bias }, [x]) => {
                product(x, &parameters[weight])?.broadcast_add(&parameters[bias])
            }
            _ => bail!("{self:?} of {} inputs", x.len()),
        }
    }

    /// The constant that tangents at `value` need, the same for every direction: where a rectifier is open (as in PyTorch not
    /// at 0), who won a pool.
    pub(super) fn aid(self, x: &[&Tensor], value: &Tensor) -> Result<Option<Tensor>> {
        match (self, x) {
            // Rectified values are 0 or above.
            (Self::Rectifier | Self::AddRectifier, _) => value.detach().sign().map(Some),
            (Self::MaxPool(window), [x]) => winners(&x.detach(), &value.detach(), window).map(Some),
            _ => Ok(None),
        }
    }

    /// Along a direction; none where neither inputs nor parameters change.
    pub(super) fn tangent<'p>(
        self,
        x: &[Dual],
        parameter: impl Fn(usize) -> Dual<'p>,
        (value, aid): (&Tensor, Option<&Tensor>),
    ) -> Result<Option<Tensor>> {
        match (self, x, aid) {
            (Self::Convolution { weight, step }, [x], _) => {
                x.combined(parameter(weight), |x, weight| convolve(x, weight, step))
            }
            (Self::Affine { scale, shift }, [x], _) => {
                affine(*x, parameter(scale), parameter(shift))
            }
            (Self::Rectifier, [x], Some(open)) => gated(x.tangent.cloned(), open),
            (Self::AddRectifier, [a, b], Some(open)) => {
                gated(sum(a.tangent.cloned(), b.tangent.cloned())?, open)
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
        let zero = scale.value.detach().zeros_like()?;
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
