//! What methods that iterate on a block of right-hand sides share: random vectors and batches, rows that each end on their own, and
//! what is measured when they have.

use super::{Report, Solution, clear_rows, merged, rows_not_finite, true_residual};
use crate::Result;
use crate::data::random::{Purpose, generator};
use crate::operator::{LinearOperator, Vectors};
use candle_core::Tensor;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, StandardNormal};

/// One right-hand side: ‖b‖, the iterations spent on it, and whether it diverged.
pub(super) struct Row {
    pub(super) norm: f64,
    pub(super) iterations: usize,
    pub(super) diverged: bool,
}

impl Row {
    /// At the start, of each ‖b‖.
    pub(super) fn of(norms: &[f64]) -> Vec<Self> {
        let row = |&norm: &f64| Self {
            norm,
            iterations: 0,
            diverged: false,
        };
        norms.iter().map(row).collect()
    }
}

/// The slots that are marked, and the others.
pub(super) fn split(marked: &[bool]) -> (Vec<usize>, Vec<usize>) {
    (0..marked.len()).partition(|&slot| marked[slot])
}

/// The rows that have stopped: `places[row]` is the row's position in the concatenated blocks.
pub(super) struct Finished {
    blocks: Vec<Vectors>,
    places: Vec<usize>,
}

impl Finished {
    /// None yet of `count` rows; `rest` stands for those that are not taken, where there are such.
    pub(super) fn new(count: usize, rest: Option<Vectors>) -> Self {
        Self {
            blocks: rest.into_iter().collect(),
            places: (0..count).collect(),
        }
    }

    /// The rows at `slots`, which ascend, of `value`; `positions` are those of all rows of the value.
    pub(super) fn take(
        &mut self,
        value: &Vectors,
        positions: &[usize],
        slots: &[usize],
    ) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let offset: usize = self.blocks.iter().map(Vectors::count).sum();
        for (place, &slot) in slots.iter().enumerate() {
            self.places[positions[slot]] = offset + place;
        }
        self.blocks.push(match slots.len() == value.count() {
            true => value.clone(),
            false => value.select(slots)?,
        });
        Ok(())
    }

    /// All rows, in their order.
    pub(super) fn rows(self) -> Result<Vectors> {
        Vectors::concatenate(&self.blocks)?.select(&self.places)
    }
}

/// Solutions with their residuals by the whole curvature; zeros for the `broken` ones, which are none.
pub(super) struct Measured {
    pub(super) value: Vectors,
    pub(super) residuals: Vec<f64>,
    pub(super) broken: Vec<bool>,
}

impl Measured {
    pub(super) fn of(
        operator: &dyn LinearOperator,
        value: Vectors,
        right_hand_sides: &Vectors,
        rows: &[Row],
    ) -> Result<Self> {
        let broken: Vec<bool> = (rows.iter().zip(rows_not_finite(&value)?))
            .map(|(row, broken)| row.diverged || broken)
            .collect();
        let norms: Vec<f64> = rows.iter().map(|row| row.norm).collect();
        let value = clear_rows(value, &broken)?;
        let (_, residuals) = true_residual(operator, &value, right_hand_sides, &norms)?;
        Ok(Self {
            value,
            residuals,
            broken,
        })
    }

    /// Of two solutions of each row the one with the smaller residual.
    pub(super) fn or_better(self, other: Self) -> Result<Self> {
        let better = |row: usize| !other.broken[row] && other.residuals[row] < self.residuals[row];
        let better: Vec<bool> = (0..self.residuals.len()).map(better).collect();
        let residual = |row: usize| match better[row] {
            true => other.residuals[row],
            false => self.residuals[row],
        };
        Ok(Self {
            residuals: (0..better.len()).map(residual).collect(),
            value: merged(self.value, other.value, &better)?,
            broken: self.broken,
        })
    }

    /// As solutions of methods that do not watch this residual.
    pub(super) fn solution(self, rows: &[Row], tolerance: f64, products: usize) -> Solution {
        let report = |(slot, row): (usize, &Row)| {
            let (residual, broken) = (self.residuals[slot], self.broken[slot]);
            Report::measured(row.iterations, residual, broken, tolerance)
        };
        Solution {
            reports: rows.iter().enumerate().map(report).collect(),
            value: self.value,
            products,
        }
    }
}

/// The images of a batch of `size`, or all there are, drawn without replacement for (seed, epoch, index).
pub(super) fn batch(
    operator: &dyn LinearOperator,
    size: usize,
    seed: u64,
    (epoch, index): (u64, u64),
) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..operator.image_count() as u32).collect();
    let size = size.min(positions.len());
    let mut random = generator(Purpose::Batch, seed, epoch, index);
    positions.partial_shuffle(&mut random, size).0.to_vec()
}

/// A vector of standard normal numbers for (seed, epoch, index).
pub(super) fn random_vector(
    operator: &dyn LinearOperator,
    seed: u64,
    (epoch, index): (u64, u64),
) -> Result<Vectors> {
    let random = generator(Purpose::Lanczos, seed, epoch, index);
    let size = operator.size();
    let values: Vec<f64> = StandardNormal.sample_iter(random).take(size).collect();
    let row = Tensor::from_vec(values, (1, size), &operator.device())?;
    Vectors::new(row.to_dtype(operator.dtype())?)
}
