//! Loss and accuracy of an epoch's batches, as training meets them.
//!
//! To read a number from a device is to wait until all that was asked of it is done, and while nothing is asked it idles. So
//! the numbers of some batches are read at once, later; a loss that is not finite is noticed so much later, before anything is
//! kept of what came of it.

use super::measure::{LATE, Performance, Tally};
use crate::{Error, Result};
use candle_core::Tensor;

/// A sum over the batches of an epoch.
#[derive(Debug)]
pub(super) struct RunningTally {
    /// From 0.
    epoch: usize,
    most_late: usize,
    tally: Tally,
    late: Vec<Late>,
}

#[derive(Debug)]
struct Late {
    /// As in [`crate::derivative::LossGradients`].
    loss_and_right: Tensor,
    images: usize,
    /// Number of the batch, from 0.
    batch: usize,
}

impl RunningTally {
    /// Of the epoch of that number, from 0; `at_once` where what comes next depends on a batch's loss.
    pub(super) fn new(epoch: usize, at_once: bool) -> Self {
        Self {
            epoch,
            most_late: if at_once { 0 } else { LATE },
            tally: Tally::default(),
            late: Vec::new(),
        }
    }

    /// Adds the batch of that number, from 0.
    ///
    /// # Errors
    /// As [`RunningTally::performance`].
    pub(super) fn add(
        &mut self,
        loss_and_right: Tensor,
        images: usize,
        batch: usize,
    ) -> Result<()> {
        let on_a_device = !loss_and_right.device().is_cpu();
        self.late.push(Late {
            loss_and_right,
            images,
            batch,
        });
        match on_a_device && self.late.len() <= self.most_late {
            true => Ok(()),
            false => self.settle(),
        }
    }

    fn settle(&mut self) -> Result<()> {
        let late = std::mem::take(&mut self.late);
        if late.is_empty() {
            return Ok(());
        }
        let numbers: Vec<&Tensor> = late.iter().map(|batch| &batch.loss_and_right).collect();
        let numbers = Tensor::stack(&numbers, 0)?.to_vec2::<f64>()?;
        for (batch, numbers) in late.iter().zip(numbers) {
            if !numbers[0].is_finite() {
                let place = format!("epoch {}, batch {}", self.epoch + 1, batch.batch + 1);
                return Err(Error::diverged(
                    "training loss",
                    place,
                    "lower --learning-rate",
                ));
            }
            self.tally
                .add_sums(numbers[0], numbers[1] as usize, batch.images);
        }
        Ok(())
    }

    /// Over all that was added.
    ///
    /// # Errors
    /// A batch's loss is not finite.
    pub(super) fn performance(&mut self) -> Result<Performance> {
        self.settle()?;
        self.tally.performance()
    }
}
