//! Right-hand sides of extreme size, solved near size 1.
//!
//! The gradient of an image with loss ε is about ε long. Where ε comes near the least number of the precision, iterations lose their
//! digits; on a device squares are formed in that precision, so that already a length of 1e-20 is 0 in f32. A⁻¹ is linear:
//! a row is multiplied by a power of two before the solve and its solution divided by it afterwards, which rounds nothing unless the
//! solution itself is out of range. Rows of ordinary size are left as they are.

use super::{Inverse, Solution, Solver};
use crate::Result;
use crate::operator::{LinearOperator, Vectors};
use candle_core::DType;

/// Sizes from 2⁻²⁰ to 2²⁰ are ordinary.
const ORDINARY: i32 = 20;

/// Another solver, given rows of ordinary size only.
pub(super) struct InRange(pub(super) Box<dyn Solver>);

impl Solver for InRange {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        Ok(Box::new(Prepared(self.0.prepare(operator)?)))
    }
}

struct Prepared<'a>(Box<dyn Inverse + 'a>);

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        let Some(factors) = self.factors(right_hand_sides)? else {
            return self.0.solve(right_hand_sides);
        };
        let scaled = right_hand_sides.scaled(&factors)?;
        unscaled(self.0.solve(&scaled)?, &factors)
    }

    fn solve_from(&self, right_hand_sides: &Vectors, start: &Vectors) -> Result<Solution> {
        let Some(factors) = self.factors(right_hand_sides)? else {
            return self.0.solve_from(right_hand_sides, start);
        };
        let (scaled, start) = (right_hand_sides.scaled(&factors)?, start.scaled(&factors)?);
        unscaled(self.0.solve_from(&scaled, &start)?, &factors)
    }

    /// Refinement brings its rows to length 1 itself.
    fn step(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        self.0.step(right_hand_sides)
    }

    fn is_identity(&self) -> bool {
        self.0.is_identity()
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        self.0.notes()
    }
}

impl Prepared<'_> {
    /// What rows are to be multiplied with; `None` where all of them are ordinary, or nothing is solved.
    fn factors(&self, vectors: &Vectors) -> Result<Option<Vec<f64>>> {
        if self.is_identity() {
            return Ok(None);
        }
        let dtype = vectors.tensor().dtype();
        let largest = vectors.largest_elements()?;
        let factors: Vec<f64> = largest.iter().map(|&size| factor(size, dtype)).collect();
        Ok(factors
            .iter()
            .any(|&factor| factor != 1.0)
            .then_some(factors))
    }
}

fn unscaled(mut solution: Solution, factors: &[f64]) -> Result<Solution> {
    let back: Vec<f64> = factors.iter().map(|factor| factor.recip()).collect();
    solution.value = solution.value.scaled(&back)?;
    Ok(solution)
}

/// The power of two that brings `size` to about 1, which itself and whose reciprocal are normal numbers of the precision; 1 for
/// ordinary sizes, for 0 and for what is not finite.
fn factor(size: f64, dtype: DType) -> f64 {
    if size == 0.0 || !size.is_finite() {
        return 1.0;
    }
    let exponent = size.log2().floor() as i32;
    let most = if dtype == DType::F32 { 120 } else { 1000 };
    match exponent.abs() <= ORDINARY {
        true => 1.0,
        false => 2f64.powi(-exponent.clamp(-most, most)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{head_hessian, values, waves};
    use super::*;
    use crate::operator::Damped;
    use crate::solve::{Cg, Lissa, Outcome};

    fn solvers(tolerance: f64) -> [Box<dyn Solver>; 2] {
        let cg = Cg {
            tolerance,
            iterations: 200,
            preconditioned: true,
        };
        let lissa = Lissa {
            scale: None,
            depth: 20_000,
            repeats: 1,
            batch: None,
            tolerance,
            seed: 0,
        };
        [Box::new(cg), Box::new(lissa)]
    }

    #[test]
    fn solutions_scale_with_their_right_hand_sides() {
        for (dtype, sizes, tolerance, near) in [
            (DType::F32, [1.0, 2e-30, 1e30, 0.0], 1e-5, 1e-4),
            (DType::F64, [1.0, 1e-290, 1e250, 0.0], 1e-9, 1e-7),
        ] {
            let hessian = head_hessian(dtype);
            let operator = Damped::new(&hessian, 0.1).unwrap();
            let ordinary = waves(4, 12).to_dtype(dtype).unwrap();
            let extreme = waves(4, 12).scaled_to(&sizes, dtype).unwrap();
            for solver in solvers(tolerance) {
                let expected = solver.prepare(&operator).unwrap().solve(&ordinary).unwrap();
                let inverse = InRange(solver);
                let inverse = inverse.prepare(&operator).unwrap();
                let found = inverse.solve(&extreme).unwrap();
                let start = found.value.zeros_like().unwrap();
                let again = inverse.solve_from(&extreme, &start).unwrap();
                for solution in [found, again] {
                    for (row, size) in sizes.into_iter().enumerate() {
                        assert_eq!(solution.reports[row].outcome, Outcome::Converged);
                        let rows = values(&solution.value)[row].clone();
                        for (found, expected) in rows.iter().zip(&values(&expected.value)[row]) {
                            let found = if size == 0.0 { *found } else { found / size };
                            let expected = if size == 0.0 { 0.0 } else { *expected };
                            assert!(
                                (found - expected).abs() < near,
                                "{size}: {found} {expected}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn factors_are_powers_of_two_within_the_precision() {
        assert_eq!(factor(3e-5, DType::F32), 1.0);
        assert_eq!(factor(0.0, DType::F32), 1.0);
        assert_eq!(factor(f64::INFINITY, DType::F32), 1.0);
        assert_eq!(factor(3.0 * 2f64.powi(40), DType::F32), 2f64.powi(-41));
        assert_eq!(factor(1e-45, DType::F32), 2f64.powi(120));
        assert_eq!(factor(5e-324, DType::F64), 2f64.powi(1000));
    }
}
