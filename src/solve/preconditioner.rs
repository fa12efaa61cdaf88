//! What conjugate gradients divide by: for the head the strongest axes by a Cholesky factor, all others by the diagonal;
//! through blocks a low rank and the damping.
//!
//! EK-FAC, the diagonal in the Kronecker axes, leaves out that confident images are not like the others: along the strongest
//! feature axes the curvatures of different axes and classes are coupled. These axes, with all classes, are few enough to
//! be written out and factorised: M = A on them, diag(A) elsewhere, which is positive definite if A is. On the job of
//! `analysis/speed` (d = 2,048, ten classes, 10 queries, residual 1e-5), EK-FAC alone takes 45 iterations, with 16, 64,
//! 128 and 256 axes these are 28, 17, 11 and 8; a block over the classes for each of the other axes changes nothing.
//!
//! Through the blocks of a network the large eigenvalues are no matter of axes: EK-FAC and the diagonal make conjugate
//! gradients slower there than nothing does (`analysis/solvers`), as the gradients of n images span far fewer directions than
//! there are parameters and a diagonal spreads their curvature over all of these. A few hundred rows R with RᵀR ≈ A where A is
//! large ([`LinearOperator::low_rank`]) leave the solver nothing but the small eigenvalues.

use super::cholesky::Factor;
use super::diagonal::Reciprocal;
use super::kronecker::KroneckerInverse;
use crate::Result;
use crate::operator::{LinearOperator, PrincipalBlock, Vectors};
use candle_core::{Device, Tensor};

/// Parameters written out at most: 256 axes of ten classes, about the cost of a product with sixty vectors.
const WRITTEN_OUT: usize = 2304;
/// The share of all parameters that is written out at most; with more the solver would be a factorisation.
const SHARE: usize = 4;

/// The parameters of the strongest axes that are written out, at most, of `size` in all.
pub fn strong_parameters(size: usize) -> usize {
    WRITTEN_OUT.min(size / SHARE)
}

/// M⁻¹
pub(super) enum Preconditioner {
    /// The strongest axes by a factor, the others by the diagonal.
    Axes(Axes),
    /// A low rank and a multiple of I.
    LowRank(KroneckerInverse),
}

/// For operators whose own axes are the Kronecker ones, and for those that know none.
pub(super) struct Axes {
    diagonal: Reciprocal,
    strong: Option<Strong>,
    /// Whether the operator knows strong axes, be they too many or not.
    known: bool,
}

/// The part that is factorised.
struct Strong {
    positions: Tensor,
    /// Of every parameter its place in the part, one past the last for those outside: how the part is spread over all
    /// parameters on a device, where adding at indices is slow.
    places: Tensor,
    factor: Factor,
}

impl Strong {
    /// None where the block is not positive definite in its precision.
    fn of(block: PrincipalBlock, size: usize, device: &Device) -> Result<Option<Self>> {
        let positions: Vec<u32> = block.positions.iter().map(|&at| at as u32).collect();
        let mut places = vec![positions.len() as u32; size];
        (block.positions.iter().zip(0..)).for_each(|(&at, place)| places[at] = place);
        let positions = Tensor::new(positions, device)?;
        let places = Tensor::new(places, device)?;
        let factor = Factor::of_matrix(block.matrix)?;
        Ok(factor.map(|factor| Self {
            positions,
            places,
            factor,
        }))
    }

    /// `rows` `[k, p]` with `change` `[k, part]` added to the part.
    fn added(&self, rows: &Tensor, change: &Tensor) -> Result<Tensor> {
        match rows.device().is_cpu() {
            true => Ok(rows.index_add(&self.positions, change, 1)?),
            false => Ok((rows + self.spread(change)?)?),
        }
    }

    /// `change` at the part's parameters, 0 elsewhere.
    fn spread(&self, change: &Tensor) -> Result<Tensor> {
        let padded = change.pad_with_zeros(1, 0, 1)?;
        Ok(padded.index_select(&self.places, 1)?)
    }
}

impl Preconditioner {
    /// For an operator; the diagonal alone where it knows neither a low rank nor strong axes, or is not definite on them.
    pub(super) fn of(operator: &dyn LinearOperator) -> Result<Self> {
        Ok(match operator.low_rank()? {
            Some(form) => Self::LowRank(KroneckerInverse::of(form, operator)?),
            None => Self::Axes(Axes::of(operator)?),
        })
    }

    /// Whether the operator knows its strong axes.
    pub(super) fn knows_axes(&self) -> bool {
        matches!(self, Self::Axes(Axes { known: true, .. }))
    }

    /// M⁻¹ on every row.
    pub(super) fn apply(&self, block: &Vectors) -> Result<Vectors> {
        match self {
            Self::Axes(axes) => axes.apply(block),
            Self::LowRank(inverse) => inverse.apply(block),
        }
    }

    /// How it was made, by name.
    pub(super) fn notes(&self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Axes(_) => Vec::new(),
            Self::LowRank(inverse) => inverse.notes().to_vec(),
        }
    }
}

impl Axes {
    fn of(operator: &dyn LinearOperator) -> Result<Self> {
        let size = strong_parameters(operator.size());
        let block = operator.principal_block(size)?;
        let known = block.is_some();
        let strong = match block {
            Some(block) if !block.positions.is_empty() => {
                Strong::of(block, operator.size(), &operator.device())?
            }
            _ => None,
        };
        Ok(Self {
            diagonal: Reciprocal::of(operator)?,
            strong,
            known,
        })
    }

    fn apply(&self, block: &Vectors) -> Result<Vectors> {
        let quotients = self.diagonal.apply(block)?;
        let Some(strong) = &self.strong else {
            return Ok(quotients);
        };
        let rows = block.tensor();
        let index = &strong.positions;
        let part = Vectors::new(rows.index_select(index, 1)?)?;
        let divided = quotients.tensor().index_select(index, 1)?;
        let change = (strong.factor.apply(&part)?.tensor() - divided)?;
        Vectors::new(strong.added(quotients.tensor(), &change)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{SquareMatrix, SymmetricMatrix};
    use candle_core::DType;

    #[test]
    fn a_part_is_spread_as_it_is_added() {
        let block = PrincipalBlock {
            positions: vec![1, 4, 2],
            matrix: SymmetricMatrix::F64(SquareMatrix::from_lower(3, |i, j| f64::from(i == j))),
        };
        let strong = Strong::of(block, 6, &Device::Cpu).unwrap().unwrap();
        let change = Tensor::new(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::Cpu).unwrap();
        let zeros = Tensor::zeros((2, 6), DType::F64, &Device::Cpu).unwrap();
        let expected = [
            [0.0, 1.0, 3.0, 0.0, 2.0, 0.0],
            [0.0, 4.0, 6.0, 0.0, 5.0, 0.0],
        ];
        let values = |rows: Tensor| rows.to_vec2::<f64>().unwrap();
        assert_eq!(values(strong.spread(&change).unwrap()), expected);
        assert_eq!(values(strong.added(&zeros, &change).unwrap()), expected);
    }
}
