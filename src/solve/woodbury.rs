//! (RᵀR/n + σI)⁻¹ v = (v − Rᵀ (nσI + RRᵀ)⁻¹ R v)/σ: exact by the matrix between the rows of R, however many columns they have.
//!
//! What v loses where it and Rᵀ(…) cancel is won back by refinement ([`super::direct`]).

use super::cholesky::Factor;
use crate::operator::{RootForm, SymmetricMatrix, Vectors};
use crate::{Error, Result};
use candle_core::Device;

/// The factor of nσI + RRᵀ.
pub(super) struct Woodbury<'a> {
    root: RootForm<'a>,
    factor: Factor,
}

impl<'a> Woodbury<'a> {
    /// # Errors
    /// [`Error::NoFactor`] where rounding leaves none or rows are not finite, or a tensor operation failed.
    pub(super) fn of(root: RootForm<'a>) -> Result<Self> {
        let factor = Factor::of_matrix(SymmetricMatrix::F64(root.gram()?))?;
        let factor = factor.ok_or(Error::NoFactor(
            "rounding leaves the products of the gradients with each other without a Cholesky factor; raise it, or choose --solver cg",
        ))?;
        Ok(Self { root, factor })
    }

    /// Rows of R.
    pub(super) fn rows(&self) -> usize {
        self.root.count()
    }

    /// (RᵀR/n + σI)⁻¹ on every row of `vectors` `[k, p]`, in their precision.
    pub(super) fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        if self.rows() == 0 {
            return vectors.scaled(&vec![self.root.shift().recip(); vectors.count()]);
        }
        // Some methods keep their vectors on the host.
        let there = vectors.tensor().to_device(&self.root.device())?;
        let weights = (self.factor).apply(&Vectors::new(self.root.products(&there)?)?)?;
        let sums = self.root.sums(&weights.tensor().to_device(&Device::Cpu)?)?;
        let found = ((there - sums)? / self.root.shift())?;
        Vectors::new(found.to_device(vectors.tensor().device())?)
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

    fn curvature<'a>(network: &'a Network, examples: &'a Examples) -> NetworkCurvature<'a> {
        NetworkCurvature::new(network, examples, Curvature::GaussNewton, 0.0, u64::MAX).unwrap()
    }

    /// With rows written out, so many of them at once.
    fn written<'a>(
        (network, examples): (&'a Network, &'a Examples),
        positions: &'a [u32],
        rows_at_once: usize,
    ) -> RootForm<'a> {
        let bytes = (rows_at_once * network.size() * network.dtype().size_in_bytes()) as u64;
        let root = RootForm::of_network(network, (examples, positions), (bytes, SHIFT));
        root.unwrap().unwrap()
    }

    /// A times the solution is the right-hand side again, the products being those of the operator, whether rows are held or
    /// written out, and in any blocks.
    #[test]
    fn solutions_are_those_of_the_operator_in_any_blocks() {
        let (network, examples) = small_problem(Blocks::Last(1), IMAGES);
        let positions: Vec<u32> = (0..IMAGES as u32).collect();
        let curvature = curvature(&network, &examples);
        let damped = Damped::new(&curvature, SHIFT).unwrap();
        let gradients = network.example_gradients(&examples, &positions).unwrap();
        let right = Vectors::new(gradients).unwrap();
        let norms = right.norms().unwrap();
        let problem = (&network, &examples);
        // All rows kept; two parts, one after the other; rows of a single image at a time.
        let rows_at_once = [27 * 3, 6 * 3, 3 * 3, 1];
        let roots = rows_at_once.map(|rows| written(problem, &positions, rows));
        let held = damped.root().unwrap().unwrap();
        for root in roots.into_iter().chain([held]) {
            let inverse = Woodbury::of(root).unwrap();
            // Four classes have three rows an image.
            assert_eq!(inverse.rows(), 27);
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
        let inverse = Woodbury::of(written((&network, &examples), &[], 4)).unwrap();
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
