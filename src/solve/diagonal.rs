//! EK-FAC: for the head a division by the curvature's own diagonal in the Kronecker axes.
//!
//! George et al. 2018 (EK-FAC) replace the eigenvalues of S ⊗ M by Λ_cj = E[(Uᵀ ∇ Q)²_cj] with labels drawn from the model.
//! For the head that expectation has a closed form, (1/n) Σ_i S̃_i[c, c] ã_ij², which is the diagonal of the Gauss–Newton
//! matrix in these axes: no label is drawn, and nothing is left to chance. In other axes this is Jacobi's method.
//!
//! Through blocks the operator has axes of its own for each layer ([`LinearOperator::ekfac`]), and the division is by its
//! diagonal there.
//!
//! An approximation by design: its outcome is [`Outcome::Approximate`], with the true residual.

use super::kronecker::KroneckerInverse;
use super::lanczos::negligible;
use super::{
    Inverse, Outcome, Report, Solution, Solver, check_size, clear_rows, rows_not_finite,
    true_residual,
};
use crate::operator::{LinearOperator, Structure, Vectors};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// Divides by the diagonal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ekfac;

impl Solver for Ekfac {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        if let Some(form) = operator.ekfac()? {
            let inverse = KroneckerInverse::of(form, operator)?;
            return Ok(Box::new(Approximation {
                operator,
                notes: inverse.notes().to_vec(),
                apply: move |block: &Vectors| inverse.apply(block),
            }));
        }
        let scale = Reciprocal::of(operator)?;
        Ok(Box::new(Approximation {
            operator,
            apply: move |block: &Vectors| scale.apply(block),
            notes: Vec::new(),
        }))
    }
}

/// Leaves every gradient as it is: scores are gradient dot products.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity;

impl Solver for Identity {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        Ok(Box::new(Untouched(Approximation {
            operator,
            apply: |block: &Vectors| Ok(block.clone()),
            notes: Vec::new(),
        })))
    }
}

/// An approximation that says of itself that it does nothing.
struct Untouched<A>(A);

impl<A: Inverse> Inverse for Untouched<A> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        self.0.solve(right_hand_sides)
    }

    fn is_identity(&self) -> bool {
        true
    }
}

/// 1 / diagonal, as a preconditioner.
pub(super) struct Reciprocal {
    row: Tensor,
}

impl Reciprocal {
    pub(super) fn of(operator: &dyn LinearOperator) -> Result<Self> {
        let diagonal = operator.diagonal()?;
        if let Some(place) = first_zero(&diagonal, operator) {
            let reason = format!(
                "element {place} of the curvature's diagonal is {:e}, so that it cannot be divided by; raise it",
                diagonal[place]
            );
            return Err(Error::config("damping", reason));
        }
        let count = diagonal.len();
        let row: Vec<f64> = diagonal.into_iter().map(f64::recip).collect();
        Ok(Self {
            row: Tensor::from_vec(row, (1, count), &operator.device())?
                .to_dtype(operator.dtype())?,
        })
    }

    pub(super) fn apply(&self, block: &Vectors) -> Result<Vectors> {
        let rows = block.tensor();
        let row = self.row.to_dtype(rows.dtype())?;
        Vectors::new(rows.broadcast_mul(&row)?)
    }
}

/// What a feature of f32 is rounded by, and its coordinates in axes are off by, beside the largest.
const ROUNDING: f64 = 100.0 * f32::EPSILON as f64;

/// The first of the elements, means of squares, that is not above 0; or, where nothing says that the matrix is positive definite, not
/// above what rounding leaves of a 0.
pub(super) fn first_zero(elements: &[f64], operator: &dyn LinearOperator) -> Option<usize> {
    let rounding = match (operator.structure(), operator.dtype()) {
        (Structure::PositiveDefinite, _) => 0.0,
        (_, DType::F64) => negligible(DType::F64),
        _ => ROUNDING * ROUNDING,
    };
    let largest = elements.iter().copied().fold(0.0, f64::max);
    let is_zero = |element: &f64| !element.is_finite() || *element <= rounding * largest;
    elements.iter().position(is_zero)
}

/// A linear map that stands for the inverse without being it.
pub(super) struct Approximation<'a, F> {
    pub(super) operator: &'a dyn LinearOperator,
    pub(super) apply: F,
    pub(super) notes: Vec<(&'static str, f64)>,
}

/// Right-hand sides of a block whose true residual is measured: it costs a product each, and says of an approximation by
/// design little more than that it is one.
const MEASURED: usize = 8;

impl<F: Fn(&Vectors) -> Result<Vectors> + Sync> Inverse for Approximation<'_, F> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        check_size(self.operator, right_hand_sides)?;
        let value = (self.apply)(right_hand_sides)?;
        let broken = rows_not_finite(&value)?;
        let value = clear_rows(value, &broken)?;
        let measured = right_hand_sides.count().min(MEASURED);
        let sample = right_hand_sides.narrow(0..measured)?;
        let norms = sample.norms()?;
        let (_, residuals) =
            true_residual(self.operator, &value.narrow(0..measured)?, &sample, &norms)?;
        let report = |(row, &broken): (usize, &bool)| match broken {
            true => Report::DIVERGED,
            false => Report {
                outcome: Outcome::Approximate,
                residual: residuals.get(row).copied().unwrap_or(f64::NAN),
                iterations: 0,
            },
        };
        Ok(Solution {
            reports: broken.iter().enumerate().map(report).collect(),
            value,
            products: measured,
        })
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        self.notes.clone()
    }
}
