//! Conjugate gradients with a recurrence for each right-hand side, all of them through one product.
//!
//! Hestenes & Stiefel 1952, preconditioned: with r = b − A x, z = M⁻¹r and d = z, each iteration takes α = rᵀz / dᵀA d,
//! x ← x + α d, r ← r − α A d, d ← z + (r_newᵀz_new / rᵀz) d. Every row has its own α; a row that meets dᵀA d ≤ 0 takes no
//! step and stops.

use super::{Finished, Row, System};
use crate::Result;
use crate::operator::Vectors;
use crate::solve::Outcome;

/// The rows still running; all vectors `[running, p]`.
pub(super) struct Rows<'a> {
    system: &'a System<'a>,
    positions: Vec<usize>,
    value: Vectors,
    residual: Vectors,
    direction: Vectors,
    /// rᵀz
    products: Vec<f64>,
    /// rᵀr
    squares: Vec<f64>,
    stopped: Vec<bool>,
}

impl<'a> Rows<'a> {
    /// Runs the rows at `positions` of `start` from x = 0 to their ends; returns the number of products.
    pub(super) fn run(
        system: &'a System<'a>,
        start: &Vectors,
        rows: &mut [Row],
        positions: &[usize],
        finished: &mut Finished,
    ) -> Result<usize> {
        let mut running = Self::new(system, start.select(positions)?, positions.to_vec())?;
        let mut products = 0;
        running.retire(finished, rows)?;
        while !running.positions.is_empty() {
            products += running.positions.len();
            running.advance(rows)?;
            running.retire(finished, rows)?;
        }
        Ok(products)
    }

    fn new(system: &'a System<'a>, residual: Vectors, positions: Vec<usize>) -> Result<Self> {
        let direction = system.preconditioned(&residual)?;
        Ok(Self {
            system,
            value: residual.zeros_like()?,
            products: residual.dot(&direction)?,
            squares: residual.dot(&residual)?,
            stopped: vec![false; positions.len()],
            direction,
            residual,
            positions,
        })
    }

    /// One iteration of every row. A row that meets no positive curvature takes no step and is marked as stopped.
    fn advance(&mut self, rows: &mut [Row]) -> Result<()> {
        let product = self.system.operator.apply(&self.direction)?;
        let curvatures = self.direction.dot(&product)?;
        let mut steps = Vec::with_capacity(curvatures.len());
        for (slot, (&along, curvature)) in self.products.iter().zip(curvatures).enumerate() {
            let row = &mut rows[self.positions[slot]];
            row.iterations += 1;
            if curvature <= 0.0 {
                (row.outcome, self.stopped[slot]) = (Outcome::NegativeCurvature, true);
            }
            steps.push(if curvature <= 0.0 {
                0.0
            } else {
                along / curvature
            });
        }
        self.value = self.value.add_scaled(&steps, &self.direction)?;
        let back: Vec<f64> = steps.iter().map(|step| -step).collect();
        self.residual = self.residual.add_scaled(&back, &product)?;
        let next = self.system.preconditioned(&self.residual)?;
        let products = self.residual.dot(&next)?;
        let ratio = |(new, old): (&f64, &f64)| new / old;
        let ratios: Vec<f64> = products.iter().zip(&self.products).map(ratio).collect();
        self.direction = next.add_scaled(&ratios, &self.direction)?;
        self.squares = self.residual.dot(&self.residual)?;
        self.products = products;
        Ok(())
    }

    /// Moves the rows that have come to an end out of the block.
    fn retire(&mut self, finished: &mut Finished, rows: &mut [Row]) -> Result<()> {
        let (mut leaving, mut staying) = (Vec::new(), Vec::new());
        for slot in 0..self.positions.len() {
            let row = &mut rows[self.positions[slot]];
            match self.system.verdict(row, self.squares[slot]) {
                _ if self.stopped[slot] => leaving.push(slot),
                Some(outcome) => {
                    row.outcome = outcome;
                    leaving.push(slot);
                }
                None => staying.push(slot),
            }
        }
        if leaving.is_empty() {
            return Ok(());
        }
        finished.take(&self.value, &self.positions, &leaving)?;
        self.keep(&staying)
    }

    fn keep(&mut self, staying: &[usize]) -> Result<()> {
        self.positions = staying.iter().map(|&slot| self.positions[slot]).collect();
        self.squares = staying.iter().map(|&slot| self.squares[slot]).collect();
        self.products = staying.iter().map(|&slot| self.products[slot]).collect();
        self.stopped = vec![false; staying.len()];
        if !staying.is_empty() {
            self.value = self.value.select(staying)?;
            self.residual = self.residual.select(staying)?;
            self.direction = self.direction.select(staying)?;
        }
        Ok(())
    }
}
