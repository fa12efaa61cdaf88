//! The batches of an epoch, each made while the one before it is trained on: images are decoded, augmented and turned into
//! numbers, or activations read, on a thread of its own. What a batch holds does not depend on when it is made.

use super::frozen_prefix::FrozenPrefix;
use super::recipe::Recipe;
use crate::Result;
use crate::data::Pixels;
use candle_core::{Device, Tensor};
use std::sync::mpsc::sync_channel;

/// Batches that wait; each may be large.
const AHEAD: usize = 1;

/// What one step takes in.
pub(super) struct Batch {
    /// Labels, `[B]`.
    pub labels: Tensor,
    /// Weights of the losses, `[B]`, where they are not all 1.
    pub weights: Option<Tensor>,
    pub input: Input,
}

/// What enters the model, and where.
pub(super) enum Input {
    /// `[B, 3, H, W]` in `[0, 1]`, for segment 0.
    Images(Tensor),
    /// For the first trained segment.
    Activations(Tensor),
}

/// Where batches come from.
#[derive(Clone, Copy)]
pub(super) struct Feed<'a> {
    pub recipe: &'a Recipe,
    pub images: &'a Pixels,
    pub prefix: Option<&'a FrozenPrefix>,
    pub epoch: usize,
    /// Where the batches are to be.
    pub device: &'a Device,
}

impl Feed<'_> {
    /// Calls `step` with each batch of `positions` in turn, and its number.
    pub(super) fn each<'b>(
        &self,
        parts: impl Iterator<Item = &'b [usize]> + Send,
        step: &mut dyn FnMut(usize, Batch) -> Result<()>,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel(AHEAD);
            scope.spawn(move || {
                for positions in parts {
                    // Nobody waits for it any more where a step failed.
                    if send.send(self.batch(positions)).is_err() {
                        return;
                    }
                }
            });
            for (number, batch) in receive.into_iter().enumerate() {
                step(number, batch?)?;
            }
            Ok(())
        })
    }

    /// The batch of the images at `positions`.
    pub(super) fn batch(&self, positions: &[usize]) -> Result<Batch> {
        let (device, seed, epoch) = (self.device, self.recipe.seed, self.epoch as u64);
        let augmentation = &self.recipe.augmentation;
        let input = match self.prefix {
            Some(prefix) => {
                let ids = self.images.ids();
                let mirrors = |position: usize| augmentation.mirrors(seed, epoch, ids[position]);
                Input::Activations(prefix.batch(positions, mirrors, device)?)
            }
            None => Input::Images(self.images.augmented_batch(
                positions,
                augmentation,
                seed,
                epoch,
                device,
            )?),
        };
        let weights = self.images.loss_weights_of(positions);
        Ok(Batch {
            labels: Tensor::new(self.images.labels_of(positions), device)?,
            weights: (weights.map(|weights| Tensor::new(weights, device))).transpose()?,
            input,
        })
    }
}
