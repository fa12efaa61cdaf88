//! Images as the fine-tuned part sees them, on a device: the frozen prefix runs there once, and what it gives stays there.
//!
//! [`KeptRows`] `[C, H, W]` (or `[d]` before the head), or else on the host, as [`Examples`](crate::derivative::network::Examples) keeps
//! them, which are uploaded for every pass.

use super::kept_rows::KeptRows;
use crate::Result;
use crate::data::Dataset;
use crate::derivative::network::Keeping;
use crate::derivative::network::prefix::{BATCH, Entered, Kept, Prefix};
use crate::model::{Blocks, ResNet};
use candle_core::{DType, Device, Tensor};

/// What enters the fine-tuned part for n labelled images, position i being the i-th image given.
#[derive(Debug)]
pub struct DeviceExamples {
    device: Device,
    entered: Entered<KeptRows>,
}

impl DeviceExamples {
    /// Runs the examples `ids` of a data set through the frozen prefix of `model` on `device`, in evaluation mode and without
    /// augmentation; `progress` is told how many are done. `keeping` says where they go if the device has no room.
    ///
    /// # Errors
    /// No ids, an image that does not decode, more blocks than the model has, an activation that is not finite, or no space
    /// for the scratch file.
    pub fn compute(
        of: (&ResNet, Blocks, &Device),
        dataset: &Dataset,
        ids: &[usize],
        keeping: &Keeping,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        Ok(Self {
            device: of.2.clone(),
            entered: Prefix::new(of, keeping)?.of_dataset(dataset, ids, progress)?,
        })
    }

    /// The same for images `[n, 3, H, W]` with pixels in [0, 1] that are at hand.
    ///
    /// # Errors
    /// As [`DeviceExamples::compute`], or another number of labels.
    pub fn of_images(
        of: (&ResNet, Blocks, &Device),
        images: &Tensor,
        labels: &[usize],
        keeping: &Keeping,
    ) -> Result<Self> {
        Ok(Self {
            device: of.2.clone(),
            entered: Prefix::new(of, keeping)?.of_images(images, labels)?,
        })
    }

    /// n.
    pub fn count(&self) -> usize {
        self.entered.labels.len()
    }

    /// The labels, by position.
    pub fn labels(&self) -> &[usize] {
        &self.entered.labels
    }

    /// The shape of what enters the fine-tuned part, for one image.
    pub fn dims(&self) -> &[usize] {
        &self.entered.dims
    }

    /// The precision of the activations, the model's.
    pub fn dtype(&self) -> DType {
        self.entered.dtype
    }

    /// The device that passes run on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether the activations lie on the device.
    pub fn is_on_device(&self) -> bool {
        matches!(self.entered.kept, KeptRows::Device(_))
    }

    /// The activations `[m, …]` at `positions`, on the device, and their labels, checked: they are classes below `classes`.
    pub(super) fn read(&self, positions: &[u32], classes: usize) -> Result<(Tensor, Vec<usize>)> {
        let labels = self.entered.labels_at(positions, classes)?;
        let of = (self.dtype(), &self.device);
        let rows = self.entered.kept.read(positions, self.dims(), of)?;
        Ok((rows, labels))
    }
}

impl Kept for KeptRows {
    fn at_once(_: (usize, usize), _: u64, _: &Keeping) -> usize {
        BATCH
    }

    fn with_room(
        of: (&[usize], usize),
        dtype: DType,
        device: &Device,
        keeping: &Keeping,
    ) -> Result<Self> {
        Self::new(of, dtype, device, keeping)
    }

    fn extend(&mut self, rows: &Tensor, start: usize) -> Result<()> {
        self.push(&rows.contiguous()?, start, |row| start + row)
    }
}
