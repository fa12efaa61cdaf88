//! (RᵀR + σI)⁻¹ v = (v − Rᵀ (σI + RRᵀ)⁻¹ R v)/σ: exact by the matrix between the rows of R, however many columns they have.
//!
//! RRᵀ takes N²p multiplications for N rows of p numbers. Where not all rows can be held they are made anew for each block of them
//! that is, N·b/2 rows for b blocks; and twice for every solve, before and after the factor. Sums of a block in the precision of the
//! rows, the rest in f64. What v loses where it and Rᵀ(…) cancel is won back by refinement ([`super::direct`]).

use super::cholesky::Factor;
use crate::operator::{RootForm, SquareMatrix, SymmetricMatrix, Vectors};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// Most rows: their matrix takes 2 GiB.
pub(super) const MOST_ROWS: usize = 16_384;

/// The factor of σI + RRᵀ.
pub(super) struct Woodbury<'a> {
    root: RootForm<'a>,
    /// All rows, where they are one block.
    kept: Option<Tensor>,
    factor: Factor,
}

impl<'a> Woodbury<'a> {
    /// # Errors
    /// σ is not above 0, rows that are not finite, or a tensor operation failed.
    pub(super) fn of(root: RootForm<'a>) -> Result<Self> {
        let kept = match root.blocks() {
            [_] => Some(root.block(0)?),
            _ => None,
        };
        let mut prepared = Self {
            factor: Factor::F64(SquareMatrix::zeros(0)),
            root,
            kept,
        };
        let factor = Factor::of_matrix(SymmetricMatrix::F64(prepared.matrix()?))?;
        prepared.factor = factor.ok_or_else(|| {
            let reason = "the curvature is not positive definite, so that it has no Cholesky factor; raise it";
            Error::config("damping", reason)
        })?;
        Ok(prepared)
    }

    /// Rows of R.
    pub(super) fn rows(&self) -> usize {
        self.root.count()
    }

    fn block(&self, index: usize) -> Result<Tensor> {
        match &self.kept {
            Some(rows) => Ok(rows.clone()),
            None => self.root.block(index),
        }
    }

    /// The lower triangle of σI + RRᵀ.
    fn matrix(&self) -> Result<SquareMatrix<f64>> {
        let blocks = self.root.blocks();
        let mut matrix = SquareMatrix::zeros(self.rows());
        matrix
            .diagonal_mut()
            .for_each(|element| *element = self.root.shift());
        for (index, columns) in blocks.iter().enumerate() {
            let held = self.block(index)?;
            for (other, rows) in blocks.iter().enumerate().skip(index) {
                let block = if other == index {
                    held.clone()
                } else {
                    self.block(other)?
                };
                let products = held.matmul(&block.t()?)?.to_dtype(DType::F64)?;
                let products = products.to_vec2::<f64>()?;
                for (column, products) in columns.clone().zip(products) {
                    for (row, product) in rows
                        .clone()
                        .zip(products)
                        .skip_while(|(row, _)| *row < column)
                    {
                        matrix[(row, column)] += product;
                    }
                }
            }
        }
        Ok(matrix)
    }

    /// (RᵀR + σI)⁻¹ on every row of `vectors` `[k, p]`, in their precision.
    pub(super) fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        let given = vectors.tensor();
        let mut sum: Option<Tensor> = None;
        let mut along = Vec::new();
        for index in 0..self.root.blocks().len() {
            let rows = self.block(index)?;
            let there = sum.get_or_insert(given.to_device(rows.device())?);
            along.push(there.matmul(&rows.t()?)?);
        }
        let Some(mut sum) = sum else {
            return vectors.scaled(&vec![self.root.shift().recip(); vectors.count()]);
        };
        let weights = self.factor.apply(&Vectors::new(Tensor::cat(&along, 1)?)?)?;
        for (index, rows) in self.root.blocks().iter().enumerate() {
            let weights = weights
                .tensor()
                .narrow(1, rows.start, rows.len())?
                .contiguous()?;
            sum = (sum - weights.matmul(&self.block(index)?)?)?;
        }
        Vectors::new((sum / self.root.shift())?.to_device(given.device())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivative::network::small_problem::small_problem;
    use crate::derivative::network::{Curvature, Examples, Network};
    use crate::model::Blocks;
    use crate::operator::{Damped, LinearOperator, NetworkCurvature};

    const IMAGES: usize = 9;
    const SHIFT: f64 = 1e-2;

    fn inverse<'a>(
        (network, examples): (&'a Network, &'a Examples),
        positions: &'a [u32],
        rows_at_once: usize,
    ) -> Woodbury<'a> {
        let bytes = (rows_at_once * network.size() * network.dtype().size_in_bytes()) as u64;
        let root = RootForm::of_network(network, (examples, positions), (bytes, SHIFT)).unwrap();
        Woodbury::of(root).unwrap()
    }

    /// A times the solution is the right-hand side again, the products being those of the operator, however many rows are held.
    #[test]
    fn solutions_are_those_of_the_operator_in_any_blocks() {
        let (network, examples) = small_problem(Blocks::Last(1), IMAGES);
        let positions: Vec<u32> = (0..IMAGES as u32).collect();
        let kind = Curvature::GaussNewton;
        let curvature = NetworkCurvature::new(&network, &examples, kind, 0.0, 0).unwrap();
        let damped = Damped::new(&curvature, SHIFT).unwrap();
        let gradients = network.example_gradients(&examples, &positions).unwrap();
        let right = Vectors::new(gradients).unwrap();
        let norms = right.norms().unwrap();
        for (rows_at_once, blocks) in [(1000, 1), (6, 5), (1, 9)] {
            let inverse = inverse((&network, &examples), &positions, rows_at_once);
            // Four classes have three rows an image.
            assert_eq!((inverse.rows(), inverse.root.blocks().len()), (27, blocks));
            assert_eq!(inverse.kept.is_some(), blocks == 1);
            let found = inverse.apply(&right).unwrap();
            let error = damped.residuals(&found, &right).unwrap().norms().unwrap();
            for (error, norm) in error.iter().zip(&norms) {
                assert!(*error < 1e-12 * norm, "{error:e} of {norm:e}");
            }
        }
    }

    /// What is orthogonal to all rows is divided by σ.
    #[test]
    fn no_rows_leave_the_shift() {
        let (network, examples) = small_problem(Blocks::Last(0), IMAGES);
        let inverse = inverse((&network, &examples), &[], 4);
        assert_eq!(inverse.rows(), 0);
        let ones = vec![1.0; network.size()];
        let right = Vectors::from_rows(ones, network.size()).unwrap();
        let found = inverse.apply(&right).unwrap();
        let found = found
            .tensor()
            .flatten_all()
            .unwrap()
            .to_vec1::<f64>()
            .unwrap();
        assert!(
            found
                .iter()
                .all(|value| (value - 1.0 / SHIFT).abs() < 1e-12)
        );
    }
}
