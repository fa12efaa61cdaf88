//! A value and its tangent: forward mode, one operation at a time.

use crate::model::op::gate;
use candle_core::{Result, Tensor};

/// A value x(θ) and its tangent ẋ along a direction in θ; none where x does not depend on θ.
#[derive(Clone, Copy)]
pub(super) struct Dual<'a> {
    pub(super) value: &'a Tensor,
    pub(super) tangent: Option<&'a Tensor>,
}

impl Dual<'_> {
    /// The tangent of a linear map of x.
    pub(super) fn through(
        self,
        map: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        self.tangent.map(map).transpose()
    }

    /// The tangent of a bilinear map of x and another: m(ẋ, w) + m(x, ẇ).
    pub(super) fn combined(
        self,
        other: Dual,
        map: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        sum(
            self.through(|tangent| map(tangent, other.value))?,
            other.through(|tangent| map(self.value, tangent))?,
        )
    }
}

/// The sum of two tangents, where absent ones are zero.
pub(super) fn sum(left: Option<Tensor>, right: Option<Tensor>) -> Result<Option<Tensor>> {
    Ok(match (left, right) {
        (Some(left), Some(right)) => Some((left + right)?),
        (left, right) => left.or(right),
    })
}

/// A tangent where a rectifier gave a `value` above 0, zero elsewhere.
pub(super) fn gated(tangent: Option<Tensor>, value: &Tensor) -> Result<Option<Tensor>> {
    tangent.map(|tangent| gate(value, &tangent)).transpose()
}
