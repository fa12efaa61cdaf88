//! Each channel of a batch normalised by its own moments, `[B, C, H, W]`: what batch norm in training mode does before scale and shift.
//!
//! With μ and τ the mean and (biased) variance of a channel over its N = B·H·W numbers, s = 1/√(τ + ε) and m the mean over these
//! numbers, x̂ = s (x − μ). Its derivative is symmetric: along ẋ as back from ḡ it is
//!
//! P ẋ = s (ẋ − m(ẋ) − x̂ m(x̂ ẋ)).
//!
//! Along ẋ, with ṡ = −s² q for q = m(x̂ ẋ) and x̂˙ = P ẋ, the gradient P ḡ moves by
//!
//! P ġ − s q P ḡ − s (x̂˙ m(x̂ ḡ) + x̂ m(x̂˙ ḡ)),
//!
//! to which what pulls at the moments adds (μ̄ + 2 τ̄ (x − μ)) / N. All of it is linear in ẋ, ġ, ḡ, x̂˙, x̂ and 1 with numbers for each
//! channel and direction, which are means over the same tensors.

use super::dual::Dual;
use super::way_back::Returning;
use crate::model::EPSILON;
use crate::model::op::{
    ScaleAlong, affine_along, affine_along_gradients, batch_moments, batch_norm,
};
use candle_core::{Result, Tensor, bail};

/// x̂ and s `[C]`.
pub(super) fn value(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let moments = batch_moments(x)?;
    let inverse = ((moments.values.get(1)? + EPSILON)?.sqrt()?.recip()?).to_dtype(x.dtype())?;
    let one = inverse.ones_like()?;
    let value = batch_norm(x, &one, &one.zeros_like()?, moments, EPSILON)?;
    Ok((value, inverse))
}

/// P of `[B, k, C, H, W]`.
pub(super) fn projected((value, inverse): (&Tensor, &Tensor), along: &Tensor) -> Result<Tensor> {
    let (product, mean) = means(value, along, None)?;
    let of = ScaleAlong {
        scale: inverse,
        scale_along: &product.broadcast_mul(inverse)?.neg()?,
        shift_along: &mean.broadcast_mul(inverse)?.neg()?,
    };
    affine_along((value, along), of, None)
}

/// Back from gradients `[B, k, C, H, W]`, or from the tangents of one.
pub(super) fn back(
    (x, output): (Dual, Dual),
    inverse: &Tensor,
    returning: Returning,
) -> Result<Tensor> {
    let Some((shared, _)) = returning.of else {
        return projected((output.value, inverse), returning.gradients);
    };
    let (Some(x_along), Some(along)) = (x.tangent, output.tangent) else {
        bail!("the moments of what does not change");
    };
    let by_inverse = |means: &Tensor| means.broadcast_mul(inverse);
    // s q, m(x̂ ḡ) and m(ḡ).
    let turn = by_inverse(&means(output.value, x_along, None)?.0)?;
    let (still_product, still_mean) = means(output.value, &shared.unsqueeze(1)?, None)?;
    let second = Some((along, shared));
    let (product, mean) = means(output.value, returning.gradients, second)?;
    let around =
        |moved: &Tensor, still: &Tensor| by_inverse(&(turn.broadcast_mul(still)? - moved)?);
    let mut slope = around(&product, &still_product)?;
    let mut constant = around(&mean, &still_mean)?;
    if let Some(pull) = returning.pull {
        slope = (slope + (pull.variance.broadcast_div(inverse)? * 2.0)?)?;
        constant = (constant + &pull.mean)?;
    }
    let of_gradients = ScaleAlong {
        scale: inverse,
        scale_along: &by_inverse(&turn)?.neg()?,
        shift_along: &constant,
    };
    let of_values = ScaleAlong {
        scale: &by_inverse(&still_product)?.neg()?.squeeze(0)?,
        scale_along: &slope,
        shift_along: &constant.zeros_like()?,
    };
    affine_along((shared, returning.gradients), of_gradients, None)?
        + affine_along((output.value, along), of_values, None)?
}

/// m(x̂ ġ) + m(x̂˙ ḡ) and m(ġ), `[k, C]`; `second` is (x̂˙, ḡ).
fn means(
    value: &Tensor,
    along: &Tensor,
    second: Option<(&Tensor, &Tensor)>,
) -> Result<(Tensor, Tensor)> {
    let (products, sums) = affine_along_gradients(value, along, second)?;
    let count = value.elem_count() / value.dim(1)?;
    let share = 1.0 / count as f64;
    Ok(((products * share)?, (sums * share)?))
}
