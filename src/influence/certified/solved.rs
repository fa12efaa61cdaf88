//! The solutions of one side with their error bounds, in the blocks they were solved in.

use super::input_error::Reach;
use super::on_device::DeviceRows;
use super::scaling::{AxisScaling, UnitRows};
use crate::Result;
use crate::operator::Vectors;
use crate::product::Real;
use crate::solve::{Bounded, Report};
use candle_core::DType;
use rayon::prelude::*;
use std::ops::Range;

/// Blocks of solutions and the positions they belong to, one after the other.
pub(super) struct Solved {
    blocks: Vec<(Range<usize>, Bounded)>,
    /// Of what was solved for.
    reach: Reach,
}

impl Solved {
    pub(super) fn new(blocks: Vec<(Range<usize>, Bounded)>, reach: Reach) -> Self {
        Self { blocks, reach }
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Solutions `[k, p]` of a block, f64.
    pub(super) fn block(&self, block: usize) -> &Vectors {
        &self.blocks[block].1.value
    }

    pub(super) fn count(&self) -> usize {
        self.blocks.iter().map(|(range, _)| range.len()).sum()
    }

    pub(super) fn blocks_mut(&mut self) -> impl Iterator<Item = (&Range<usize>, &mut Bounded)> {
        self.blocks
            .iter_mut()
            .map(|(range, block)| (&*range, block))
    }

    /// Whether further rounds can win nothing.
    pub(super) fn at_floor(&self) -> bool {
        self.blocks.iter().all(|(_, block)| block.at_floor)
    }

    /// Whether another round may bring a residual within the tolerance.
    pub(super) fn is_stalled(&self) -> bool {
        self.blocks.iter().any(|(_, block)| block.is_stalled())
    }

    /// Bounds of ‖x̂ − A⁻¹b‖_A, row by row.
    pub(super) fn errors(&self) -> Vec<f64> {
        let errors = |(_, block): &(_, Bounded)| block.errors.clone();
        self.blocks.iter().flat_map(errors).collect()
    }

    pub(super) fn reports(&self) -> Vec<Report> {
        let reports = |(_, block): &(_, Bounded)| block.reports.clone();
        self.blocks.iter().flat_map(reports).collect()
    }

    /// x̂ ∘ w / y and y, where the solutions are on a device.
    pub(super) fn unit_rows_on_device(
        &self,
        scaling: &AxisScaling,
        precision: DType,
    ) -> Result<DeviceRows> {
        let rows = self
            .blocks
            .iter()
            .map(|(_, block)| scaling.solutions_on_device(block.value.tensor(), precision));
        DeviceRows::gathered(rows.collect::<Result<_>>()?)
    }

    pub(super) fn unit_rows<T: Real>(&self, scaling: &AxisScaling) -> Result<UnitRows<T>> {
        let size = self.block(0).size();
        let mut all = UnitRows {
            rows: Vec::with_capacity(self.count() * size),
            lengths: Vec::with_capacity(self.count()),
        };
        for (_, block) in &self.blocks {
            let part: UnitRows<T> = block.value.with_values(|x| scaling.solutions(x, size))?;
            all.rows.extend(part.rows);
            all.lengths.extend(part.lengths);
        }
        Ok(all)
    }

    /// `of` each solution and its item, in parallel.
    pub(super) fn map_rows<I: Sync, R: Send>(
        &self,
        items: &[I],
        of: impl Fn(&[f64], &I) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let mut results = Vec::with_capacity(items.len());
        let mut start = 0;
        for (range, block) in &self.blocks {
            let items = &items[start..][..range.len()];
            let size = block.value.size();
            let part: Result<Vec<R>> = block.value.with_values(|rows| {
                let rows = rows.par_chunks_exact(size).zip(items);
                rows.map(|(row, item)| of(row, item)).collect()
            })?;
            results.extend(part?);
            start += range.len();
        }
        Ok(results)
    }
}
