//! Solvers: one file per method, each solve ending in an outcome and a true residual for every right-hand side.
//!
//! A [`Solver`] is prepared once for an operator A; the [`Inverse`] it gives then solves A x = b for as many blocks of
//! right-hand sides as there are. What a solver cannot handle is refused before any work; what goes wrong in a solve
//! is an [`Outcome`] stored beside the result, never silence.

mod arnoldi;
mod astra;
mod beside_factor;
mod blocked_cholesky;
mod cg;
mod cholesky;
mod deflation;
mod diagonal;
mod direct;
mod in_range;
mod iterated;
mod kronecker;
mod lanczos;
mod lissa;
mod newton;
mod outcome;
mod pinv;
mod pivots;
mod preconditioner;
mod refinement;
mod settings;
mod smallest;
mod spectral;
#[cfg(test)]
mod tests;
mod woodbury;

pub use arnoldi::Arnoldi;
pub use astra::Astra;
pub(crate) use beside_factor::TILE;
pub use cg::Cg;
pub(crate) use cholesky::{MIXED_ABOVE, are_residuals_by_matrix};
pub use diagonal::{Ekfac, Identity};
pub use direct::{Direct, LARGEST, too_large};
pub use lanczos::{Lanczos, LargestEigenvalue, Ritz, Stop, largest_eigenvalue};
pub use lissa::Lissa;
pub use newton::{Fit, Newton};
pub use outcome::Outcome;
pub use pinv::Pinv;
pub use preconditioner::strong_parameters;
pub use refinement::{Bounded, Refinement};
pub use settings::Settings;
pub use smallest::{SmallestEigenvalue, smallest_eigenvalue};

use crate::operator::{LinearOperator, Vectors};
use crate::{Error, Result};

/// The methods there are, by the names of `--solver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Whichever of direct and cg takes fewer operations and fits into memory
    Auto,
    /// Cholesky factorisation of the whole matrix
    Direct,
    /// Conjugate gradients, all right-hand sides at once, preconditioned by EK-FAC and a factor of the strongest axes (with
    /// --blocks: by a low rank of the curvature)
    Cg,
    /// Approximation: division by the curvature's diagonal in Kronecker axes, layer by layer
    Ekfac,
    /// Approximation: no curvature at all, a gradient dot product
    Identity,
    /// Neumann series, with the whole curvature or with random batches of images (LiSSA)
    Lissa,
    /// Iterations with random batches of images, preconditioned as cg is (ASTRA)
    Astra,
    /// Approximation: the eigenvectors of the largest curvature alone
    Arnoldi,
    /// Approximation, the paper's: pseudo-inverse of the curvature of the data alone (no L2 term, no damping), without eigenvalues
    /// below --rcond times the largest
    Pinv,
}

/// As on the command line.
impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

impl Method {
    /// Whether scores are those of the exact inverse, up to a tolerance.
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Auto | Self::Direct | Self::Cg)
    }

    /// Whether scores are those of another matrix than the inverse curvature, however long it works.
    pub(crate) fn is_approximation(self) -> bool {
        matches!(
            self,
            Self::Ekfac | Self::Identity | Self::Arnoldi | Self::Pinv
        )
    }

    /// Whether a damping has any effect on it.
    pub(crate) fn is_damped(self) -> bool {
        !matches!(self, Self::Identity | Self::Pinv)
    }

    /// L2 term and damping of the matrix that is inverted: the paper's estimator is of the data term alone.
    pub(crate) fn shifts(self, l2: f64, damping: f64) -> (f64, f64) {
        match self {
            Self::Pinv => (0.0, 0.0),
            _ => (l2, damping),
        }
    }
}

/// A method for A x = b, with its settings.
pub trait Solver: Sync {
    /// Does the work that all right-hand sides share.
    ///
    /// # Errors
    /// An operator whose structure the method cannot use, or that turns out not to have it.
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>>;
}

/// A prepared solver: A⁻¹ for blocks of right-hand sides.
pub trait Inverse: Sync {
    /// Solves A x = b for every row b of `right_hand_sides` `[k, p]`.
    ///
    /// # Errors
    /// Another size than the operator's, or a tensor operation failed; a solve that does not succeed is an outcome.
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution>;

    /// The same from a first guess x `[k, p]`; methods that do not iterate have no use for it.
    ///
    /// # Errors
    /// As for [`Inverse::solve`].
    fn solve_from(&self, right_hand_sides: &Vectors, start: &Vectors) -> Result<Solution> {
        let _ = start;
        self.solve(right_hand_sides)
    }

