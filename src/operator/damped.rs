//! A + λI for any operator A: the curvature that influence scores invert.

use super::{LinearOperator, Structure, Vectors};
use crate::{Error, Result};
use ndarray::Array2;

/// A + λI.
pub struct Damped<'a> {
    operator: &'a dyn LinearOperator,
    damping: f64,
}

impl<'a> Damped<'a> {
    /// Adds `damping` ≥ 0 to every eigenvalue of `operator`.
    ///
    /// # Errors
    /// A damping that is negative or not finite.
    pub fn new(operator: &'a dyn LinearOperator, damping: f64) -> Result<Self> {
        if !(damping.is_finite() && damping >= 0.0) {
            return Err(Error::config(
                "damping",
                format!("{damping} is not a number of 0 or more"),
            ));
        }
        Ok(Self { operator, damping })
    }
}

impl LinearOperator for Damped<'_> {
    fn size(&self) -> usize {
        self.operator.size()
    }

    fn structure(&self) -> Structure {
        match self.operator.structure() {
            Structure::PositiveSemidefinite if self.damping > 0.0 => Structure::PositiveDefinite,
            other => other,
        }
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        let product = self.operator.apply(vectors)?;
        if self.damping == 0.0 {
            return Ok(product);
        }
        product.add_scaled(&vec![self.damping; vectors.count()], vectors)
    }

    fn dense(&self) -> Result<Array2<f64>> {
        let mut matrix = self.operator.dense()?;
        matrix.diag_mut().mapv_inplace(|value| value + self.damping);
        Ok(matrix)
    }
}
