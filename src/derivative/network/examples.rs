//! Images as the fine-tuned part sees them: the frozen prefix runs once, and what it gives is kept.
//!
//! One row for each image, `[H, W, C]`, in memory up to a budget, beyond it in a scratch file that the system removes with
//! the process.

use super::planes::{Planes, Shape};
use super::storage::{Storage, Stored};
use crate::data::{Dataset, Pixels, batches};
use crate::model::{Blocks, Pass, ResNet};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::path::PathBuf;

/// Most images that go through the prefix at once, and most of their pixels.
const BATCH: usize = 250;
const PIXELS: usize = BATCH * 32 * 32;

/// Where the activations of the prefix are kept.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// Bytes of memory they may take; beyond it they go to a scratch file.
    pub memory: u64,
    /// The folder of the scratch file.
    pub folder: PathBuf,
}

impl Default for Keeping {
    /// 2 GiB of memory, the system's folder for temporary files.
    fn default() -> Self {
        Self {
            memory: 2 << 30,
            folder: std::env::temp_dir(),
        }
    }
}

/// What enters the fine-tuned part for n labelled images, position i being the i-th image given.
#[derive(Debug)]
pub struct Examples {
    shape: Shape,
    dtype: DType,
    labels: Vec<usize>,
    storage: Storage,
}

impl Examples {
    /// Runs the examples `ids` of a data set through the frozen prefix of `model`, in evaluation mode and without
    /// augmentation; `progress` is told how many are done.
    ///
    /// # Errors
    /// No ids, an image that does not decode, more blocks than the model has, an activation that is not finite, or no space
    /// for the scratch file.
    pub fn compute(
        (model, blocks): (&ResNet, Blocks),
        dataset: &Dataset,
        ids: &[usize],
        keeping: &Keeping,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let mut collected = Collected::new(model, blocks, ids.len(), keeping)?;
        let side = model.framing();
        for batch in batches(ids, batch_of(side.height, side.width)) {
            let images = Pixels::decode(dataset, batch, model.framing())?;
            let positions: Vec<usize> = (0..images.len()).collect();
            collected.push(&images.batch(&positions, &Device::Cpu)?, images.labels())?;
            progress(collected.labels.len());
        }
        collected.finish()
    }

    /// The same for images `[n, 3, H, W]` with pixels in [0, 1] that are at hand.
    ///
    /// # Errors
    /// As [`Examples::compute`], or another number of labels.
    pub fn of_images(
        (model, blocks): (&ResNet, Blocks),
        images: &Tensor,
        labels: &[usize],
        keeping: &Keeping,
    ) -> Result<Self> {
        let (count, _, height, width) = images.dims4()?;
        if labels.len() != count {
            return Err(Error::mismatch(
                "images: labels",
                count,
                labels.len(),
                "give one label for each image",
            ));
        }
        let mut collected = Collected::new(model, blocks, count, keeping)?;
        let batch = batch_of(height, width);
        for start in (0..count).step_by(batch) {
            let size = batch.min(count - start);
            collected.push(
                &images.narrow(0, start, size)?,
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

    /// Height, width and channels of what enters the fine-tuned part.
    pub fn shape(&self) -> [usize; 3] {
        [self.shape.height, self.shape.width, self.shape.channels]
    }

    /// The precision of the activations, the model's.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Memory held.
    pub fn bytes(&self) -> u64 {
        match self.is_on_disk() {
            true => 0,
            false => (self.count() * self.shape.elements() * self.dtype.size_in_bytes()) as u64,
        }
    }

    /// Whether the activations lie in a scratch file.
    pub fn is_on_disk(&self) -> bool {
        self.storage.is_on_disk()
    }

    /// The activations and labels at `positions`, checked.
    pub(super) fn read<T: Stored>(&self, positions: &[u32]) -> Result<(Planes<T>, Vec<usize>)> {
        let count = self.count();
        if let Some(position) = positions.iter().find(|&&p| p as usize >= count) {
            return Err(Error::mismatch(
                "position of an image",
                format!("below {count}"),
                position,
                "positions count the images given, from 0",
            ));
        }
        let values = self.storage.read(positions, self.shape.elements())?;
        let labels = positions.iter().map(|&p| self.labels[p as usize]);
        let planes = Planes {
            shape: self.shape,
            values: values.into(),
        };
        Ok((planes, labels.collect()))
    }
}

/// Images of this size that go through the prefix at once.
fn batch_of(height: usize, width: usize) -> usize {
    (PIXELS / (height * width).max(1)).clamp(1, BATCH)
}

/// Examples on their way.
struct Collected {
    model: ResNet,
    segment: usize,
    count: usize,
    keeping: Keeping,
    shape: Option<Shape>,
    labels: Vec<usize>,
    storage: Option<Storage>,
}

impl Collected {
    fn new(model: &ResNet, blocks: Blocks, count: usize, keeping: &Keeping) -> Result<Self> {
        if count == 0 {
            return Err(Error::mismatch(
                "images",
                "at least one",
                "none",
                "give a set that is not empty",
            ));
        }
        Ok(Self {
            segment: blocks.first_segment(model.architecture())?,
            model: model.detached(),
            count,
            keeping: keeping.clone(),
            shape: None,
            labels: Vec::new(),
            storage: None,
        })
    }

    /// Images with pixels in [0, 1].
    fn push(&mut self, images: &Tensor, labels: &[usize]) -> Result<()> {
        let dtype = super::assembly::precision(&self.model);
        let images = images.to_dtype(dtype)?;
        let activations = match self.segment {
            0 => self.model.normalise(&images)?,
            segment => (self.model).prefix(segment, &images, &mut Pass::evaluation())?,
        };
        let rows = match activations.dims().len() {
            4 => activations.permute((0, 2, 3, 1))?.contiguous()?,
            _ => activations.unsqueeze(1)?.unsqueeze(1)?,
        };
        let (_, height, width, channels) = rows.dims4()?;
        let shape = Shape {
            height,
            width,
            channels,
        };
        if self.shape.is_some_and(|before| before != shape) {
            return Err(Error::mismatch(
                "images",
                "one size",
                format!("another one from image {} on", self.labels.len()),
                "resize them",
            ));
        }
        self.shape = Some(shape);
        let storage = match &mut self.storage {
            Some(storage) => storage,
            None => self.storage.insert(Storage::new(
                dtype,
                (self.count * shape.elements() * dtype.size_in_bytes()) as u64,
                &self.keeping,
            )?),
        };
        let place = |index: usize| self.labels.len() + index / shape.elements().max(1);
        storage.push(&rows.flatten_all()?, place)?;
        self.labels.extend(labels);
        Ok(())
    }

    fn finish(self) -> Result<Examples> {
        let (Some(shape), Some(storage)) = (self.shape, self.storage) else {
            return Err(Error::mismatch(
                "images",
                "at least one",
                "none",
                "give a set that is not empty",
            ));
        };
        Ok(Examples {
            shape,
            dtype: super::assembly::precision(&self.model),
            labels: self.labels,
            storage,
        })
    }
}
