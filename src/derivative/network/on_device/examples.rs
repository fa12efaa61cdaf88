//! Images as the fine-tuned part sees them, on a device: the frozen prefix runs there once, and what it gives stays there.
//!
//! [`KeptRows`] `[C, H, W]` (or `[d]` before the head), or else on the host, as [`Examples`](crate::derivative::network::Examples) keeps
//! them, which are uploaded for every pass.

use super::kept_rows::KeptRows;
use crate::data::{Dataset, Pixels, batches, moved};
use crate::derivative::network::Keeping;
use crate::model::{Blocks, Pass, ResNet};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// Images that go through the prefix at once.
const BATCH: usize = 250;

/// What enters the fine-tuned part for n labelled images, position i being the i-th image given.
#[derive(Debug)]
pub struct DeviceExamples {
    /// Of one image.
    dims: Vec<usize>,
    dtype: DType,
    device: Device,
    labels: Vec<usize>,
    rows: KeptRows,
}

impl DeviceExamples {
    /// Runs the examples `ids` of a data set through the frozen prefix of `model` on `device`, in evaluation mode and without
    /// augmentation; `progress` is told how many are done. `keeping` says where they go if the device has no room.
    ///
    /// # Errors
    /// No ids, an image that does not decode, more blocks than the model has, an activation that is not finite, or no space
    /// for the scratch file.
    pub fn compute(
        (model, blocks, device): (&ResNet, Blocks, &Device),
        dataset: &Dataset,
        ids: &[usize],
        keeping: &Keeping,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let mut collected = Collected::new((model, blocks, device), ids.len(), keeping)?;
        for batch in batches(ids, BATCH) {
            let images = Pixels::decode(dataset, batch, model.framing())?;
            let positions: Vec<usize> = (0..images.len()).collect();
            collected.push(&images.batch(&positions, device)?, images.labels())?;
            progress(collected.labels.len());
        }
        collected.finish()
    }

    /// The same for images `[n, 3, H, W]` with pixels in [0, 1] that are at hand.
    ///
    /// # Errors
    /// As [`DeviceExamples::compute`], or another number of labels.
    pub fn of_images(
        (model, blocks, device): (&ResNet, Blocks, &Device),
        images: &Tensor,
        labels: &[usize],
        keeping: &Keeping,
    ) -> Result<Self> {
        let count = images.dims4()?.0;
        if labels.len() != count {
            return Err(Error::mismatch(
                "images: labels",
                count,
                labels.len(),
                "give one label for each image",
            ));
        }
        let mut collected = Collected::new((model, blocks, device), count, keeping)?;
        for start in (0..count).step_by(BATCH) {
            let size = BATCH.min(count - start);
            collected.push(
                &moved(&images.narrow(0, start, size)?, device)?,
                &labels[start..start + size],
            )?;
        }
        collected.finish()
    }

    /// n.
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// The labels, by position.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The shape of what enters the fine-tuned part, for one image.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The precision of the activations, the model's.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device that passes run on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether the activations lie on the device.
    pub fn is_on_device(&self) -> bool {
        matches!(self.rows, KeptRows::Device(_))
    }

    /// The activations `[m, …]` at `positions`, on the device, and their labels.
    pub(super) fn read(&self, positions: &[u32]) -> Result<(Tensor, Vec<usize>)> {
        let count = self.count();
        if let Some(position) = positions.iter().find(|&&p| p as usize >= count) {
            return Err(Error::mismatch(
                "position of an image",
                format!("below {count}"),
                position,
                "positions count the images given, from 0",
            ));
        }
        let of = (self.dtype, &self.device);
        let rows = self.rows.read(positions, &self.dims, of)?;
        let labels = positions.iter().map(|&p| self.labels[p as usize]);
        Ok((rows, labels.collect()))
    }
}

/// Examples on their way.
struct Collected<'a> {
    model: ResNet,
    segment: usize,
    count: usize,
    keeping: &'a Keeping,
    device: Device,
    labels: Vec<usize>,
    kept: Option<(Vec<usize>, KeptRows)>,
}

impl<'a> Collected<'a> {
    fn new(
        (model, blocks, device): (&ResNet, Blocks, &Device),
        count: usize,
        keeping: &'a Keeping,
    ) -> Result<Self> {
        if count == 0 {
            return Err(none());
        }
        Ok(Self {
            segment: blocks.first_segment(model.architecture())?,
            model: model.to_device(device)?,
            count,
            keeping,
            device: device.clone(),
            labels: Vec::new(),
            kept: None,
        })
    }

    /// Images with pixels in [0, 1].
    fn push(&mut self, images: &Tensor, labels: &[usize]) -> Result<()> {
        let dtype = crate::derivative::network::assembly::precision(&self.model);
        let images = images.to_dtype(dtype)?;
        let rows = match self.segment {
            0 => self.model.normalise(&images)?,
            segment => (self.model).prefix(segment, &images, &mut Pass::evaluation())?,
        };
        let rows = rows.detach().contiguous()?;
        let start = self.labels.len();
        let (dims, kept) = match &mut self.kept {
            Some(kept) => kept,
            None => {
                let dims = rows.dims()[1..].to_vec();
                let kept = KeptRows::new((&dims, self.count), dtype, &self.device, self.keeping)?;
                self.kept.insert((dims, kept))
            }
        };
        if rows.dims()[1..] != dims[..] {
            return Err(Error::mismatch(
                "images",
                "one size",
                format!("another one from image {start} on"),
                "resize them",
            ));
        }
        kept.push(&rows, start, |row| start + row)?;
        self.labels.extend(labels);
        Ok(())
    }

    fn finish(self) -> Result<DeviceExamples> {
        let (dims, rows) = self.kept.ok_or_else(none)?;
        Ok(DeviceExamples {
            dims,
            dtype: crate::derivative::network::assembly::precision(&self.model),
            device: self.device,
            labels: self.labels,
            rows,
        })
    }
}

fn none() -> Error {
    Error::mismatch(
        "images",
        "at least one",
        "none",
        "give a set that is not empty",
    )
}
