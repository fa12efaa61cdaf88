//! Solves that end where rounding allows no smaller residual, accepted where nobody asked for a tolerance.
//!
//! In f32 a few images with large losses are enough that ‖b − A x‖ / ‖b‖ stays above the usual 1e-5 for every x of that precision:
//! the method is no better or worse there than a factorisation, whose solutions are taken up to [`acceptable`].

use super::{Inverse, Outcome, Report, Solution, Solver};
use crate::Result;
use crate::operator::{LinearOperator, Vectors};
use candle_core::DType;

/// The largest residual that is rounding and no more; above it the matrix is too close to singular for its precision.
pub(super) fn acceptable(dtype: DType) -> f64 {
    if dtype == DType::F32 { 1e-3 } else { 1e-8 }
}

/// Another solver.
pub(super) struct AtRounding(pub(super) Box<dyn Solver>);

impl Solver for AtRounding {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        Ok(Box::new(Prepared(self.0.prepare(operator)?)))
    }
}

struct Prepared<'a>(Box<dyn Inverse + 'a>);

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        Ok(accepted(self.0.solve(right_hand_sides)?))
    }

    fn solve_from(&self, right_hand_sides: &Vectors, start: &Vectors) -> Result<Solution> {
        Ok(accepted(self.0.solve_from(right_hand_sides, start)?))
    }

    fn step(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        Ok(accepted(self.0.step(right_hand_sides)?))
    }

    fn is_identity(&self) -> bool {
        self.0.is_identity()
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        self.0.notes()
    }
}

fn accepted(mut solution: Solution) -> Solution {
    let most = acceptable(solution.value.tensor().dtype());
    let stalled = |report: &&mut Report| report.outcome == Outcome::Stalled;
    for report in solution.reports.iter_mut().filter(stalled) {
        if report.residual <= most {
            report.outcome = Outcome::AtRounding;
        }
    }
    solution
}
