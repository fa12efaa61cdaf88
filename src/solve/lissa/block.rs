//! The rows of a series that still run.

use super::{Finished, Row, split};
use crate::Result;
use crate::operator::{LinearOperator, Vectors};

/// The rows still running; all vectors `[running, p]`.
pub(super) struct Running {
    pub(super) positions: Vec<usize>,
    start: Vectors,
    /// h
    pub(super) sum: Vectors,
    /// The least residual so far.
    pub(super) least: Vec<f64>,
}

impl Running {
    pub(super) fn new(start: Vectors) -> Self {
        let count = start.count();
        Self {
            positions: (0..count).collect(),
            sum: start.clone(),
            start,
            least: vec![f64::INFINITY; count],
        }
    }

    /// b − A h / s.
    pub(super) fn residual(&self, operator: &dyn LinearOperator, scale: f64) -> Result<Vectors> {
        let product = operator.apply(&self.sum)?;
        let back = vec![-scale.recip(); self.positions.len()];
        self.start.add_scaled(&back, &product)
    }

    pub(super) fn count(&self, rows: &mut [Row]) {
        for &position in &self.positions {
            rows[position].iterations += 1;
        }
    }

    /// Moves the rows marked out of the block; the others take their step.
    pub(super) fn retire(
        &mut self,
        leaving: &[bool],
        residual: &Vectors,
        finished: &mut Finished,
    ) -> Result<()> {
        let (leave, stay) = split(leaving);
        if leave.is_empty() {
            self.sum = self.sum.add_scaled(&vec![1.0; leaving.len()], residual)?;
            return Ok(());
        }
        finished.take(&self.sum, &self.positions, &leave)?;
        if !stay.is_empty() {
            let step = residual.select(&stay)?;
            let sum = self.sum.select(&stay)?;
            self.sum = sum.add_scaled(&vec![1.0; stay.len()], &step)?;
            self.start = self.start.select(&stay)?;
        }
        self.least = stay.iter().map(|&slot| self.least[slot]).collect();
        self.positions = stay.iter().map(|&slot| self.positions[slot]).collect();
        Ok(())
    }
}
