//! The vectors a Lanczos process has found, in one tensor that grows by doubling.

use crate::Result;
use crate::operator::{LinearOperator, Vectors};
use candle_core::Tensor;

/// Orthonormal rows: the first `count` of a tensor with room for more.
pub(super) struct Basis {
    pub(super) rows: Tensor,
    pub(super) count: usize,
}

impl Basis {
    pub(super) fn new(operator: &dyn LinearOperator) -> Result<Self> {
        let shape = (16, operator.size());
        Ok(Self {
            rows: Tensor::zeros(shape, operator.dtype(), &operator.device())?,
            count: 0,
        })
    }

    pub(super) fn push(&mut self, vectors: &Vectors) -> Result<()> {
        let room = self.rows.dims()[0];
        let needed = self.count + vectors.count();
        if needed > room {
            let more = Tensor::zeros_like(&self.rows.narrow(0, 0, 1)?)?;
            let more = more.repeat((room.max(needed - room), 1))?;
            self.rows = Tensor::cat(&[&self.rows, &more], 0)?;
        }
        self.rows.slice_set(vectors.tensor(), 0, self.count)?;
        self.count = needed;
        Ok(())
    }

    /// w − QᵀQ w, twice.
    pub(super) fn orthogonalise(&self, vector: Vectors) -> Result<Vectors> {
        if self.count == 0 {
            return Ok(vector);
        }
        let basis = self.rows.narrow(0, 0, self.count)?;
        let mut rest = vector.tensor().clone();
        for _ in 0..2 {
            rest = (&rest - rest.matmul(&basis.t()?)?.matmul(&basis)?)?;
        }
        Vectors::new(rest)
    }
}