    /// The same where somebody else measures the residual: a step of refinement.
    ///
    /// # Errors
    /// As for [`Inverse::solve`].
    fn step(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        self.solve(right_hand_sides)
    }

    /// Whether the inverse leaves every vector as it is: scores are then products of two small matrix products.
    fn is_identity(&self) -> bool {
        false
    }

    /// What the preparation found, by name: eigenpairs kept, steps taken.
    fn notes(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

/// What a block of solves gave.
#[derive(Debug)]
pub struct Solution {
    /// One solution per right-hand side, `[k, p]`; all finite, a row of zeros where the outcome is [`Outcome::Diverged`].
    pub value: Vectors,
    /// How each solve ended.
    pub reports: Vec<Report>,
    /// Products of the operator with single vectors.
    pub products: usize,
}

/// How one solve ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// ‖b − A x‖ / ‖b‖, computed afresh from the returned x by the operator; 0 for b = 0, NaN where it was not measured (an
    /// approximation's, but for the first of a block).
    pub residual: f64,
    /// Iterations; 0 for a factorisation.
    pub iterations: usize,
}

impl Report {
    /// A row without a solution: zeros, whose residual is b itself.
    const DIVERGED: Self = Self {
        outcome: Outcome::Diverged,
        residual: 1.0,
        iterations: 0,
    };

    /// Of a method that iterates and does not watch the residual: whether what was measured afterwards is within `tolerance`.
    fn measured(iterations: usize, residual: f64, broken: bool, tolerance: f64) -> Self {
        if broken || !residual.is_finite() {
            return Self {
                iterations,
                ..Self::DIVERGED
            };
        }
        let outcome = match residual <= tolerance {
            true => Outcome::Converged,
            false => Outcome::LimitReached,
        };
        Self {
            outcome,
            residual,
            iterations,
        }
    }
}

/// b − A x and its norm relative to ‖b‖, row by row.
fn true_residual(
    operator: &dyn LinearOperator,
    value: &Vectors,
    right_hand_sides: &Vectors,
    norms: &[f64],
) -> Result<(Vectors, Vec<f64>)> {
    let residual = operator.residuals(value, right_hand_sides)?;
    let relative = residual
        .norms()?
        .into_iter()
        .zip(norms)
        .map(relative)
        .collect();
    Ok((residual, relative))
}

/// A norm over another.
fn relative((residual, norm): (f64, &f64)) -> f64 {
    if *norm == 0.0 { 0.0 } else { residual / norm }
}

/// Which rows hold a value that is not finite.
fn rows_not_finite(value: &Vectors) -> Result<Vec<bool>> {
    Ok(value
        .norms()?
        .iter()
        .map(|norm| !norm.is_finite())
        .collect())
}

/// The vectors with the marked rows set to zero.
fn clear_rows(value: Vectors, marked: &[bool]) -> Result<Vectors> {
    if !marked.contains(&true) {
        return Ok(value);
    }
    let zero = value.narrow(0..1)?.zeros_like()?;
    let count = value.count();
    let places: Vec<usize> = (0..count)
        .map(|row| if marked[row] { count } else { row })
        .collect();
    Vectors::concatenate(&[value, zero])?.select(&places)
}

/// The rows of `new` where they are `taken`, those of `old` elsewhere.
fn merged(old: Vectors, new: Vectors, taken: &[bool]) -> Result<Vectors> {
    if !taken.contains(&false) {
        return Ok(new);
    }
    if !taken.contains(&true) {
        return Ok(old);
    }
    let count = taken.len();
    let place = |(row, &taken): (usize, &bool)| if taken { count + row } else { row };
    let places: Vec<usize> = taken.iter().enumerate().map(place).collect();
    let both = Vectors::concatenate(&[old, new])?;
    both.select(&places)
}

fn check_size(operator: &dyn LinearOperator, right_hand_sides: &Vectors) -> Result<()> {
    if right_hand_sides.size() == operator.size() {
        return Ok(());
    }
    let (expected, found) = (operator.size(), right_hand_sides.size());
    Err(Error::mismatch(
        "right-hand sides: length",
        expected,
        found,
        "use vectors over the operator's own parameters",
    ))
}

/// The refusal of a curvature without any eigenvalue but 0.
fn zero_curvature() -> Error {
    Error::config(
        "solver",
        "the curvature is zero and has no inverse; choose identity",
    )
}
