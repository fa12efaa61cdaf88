//! What conjugate gradients divide by: the strongest axes by a Cholesky factor, all others by the diagonal.
//!
//! EK-FAC, the diagonal in the Kronecker axes, leaves out that confident images are not like the others: along the strongest
//! feature axes the curvatures of different axes and classes are coupled. These axes, with all classes, are few enough to
//! be written out and factorised: M = A on them, diag(A) elsewhere, which is positive definite if A is. On the job of
//! `analysis/speed` (d = 2,048, ten classes, 10 queries, residual 1e-5), EK-FAC alone takes 45 iterations, with 16, 64,
//! 128 and 256 axes these are 28, 17, 11 and 8; a block over the classes for each of the other axes changes nothing.

use super::cholesky::Factor;
use super::diagonal::Reciprocal;
use crate::Result;
use crate::operator::{LinearOperator, Vectors};
use candle_core::Tensor;

/// Parameters written out at most: 256 axes of ten classes, about the cost of a product with sixty vectors.
const WRITTEN_OUT: usize = 2304;
/// The share of all parameters that is written out at most; with more the solver would be a factorisation.
const SHARE: usize = 4;

/// The parameters of the strongest axes that are written out, at most, of `size` in all.
pub fn strong_parameters(size: usize) -> usize {
    WRITTEN_OUT.min(size / SHARE)
}

/// M⁻¹
pub(super) struct Preconditioner {
    diagonal: Reciprocal,
    strong: Option<Strong>,
    /// Whether the operator knows strong axes, be they too many or not.
    axes_known: bool,
}

/// The part that is factorised.
struct Strong {
    positions: Vec<u32>,
    factor: Factor,
}

impl Preconditioner {
    /// For an operator; the diagonal alone where it knows no strong axes, or is not definite on them.
    pub(super) fn of(operator: &dyn LinearOperator) -> Result<Self> {
        let size = strong_parameters(operator.size());
        let block = operator.principal_block(size)?;
        let axes_known = block.is_some();
        let strong = block.and_then(|block| {
            let positions: Vec<u32> = block.positions.iter().map(|&at| at as u32).collect();
            let factor = (!positions.is_empty())
                .then(|| Factor::of_matrix(block.matrix))
                .flatten()?;
            Some(Strong { positions, factor })
        });
        Ok(Self {
            diagonal: Reciprocal::of(operator)?,
            strong,
            axes_known,
        })
    }

    /// Whether the operator knows its strong axes.
    pub(super) fn knows_axes(&self) -> bool {
        self.axes_known
    }

    /// M⁻¹ on every row.
    pub(super) fn apply(&self, block: &Vectors) -> Result<Vectors> {
        let quotients = self.diagonal.apply(block)?;
        let Some(strong) = &self.strong else {
            return Ok(quotients);
        };
        let rows = block.tensor();
        let index = Tensor::new(strong.positions.as_slice(), rows.device())?;
        let part = Vectors::new(rows.index_select(&index, 1)?)?;
        let divided = quotients.tensor().index_select(&index, 1)?;
        let change = (strong.factor.apply(&part)?.tensor() - divided)?;
        Vectors::new(quotients.tensor().index_add(&index, &change, 1)?)
    }
}
