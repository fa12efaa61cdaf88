//! The largest eigenvalue of the preconditioned batches, which bounds the step size.

use super::{ESTIMATE, Prepared};
use crate::Result;
use crate::solve::iterated::random_vector;
use crate::solve::zero_curvature;

/// Batches on which the largest eigenvalue is estimated, and power iterations on each.
const ESTIMATED: (u64, usize) = (2, 10);

impl Prepared<'_> {
    /// The largest eigenvalue of M⁻¹A_B that power iterations from random vectors find, over a few batches: with z = A_B x,
    /// the quotient zᵀM⁻¹z / xᵀz only grows with x ← M⁻¹z.
    pub(super) fn largest_eigenvalue(&self) -> Result<f64> {
        let (batches, iterations) = ESTIMATED;
        let mut largest = 0.0f64;
        for draw in 0..if self.whole { 1 } else { batches } {
            let batch = match self.whole {
                true => None,
                false => Some(self.operator.on_images(&self.images((ESTIMATE, draw)))?),
            };
            let operator = batch.as_deref().unwrap_or(self.operator);
            let mut x = random_vector(self.operator, self.settings.seed, (ESTIMATE, draw))?;
            for _ in 0..iterations {
                let product = operator.apply(&x)?;
                let next = self.preconditioner.apply(&product)?;
                let quotient = product.dot(&next)?[0] / x.dot(&product)?[0];
                if quotient.is_finite() {
                    largest = largest.max(quotient);
                }
                let length = next.norms()?[0];
                if !(length.is_finite() && length > 0.0) {
                    break;
                }
                x = next.scaled(&[length.recip()])?;
            }
        }
        match largest > 0.0 {
            true => Ok(largest),
            false => Err(zero_curvature()),
        }
    }
}
