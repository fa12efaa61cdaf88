//! Curvature as linear operators that apply themselves to a block of vectors.
//!
//! An operator is one mathematical object: it knows its size and structure, and multiplies k vectors at once.
//! [`HeadHessian`] is the curvature of the classifier head, [`NetworkCurvature`] that through the fine-tuned blocks,
//! [`DeviceCurvature`] the same by products on a device, [`Damped`] adds λI to any operator, and [`Dense`] is a matrix written out.

mod block_columns;
mod damped;
mod dense;
mod device_curvature;
mod head_hessian;
mod kronecker;
mod network_curvature;
mod principal_block;
mod root;
mod rounding;
mod row_pass;
mod softmax_curvature;
mod square_matrix;
mod symmetric_matrix;
mod unit_vectors;
mod vectors;

pub use block_columns::BlockColumns;
pub use damped::Damped;
pub use dense::Dense;
pub use device_curvature::DeviceCurvature;
pub use head_hessian::HeadHessian;
pub(crate) use kronecker::COPIES_OF_GRADIENTS;
pub use kronecker::{Eigenvalues, KroneckerAxes, KroneckerForm, KroneckerSettings};
pub use network_curvature::NetworkCurvature;
pub use principal_block::PrincipalBlock;
pub use root::{MOST_ROWS, RootForm, RootPasses, root_rows};
pub use rounding::{Rounding, bands};
pub(crate) use softmax_curvature::goes_by_logits;
pub use square_matrix::SquareMatrix;
pub use symmetric_matrix::SymmetricMatrix;
pub use vectors::Vectors;

use crate::{Error, Result};
use candle_core::{DType, Device};

/// What is known of an operator's matrix, from least to most; a solver refuses what it cannot handle before any work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Structure {
    /// Symmetric, nothing more.
    Symmetric,
    /// Symmetric with no negative eigenvalue, possibly with zero ones.
    PositiveSemidefinite,
    /// Symmetric with positive eigenvalues only.
    PositiveDefinite,
}

/// A symmetric matrix A known by its products.
pub trait LinearOperator: Sync {
    /// p: A is `[p, p]`.
    fn size(&self) -> usize;

    /// What is known of A.
    fn structure(&self) -> Structure;

    /// A times every row of `vectors` `[k, p]`.
    ///
    /// # Errors
    /// Another size than `self.size()`, or a tensor operation failed.
    fn apply(&self, vectors: &Vectors) -> Result<Vectors>;

    /// b − A x for every row x of `values` and b of `right_hand_sides`, both `[k, p]`.
    ///
    /// # Errors
    /// As for [`LinearOperator::apply`].
    fn residuals(&self, values: &Vectors, right_hand_sides: &Vectors) -> Result<Vectors> {
        right_hand_sides.less(&self.apply(values)?, 0.0, values)
    }

    /// The precision it computes in; vectors are of the same.
    fn dtype(&self) -> DType;

    /// Where vectors lie that a method makes itself; those of others lie there too, or where the operator computes.
    fn device(&self) -> Device {
        Device::Cpu
    }

    /// A written out, `[p, p]`, on its device; where the operator has a closed form, not by applying it to the identity.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn dense(&self, dtype: DType) -> Result<SymmetricMatrix>;

    /// The diagonal of A, `[p]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn diagonal(&self) -> Result<Vec<f64>>;

    /// A restricted to at most `size` parameters along which it is large and strongly coupled, to none where even the fewest
    /// are too many; `None` where the operator knows of no such parameters.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn principal_block(&self, size: usize) -> Result<Option<PrincipalBlock>> {
        let _ = size;
        Ok(None)
    }

    /// EK-FAC: an approximation of A, or of a positive definite relative, that is diagonal in axes of its own. `None` where
    /// the operator knows of none, and its own diagonal serves.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn ekfac(&self) -> Result<Option<KroneckerForm>> {
        Ok(None)
    }

    /// A multiple of I and a few rows for the largest eigenvalues of A, or of a positive definite relative: what conjugate
    /// gradients divide by. `None` where the operator knows of none.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn low_rank(&self) -> Result<Option<KroneckerForm>> {
        Ok(None)
    }

    /// A as RᵀR/n + σI, where the operator knows such rows; `None` where it does not, or where they are too many.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn root(&self) -> Result<Option<RootForm<'_>>> {
        Ok(None)
    }

    /// What rounding can do to a product, the sums taken in any order, their products fused or not: as the processor and as
    /// CUDA's libraries take them, in IEEE arithmetic of the operator's precision.
    ///
    /// # Errors
    /// No such bound is known for this operator, or a tensor operation failed.
    fn rounding(&self) -> Result<Rounding> {
        let what = "a certificate for this operator";
        Err(Error::unsupported(what, "leave --certify out"))
    }

    /// The images that A is a mean over; 0 where it is not such a mean.
    fn image_count(&self) -> usize {
        0
    }

    /// The same curvature over the images at `positions` alone: the batches of stochastic solvers.
    ///
    /// # Errors
    /// The operator is not a mean over images, or a position is out of range.
    fn on_images(&self, positions: &[u32]) -> Result<Box<dyn LinearOperator + '_>> {
        let _ = positions;
        let what = "a batch of a curvature that is not a mean over images";
        Err(Error::unsupported(what, "leave --batch-size out"))
    }
}
