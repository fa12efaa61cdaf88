//! Reverse-mode gradients: the one call of candle's `backward`.

use crate::{Error, Result};
use candle_core::Tensor;

/// The gradient of a scalar with respect to each of the given variables, in their order.
///
/// # Errors
/// Where `value` is no scalar, or does not depend on one of the variables.
pub fn gradient(value: &Tensor, variables: &[&Tensor]) -> Result<Vec<Tensor>> {
    let mut gradients = value.backward()?;
    variables
        .iter()
        .map(|variable| {
            gradients.remove(variable).ok_or_else(|| {
                Error::mismatch(
                    "gradient",
                    "a value that depends on every variable",
                    "one that does not",
                    "this is a bug",
                )
            })
        })
        .collect()
}
