//! The block of rows of a series: those that run, and those that have stopped.

use crate::Result;
use crate::operator::{LinearOperator, Vectors};

/// One right-hand side: ‖b‖, the iterations spent on it over all repeats, and whether a series of it diverged.
pub(super) struct Row {
    pub(super) norm: f64,
    pub(super) iterations: usize,
    pub(super) diverged: bool,
}

/// The rows still running; all vectors `[running, p]`.
pub(super) struct Running {
    pub(super) positions: Vec<usize>,
    start: Vectors,
    sum: Vectors,
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
        let slots = |ending: bool| (0..leaving.len()).filter(move |&slot| leaving[slot] == ending);
        let (leave, stay): (Vec<usize>, Vec<usize>) =
            (slots(true).collect(), slots(false).collect());
        if leave.is_empty() {
            self.sum = self.sum.add_scaled(&vec![1.0; leaving.len()], residual)?;
            return Ok(());
        }
        finished.take(self, &leave)?;
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

/// The rows that have stopped: `places[row]` is the row's position in the concatenated blocks.
pub(super) struct Finished {
    pub(super) blocks: Vec<Vectors>,
    pub(super) places: Vec<usize>,
}

impl Finished {
    pub(super) fn take(&mut self, running: &Running, slots: &[usize]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let offset: usize = self.blocks.iter().map(Vectors::count).sum();
        for (place, &slot) in slots.iter().enumerate() {
            self.places[running.positions[slot]] = offset + place;
        }
        self.blocks.push(running.sum.select(slots)?);
        Ok(())
    }
}
