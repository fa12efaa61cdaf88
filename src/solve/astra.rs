//! ASTRA (NeurIPS 2025): stochastic iterations preconditioned by the EK-FAC of the curvature.
//!
//! x ← x + α d with d ← 0.9 d + M⁻¹(b − A_B x) from x = d = 0, A_B the damped curvature over a batch of images drawn without
//! replacement for (seed, step), the same for every right-hand side, and M what [`Preconditioner`] makes of the whole
//! curvature. The first step is α M⁻¹b, with α = 1 the solution of M alone. LiSSA is this without momentum and M a multiple of the
//! identity; M makes the directions of little curvature, which there take the most steps, as quick as the others.
//!
//! α is halved after each quarter of the steps. It has to stay below 2·1.9/μ, μ the largest eigenvalue of M⁻¹A_B; where it is
//! not given it is 1/μ, μ the largest of what a few power iterations on two batches find, which is 1 where M is the
//! curvature; the paper takes a tenth of the damping.
//!
//! The scatter of the batches stays in x, in proportion to α and to one over the size of a batch: halving and averaging make it
//! less. The mean of the iterates of the last quarter is taken where its residual is smaller than that of the last one; both
//! are measured with the whole curvature, two products for each right-hand side, which is what the outcome goes by.
//!
//! A batch of all images leaves nothing to chance: preconditioned Richardson iterations with momentum. Then α stays as it is, and
//! a right-hand side stops where its residual is small enough. It shrinks by √0.9 a step at best, however good M is: 1e-3, the tolerance
//! where none is given, is within reach of the usual 200 steps, and 1e-5 not always.

mod largest;

use super::iterated::{Finished, Measured, Row, batch, split};
use super::preconditioner::Preconditioner;
use super::{Inverse, Solution, Solver, check_size};
use crate::operator::{LinearOperator, Vectors};
use crate::{Result, number_range};

/// How much of the last step's direction goes into the next.
const MOMENTUM: f64 = 0.9;
/// Stages, each with half the step size of the one before.
const STAGES: usize = 4;
/// A residual this many times ‖b‖ has diverged.
const DIVERGED: f64 = 1e4;
/// Draws of these epochs are for steps, and for the estimate.
const STEPS: u64 = 0;
const ESTIMATE: u64 = 1;

/// Solves by preconditioned stochastic iterations.
#[derive(Debug, Clone, Copy)]
pub struct Astra {
    /// Most steps with all images; the steps with batches.
    pub steps: usize,
    /// Images in a batch; all where there are no more.
    pub batch: usize,
    /// α of the first stage; found where not given.
    pub step_size: Option<f64>,
    /// Converged where ‖b − A x‖ ≤ tolerance · ‖b‖, A the whole curvature.
    pub tolerance: f64,
    /// Decides the images of the batches.
    pub seed: u64,
}

impl Default for Astra {
    /// 200 steps with batches of 256 images, tolerance 1e-3.
    fn default() -> Self {
        Self {
            steps: 200,
            batch: 256,
            step_size: None,
            tolerance: 1e-3,
            seed: 0,
        }
    }
}

impl Solver for Astra {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        number_range::between_zero_and_one("tolerance", self.tolerance)?;
        number_range::at_least_one("steps", self.steps)?;
        number_range::at_least_one("batch-size", self.batch)?;
        let whole = operator.image_count() <= self.batch;
        let mut prepared = Prepared {
            operator,
            preconditioner: Preconditioner::of(operator)?,
            settings: *self,
            step_size: 0.0,
            whole,
            notes: Vec::new(),
        };
        prepared.step_size = match self.step_size {
            Some(size) => number_range::above_zero("step-size", size)?,
            None => {
                let largest = prepared.largest_eigenvalue()?;
                (prepared.notes).push(("largest preconditioned eigenvalue", largest));
                largest.recip()
            }
        };
        (prepared.notes).push(("step size", prepared.step_size));
        Ok(Box::new(prepared))
    }
}

struct Prepared<'a> {
    operator: &'a dyn LinearOperator,
    preconditioner: Preconditioner,
    settings: Astra,
    step_size: f64,
    /// Whether a batch is all images.
    whole: bool,
    notes: Vec<(&'static str, f64)>,
}

/// The rows still running; all vectors `[running, p]`.
struct Running {
    positions: Vec<usize>,
    target: Vectors,
    value: Vectors,
    direction: Vectors,
    /// Σ of the iterates of the last stage.
    sum: Vectors,
}

impl Running {
    fn new(target: &Vectors) -> Result<Self> {
        let zeros = target.zeros_like()?;
        Ok(Self {
            positions: (0..target.count()).collect(),
            target: target.clone(),
            value: zeros.clone(),
            direction: zeros.clone(),
            sum: zeros,
        })
    }

