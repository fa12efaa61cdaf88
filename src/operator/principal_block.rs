//! Some rows and columns of a symmetric matrix, written out.

use super::SymmetricMatrix;

/// A restricted to the parameters at `positions`.
#[derive(Debug, Clone)]
pub struct PrincipalBlock {
    /// The parameters, in the order of the matrix.
    pub positions: Vec<usize>,
    /// `[positions.len(), positions.len()]`, in the precision of the operator.
    pub matrix: SymmetricMatrix,
}
