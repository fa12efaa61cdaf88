//! Curvature as linear operators that apply themselves to a block of vectors.
//!
//! An operator is one mathematical object: it knows its size and structure, and multiplies k vectors at once.
//! [`HeadHessian`] is the curvature of the classifier head, [`Damped`] adds λI to any operator, and [`Dense`] is a
//! matrix written out.

mod damped;
mod dense;
mod head_hessian;
mod softmax_curvature;
mod vectors;

pub use damped::Damped;
pub use dense::Dense;
pub use head_hessian::HeadHessian;
pub use vectors::Vectors;

use crate::Result;
use ndarray::Array2;

/// What is known of an operator's matrix, from least to most; a solver refuses what it cannot handle before any work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Structure {
    /// Square, nothing more.
    General,
    /// Symmetric.
    Symmetric,
    /// Symmetric with no negative eigenvalue, possibly with zero ones.
    PositiveSemidefinite,
    /// Symmetric with positive eigenvalues only.
    PositiveDefinite,
}

/// A square matrix A known by its products.
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

    /// A written out in f64, `[p, p]`; where the operator has a closed form, not by applying it to the identity.
    ///
    /// # Errors
    /// A tensor operation failed.
    fn dense(&self) -> Result<Array2<f64>>;
}