    fn select(&self, slots: &[usize]) -> Result<Self> {
        Ok(Self {
            positions: slots.iter().map(|&slot| self.positions[slot]).collect(),
            target: self.target.select(slots)?,
            value: self.value.select(slots)?,
            direction: self.direction.select(slots)?,
            sum: self.sum.select(slots)?,
        })
    }
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        check_size(self.operator, right_hand_sides)?;
        let norms = right_hand_sides.norms()?;
        let mut rows = Row::of(&norms);
        let (last, sum, mut products) = self.iterate(right_hand_sides, &mut rows)?;
        let mut solved = Measured::of(self.operator, last, right_hand_sides, &rows)?;
        products += norms.len();
        if !self.whole {
            let share = (self.last_stage() as f64).recip();
            let mean = sum.scaled(&vec![share; norms.len()])?;
            let averaged = Measured::of(self.operator, mean, right_hand_sides, &rows)?;
            products += norms.len();
            solved = solved.or_better(averaged)?;
        }
        Ok(solved.solution(&rows, self.settings.tolerance, products))
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        self.notes.clone()
    }
}

impl Prepared<'_> {
    /// Steps of a stage; the last one may be shorter.
    fn stage(&self) -> usize {
        self.settings.steps.div_ceil(STAGES)
    }

    /// Steps of the last stage.
    fn last_stage(&self) -> usize {
        let before = (self.settings.steps - 1) / self.stage() * self.stage();
        self.settings.steps - before
    }

    /// The last iterates, the sums of those of the last stage, and the number of products.
    fn iterate(&self, target: &Vectors, rows: &mut [Row]) -> Result<(Vectors, Vectors, usize)> {
        let mut running = Running::new(target)?;
        let none = || Finished::new(rows.len(), None);
        let (mut values, mut sums) = (none(), none());
        let mut products = 0;
        for step in 0..self.settings.steps {
            let residual = match step {
                0 => running.target.clone(),
                _ => {
                    products += running.positions.len();
                    self.residual(&running, step)?
                }
            };
            let ended = self.ended(&running, residual.norms()?, rows);
            let (leave, stay) = split(&ended);
            let mut residual = residual;
            if !leave.is_empty() {
                values.take(&running.value, &running.positions, &leave)?;
                sums.take(&running.sum, &running.positions, &leave)?;
                if stay.is_empty() {
                    running.positions.clear();
                    break;
                }
                running = running.select(&stay)?;
                residual = residual.select(&stay)?;
            }
            self.advance(&mut running, &residual, step)?;
            (running.positions.iter()).for_each(|&position| rows[position].iterations += 1);
        }
        let all: Vec<usize> = (0..running.positions.len()).collect();
        values.take(&running.value, &running.positions, &all)?;
        sums.take(&running.sum, &running.positions, &all)?;
        drop(running);
        Ok((values.rows()?, sums.rows()?, products))
    }

    /// One step of every row.
    fn advance(&self, running: &mut Running, residual: &Vectors, step: usize) -> Result<()> {
        let count = running.positions.len();
        let stage = if self.whole { 0 } else { step / self.stage() };
        let size = self.step_size * 0.5f64.powi(stage as i32);
        let new = self.preconditioner.apply(residual)?;
        running.direction = new.add_scaled(&vec![MOMENTUM; count], &running.direction)?;
        running.value = running
            .value
            .add_scaled(&vec![size; count], &running.direction)?;
        if !self.whole && step + self.last_stage() >= self.settings.steps {
            running.sum = running.sum.add_scaled(&vec![1.0; count], &running.value)?;
        }
        Ok(())
    }

    /// b − A_B x.
    fn residual(&self, running: &Running, step: usize) -> Result<Vectors> {
        let product = match self.whole {
            true => self.operator.apply(&running.value)?,
            false => {
                let images = self.images((STEPS, step as u64));
                (self.operator.on_images(&images)?).apply(&running.value)?
            }
        };
        let minus = vec![-1.0; running.positions.len()];
        running.target.add_scaled(&minus, &product)
    }

    /// The images of a batch.
    fn images(&self, of: (u64, u64)) -> Vec<u32> {
        batch(self.operator, self.settings.batch, self.settings.seed, of)
    }

    /// The slots of the rows that have come to an end: converged, with all images, or diverged.
    fn ended(&self, running: &Running, residuals: Vec<f64>, rows: &mut [Row]) -> Vec<bool> {
        let ended = |(slot, residual): (usize, f64)| {
            let row = &mut rows[running.positions[slot]];
            row.diverged = !residual.is_finite() || residual > DIVERGED * row.norm;
            row.diverged || (self.whole && residual <= self.settings.tolerance * row.norm)
        };
        residuals.into_iter().enumerate().map(ended).collect()
    }
}

#[cfg(test)]
mod tests;
