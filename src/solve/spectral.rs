//! An inverse on the span of a few orthonormal vectors: x = Σ_k u_k (u_kᵀ b) / μ_k, and 0 on the complement.

use crate::Result;
use crate::operator::Vectors;

/// Orthonormal rows u and the factors 1/μ.
pub(super) struct Spectral {
    pairs: Option<Vectors>,
    factors: Vec<f64>,
}

impl Spectral {
    /// From `[k, p]` and k values, none of them zero; nothing kept where `pairs` is none.
    pub(super) fn new(pairs: Option<Vectors>, values: &[f64]) -> Self {
        Self {
            pairs,
            factors: values.iter().map(|value| value.recip()).collect(),
        }
    }

    /// x for every row b of `block`.
    pub(super) fn apply(&self, block: &Vectors) -> Result<Vectors> {
        let Some(pairs) = &self.pairs else {
            return block.scaled(&vec![0.0; block.count()]);
        };
        let rows = block.tensor();
        let pairs = pairs.to_dtype(rows.dtype())?;
        let basis = pairs.tensor().to_device(rows.device())?;
        let weighted = pairs.scaled(&self.factors)?;
        let weighted = weighted.tensor().to_device(rows.device())?;
        Vectors::new(rows.matmul(&basis.t()?)?.matmul(&weighted)?)
    }
}
