//! (RᵀR/n + σI)⁻¹ v = (v − Rᵀ (nσI + RRᵀ)⁻¹ R v)/σ: exact by the matrix between the rows of R, however many columns they have.
//!
//! RRᵀ takes N²p/2 multiplications for N rows of p numbers. Where not all rows can be held they are made anew for each part of them
//! that is, and twice for every block of right-hand sides, before and after the factor. What v loses where it and Rᵀ(…) cancel is won
//! back by refinement ([`super::direct`]).

use super::cholesky::Factor;
use crate::operator::{RootForm, SquareMatrix, SymmetricMatrix, Vectors};
use crate::product::{row_products, tensor_product};
use crate::{Error, Result};
use candle_core::Tensor;
use std::ops::Range;

/// The factor of nσI + RRᵀ.
pub(super) struct Woodbury<'a> {
    root: RootForm<'a>,
    /// All blocks of rows, or none where they are too many.
    kept: Vec<Tensor>,
    factor: Factor,
}

impl<'a> Woodbury<'a> {
    /// # Errors
    /// Rows that are not finite, or a tensor operation failed.
    pub(super) fn of(root: RootForm<'a>) -> Result<Self> {
        let kept = match root.blocks().len() {
            blocks if blocks <= root.held() => made(&root, 0..blocks)?,
            _ => Vec::new(),
        };
        let factor = Factor::of_matrix(SymmetricMatrix::F64(matrix(&root, &kept)?))?;
        let factor = factor.ok_or_else(|| {
            let reason = "the curvature is not positive definite, so that it has no Cholesky factor; raise it";
            Error::config("damping", reason)
        })?;
        Ok(Self { root, kept, factor })
    }

    /// Rows of R.
    pub(super) fn rows(&self) -> usize {
        self.root.count()
    }

    fn block(&self, index: usize) -> Result<Tensor> {
        match self.kept.get(index) {
            Some(rows) => Ok(rows.clone()),
            None => self.root.block(index),
        }
    }

    /// (RᵀR/n + σI)⁻¹ on every row of `vectors` `[k, p]`, in their precision.
    pub(super) fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        let blocks = self.root.blocks();
        if blocks.is_empty() {
            return vectors.scaled(&vec![self.root.shift().recip(); vectors.count()]);
        }
        // Some methods keep their vectors on the host.
        let there = vectors.tensor().to_device(self.root.device())?;
        let along = (0..blocks.len()).map(|index| row_products(&there, &self.block(index)?));
        let along = along.collect::<Result<Vec<_>>>()?;
        let weights = self.factor.apply(&Vectors::new(Tensor::cat(&along, 1)?)?)?;
        let weights = weights.tensor().to_dtype(there.dtype())?;
        let mut sum = there;
        for (index, rows) in blocks.iter().enumerate() {
            let weights = weights.narrow(1, rows.start, rows.len())?.contiguous()?;
            sum = (sum - tensor_product(&weights, &self.block(index)?)?)?;
        }
        Vectors::new((sum / self.root.shift())?.to_device(vectors.tensor().device())?)
    }
}

/// The rows of some blocks.
fn made(root: &RootForm, blocks: Range<usize>) -> Result<Vec<Tensor>> {
    blocks.map(|index| root.block(index)).collect()
}

/// The lower triangle of nσI + RRᵀ; `kept` are all blocks or none.
fn matrix(root: &RootForm, kept: &[Tensor]) -> Result<SquareMatrix<f64>> {
    let blocks = root.blocks();
    let mut matrix = SquareMatrix::zeros(root.count());
    let shift = root.images() as f64 * root.shift();
    matrix.diagonal_mut().for_each(|element| *element = shift);
    for first in (0..blocks.len()).step_by(root.held()) {
        let held = match kept {
            [] => made(root, first..blocks.len().min(first + root.held()))?,
            all => all.to_vec(),
        };
        for (index, rows) in blocks.iter().enumerate().skip(first) {
            let block = match held.get(index - first) {
                Some(held) => held.clone(),
                None => root.block(index)?,
            };
            for (columns, held) in blocks[first..=index].iter().zip(&held) {
                add_products((rows, &block), (columns, held), &mut matrix)?;
            }
        }
    }
    Ok(matrix)
}

/// Adds the inner products of some rows with others, which are no later ones.
fn add_products(
    (rows, block): (&Range<usize>, &Tensor),
    (columns, held): (&Range<usize>, &Tensor),
    matrix: &mut SquareMatrix<f64>,
) -> Result<()> {
    let products = row_products(held, block)?.to_vec2::<f64>()?;
    for (column, products) in columns.clone().zip(products) {
        let below = rows.clone().zip(products).filter(|(row, _)| *row >= column);
        below.for_each(|(row, product)| matrix[(row, column)] += product);
    }
    Ok(())
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
        let root = RootForm::of_network(network, (examples, positions), (bytes, SHIFT));
        Woodbury::of(root.unwrap().unwrap()).unwrap()
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
        // All rows kept; two parts, one after the other; rows of a single image at a time.
        for (rows_at_once, blocks) in [(27 * 3, 1), (6 * 3, 5), (3 * 3, 9), (1, 9)] {
            let inverse = inverse((&network, &examples), &positions, rows_at_once);
            // Four classes have three rows an image.
            assert_eq!((inverse.rows(), inverse.root.blocks().len()), (27, blocks));
            assert_eq!(inverse.kept.len(), if blocks == 1 { 1 } else { 0 });
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
