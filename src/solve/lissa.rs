//! LiSSA: the Neumann series for A⁻¹b, with the whole curvature or with a random batch of images in each term.
//!
//! Agarwal et al. 2017, Koh & Liang 2017, section 3: h_0 = b, h_{j+1} = b + (I − A/s) h_j and x = h / s, averaged over
//! independent repeats. With the whole A the error along an eigenvector of eigenvalue λ is (1 − λ/s)^{J+1} after J
//! iterations: it needs s > λ_max / 2, and about s/λ_min · ln(1/ε) iterations. Where s is not given it is 1.05 times an upper
//! bound of λ_max that is wrong with probability 1e-6 at most ([`largest_eigenvalue`]), so that the series of a definite A
//! converges. h_{j+1} − h_j is the residual b − A x_j, so
//! that rows stop, and leave the block, where it is small enough; nothing is random, and one repeat is taken.
//!
//! With batches, A in iteration j is the curvature over images drawn without replacement for (seed, repeat, j), the same
//! for every row. The mean of the iterates is that of the whole series, but they scatter about it: more repeats or larger
//! batches make that less, more depth does not. A batch's largest eigenvalue can be far above that of the whole: hence
//! twice the margin in s, and for batches of few images it may still take a larger `scale`.
//!
//! Koh & Liang's code adds the damping behind the division by s; here it is part of A.

mod block;

use super::iterated::{Finished, Measured, Row, batch, split};
use super::{Inverse, Solution, Solver, check_size, largest_eigenvalue, zero_curvature};
use crate::operator::{LinearOperator, Vectors};
use crate::{Result, number_range};
use block::Running;

/// The recurrence aims a little below the tolerance, so that the true residual lands below it too.
const AIM: f64 = 0.9;
/// A residual this many times ‖b‖ has diverged.
const DIVERGED: f64 = 1e8;
/// With the whole curvature the residual never grows; this many times its least has diverged.
const GROWN: f64 = 100.0;
/// s over the estimate of the largest eigenvalue, with the whole curvature.
const MARGIN: f64 = 1.05;
/// The further factor of s for batches.
const BATCH_MARGIN: f64 = 2.0;

/// Solves by a Neumann series.
#[derive(Debug, Clone, Copy)]
pub struct Lissa {
    /// s; where not given, 1.05 times an upper bound of the largest eigenvalue, and twice that for batches.
    pub scale: Option<f64>,
    /// Most iterations with the whole curvature; the iterations with batches.
    pub depth: usize,
    /// Independent series to average; with the whole curvature one is taken.
    pub repeats: usize,
    /// Images in a batch; none for the whole curvature.
    pub batch: Option<usize>,
    /// Converged where ‖b − A x‖ ≤ tolerance · ‖b‖, A the whole curvature.
    pub tolerance: f64,
    /// Decides the images of the batches, and the start of the eigenvalue estimate.
    pub seed: u64,
}

impl Default for Lissa {
    /// The whole curvature, its own scale, depth 5000, one repeat, tolerance 1e-5.
    fn default() -> Self {
        Self {
            scale: None,
            depth: 5000,
            repeats: 1,
            batch: None,
            tolerance: 1e-5,
            seed: 0,
        }
    }
}

impl Solver for Lissa {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        number_range::between_zero_and_one("tolerance", self.tolerance)?;
        number_range::at_least_one("depth", self.depth)?;
        number_range::at_least_one("repeats", self.repeats)?;
        if let Some(batch) = self.batch {
            number_range::at_least_one("batch-size", batch)?;
            // An operator that knows no batches says so now.
            drop(operator.on_images(&[0])?);
        }
        let mut notes = Vec::new();
        let scale = match self.scale {
            Some(scale) => number_range::above_zero("scale", scale)?,
            None => {
                let largest = largest_eigenvalue(operator, self.seed)?;
                if largest.value == 0.0 {
                    return Err(zero_curvature());
                }
                notes.push(("largest eigenvalue", largest.value));
                let margin = self.batch.map_or(MARGIN, |_| MARGIN * BATCH_MARGIN);
                margin * largest.upper
            }
        };
        notes.push(("scale", scale));
        Ok(Box::new(Prepared {
            operator,
            settings: *self,
            scale,
            notes,
        }))
    }
}

struct Prepared<'a> {
    operator: &'a dyn LinearOperator,
    settings: Lissa,
    scale: f64,
    notes: Vec<(&'static str, f64)>,
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        check_size(self.operator, right_hand_sides)?;
        let norms = right_hand_sides.norms()?;
        let mut rows = Row::of(&norms);
        let repeats = self.settings.batch.map_or(1, |_| self.settings.repeats);
        let share = vec![(self.scale * repeats as f64).recip(); norms.len()];
        let mut value = right_hand_sides.zeros_like()?;
        let mut products = norms.len();
        for repeat in 0..repeats {
            let (sum, spent) = self.series(right_hand_sides, repeat, &mut rows)?;
            value = value.add_scaled(&share, &sum)?;
            products += spent;
        }
        let measured = Measured::of(self.operator, value, right_hand_sides, &rows)?;
        Ok(measured.solution(&rows, self.settings.tolerance, products))
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        self.notes.clone()
    }
}

impl Prepared<'_> {
    /// One series for all rows: h, and the number of products.
    fn series(&self, start: &Vectors, repeat: usize, rows: &mut [Row]) -> Result<(Vectors, usize)> {
        let mut running = Running::new(start.clone());
        let mut finished = Finished::new(rows.len(), None);
        let mut products = 0;
        for iteration in 0..self.settings.depth {
            if running.positions.is_empty() {
                break;
            }
            products += running.positions.len();
            let residual = match self.settings.batch {
                None => running.residual(self.operator, self.scale)?,
                Some(size) => {
                    let of = (repeat as u64, iteration as u64);
                    let images = batch(self.operator, size, self.settings.seed, of);
                    let operator = self.operator.on_images(&images)?;
                    running.residual(&*operator, self.scale)?
                }
            };
            let leaving = self.leaving(&mut running, residual.norms()?, rows);
            running.retire(&leaving, &residual, &mut finished)?;
            running.count(rows);
        }
        let all: Vec<usize> = (0..running.positions.len()).collect();
        finished.take(&running.sum, &running.positions, &all)?;
        Ok((finished.rows()?, products))
    }

    /// The slots of the rows that have come to an end: converged, with the whole curvature, or diverged.
    fn leaving(&self, running: &mut Running, residuals: Vec<f64>, rows: &mut [Row]) -> Vec<bool> {
        let whole = self.settings.batch.is_none();
        let ended = |(slot, residual): (usize, f64)| {
            let row = &mut rows[running.positions[slot]];
            let least = running.least[slot].min(residual);
            running.least[slot] = least;
            let grown = whole && residual > GROWN * least;
            let diverged = !residual.is_finite() || residual > DIVERGED * row.norm || grown;
            row.diverged |= diverged;
            let small = whole && residual <= AIM * self.settings.tolerance * row.norm;
            small || diverged
        };
        residuals.into_iter().enumerate().map(ended).collect()
    }
}

#[cfg(test)]
mod tests;
