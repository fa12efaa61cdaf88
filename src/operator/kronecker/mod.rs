//! A matrix that is diagonal in known axes, but for a few rows: Q (diag d + RᵀR) Qᵀ.
//!
//! EK-FAC (George et al. 2018) of a network is one without rows: Q = Q_S ⊗ Q_A in each layer, with the eigenvectors of the
//! Kronecker factors (see [`crate::derivative::network`]), and d_j = (1/n) Σ (Qᵀg)²_j over all gradients g whose second
//! moment is the Gauss–Newton matrix. That is the diagonal of QᵀGQ, the best d there is for these axes. Batch norm's scales
//! and shifts have no factors; they are few, so that their block of G is written out, over all layers, and Q has its
//! eigenvectors; where they are more than [`JOINT`], their diagonal stands for it.
//!
//! What is left out is how layers are coupled, and within a layer whatever does not factor. Rows R hold what they can of
//! this ([`low_rank`]): RᵀR ≈ G where G is large, and d is what they leave of the diagonal, so that Q (diag d + RᵀR) Qᵀ has
//! the diagonal of QᵀGQ still. R alone, with Q = I and d the damping, is what conjugate gradients divide by.

mod axes;
mod build;
mod low_rank;

#[cfg(test)]
mod tests;

pub use axes::KroneckerAxes;
pub(crate) use build::COPIES_OF_GRADIENTS;
pub(super) use build::rows_within;
pub use build::{Eigenvalues, KroneckerSettings};

use candle_core::Tensor;

/// Batch norm parameters whose block is written out at most.
const JOINT: usize = 2048;

/// Q (diag d + RᵀR) Qᵀ.
#[derive(Debug, Clone)]
pub struct KroneckerForm {
    axes: KroneckerAxes,
    /// The diagonal of QᵀAQ.
    diagonal: Vec<f64>,
    rows: Option<StrongRows>,
    notes: Vec<(&'static str, f64)>,
}

/// R and d.
#[derive(Debug, Clone)]
pub(crate) struct StrongRows {
    /// In coordinates, `[r, p]`.
    pub(crate) rows: Tensor,
    /// d, what R leaves of the diagonal.
    pub(crate) rest: Vec<f64>,
}

impl KroneckerForm {
    /// Q.
    pub fn axes(&self) -> &KroneckerAxes {
        &self.axes
    }

    /// The diagonal of QᵀAQ, `[p]`: d and the squares of R.
    pub fn diagonal(&self) -> &[f64] {
        &self.diagonal
    }

    /// R and d.
    pub(crate) fn into_rows(self) -> (KroneckerAxes, Vec<f64>, Option<StrongRows>) {
        (self.axes, self.diagonal, self.rows)
    }

    /// Rows of R.
    #[cfg(test)]
    pub(crate) fn row_count(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.rows.dims()[0])
    }

    /// How it was made, by name.
    pub fn notes(&self) -> &[(&'static str, f64)] {
        &self.notes
    }

    /// Adds `value` to every eigenvalue.
    #[must_use]
    pub fn shifted(mut self, value: f64) -> Self {
        let rest = self.rows.iter_mut().flat_map(|rows| &mut rows.rest);
        self.diagonal
            .iter_mut()
            .chain(rest)
            .for_each(|d| *d += value);
        self
    }
}
