//! Images as the fine-tuned part sees them: the frozen prefix runs once, and what it gives is kept.
//!
//! One row for each image, `[H, W, C]`, in memory up to a budget, beyond it in a scratch file that the system removes with
//! the process.

use super::keeping::Keeping;
use super::planes::{Planes, Shape};
use super::prefix::{BATCH, Entered, Kept, Prefix};
use super::storage::{Storage, Stored};
use crate::Result;
use crate::data::Dataset;
use crate::model::{Blocks, ResNet};
use candle_core::{DType, Device, Tensor};

/// Most pixels that go through the prefix at once.
const PIXELS: usize = BATCH * 32 * 32;

/// What enters the fine-tuned part for n labelled images, position i being the i-th image given.
#[derive(Debug)]
pub struct Examples {
    entered: Entered<Storage>,
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
        let prefix = Prefix::new((model, blocks, &Device::Cpu), keeping)?;
        let entered = prefix.of_dataset(dataset, ids, progress)?;
        Ok(Self { entered })
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
        let prefix = Prefix::new((model, blocks, &Device::Cpu), keeping)?;
        let entered = prefix.of_images(images, labels)?;
        Ok(Self { entered })
    }

    /// Bytes of memory that a batch takes at most on its way through the prefix, if there are `count` images of the model's size.
    ///
    /// # Errors
    /// More blocks than the model has.
    pub fn batch_bytes(
        (model, blocks): (&ResNet, Blocks),
        count: usize,
        keeping: &Keeping,
    ) -> Result<u64> {
        let prefix = Prefix::new((model, blocks, &Device::Cpu), keeping)?;
        Ok(prefix.batch_bytes::<Storage>(count))
    }

    /// n.
    pub fn count(&self) -> usize {
        self.entered.labels.len()
    }

    /// The labels, by position.
    pub fn labels(&self) -> &[usize] {
        &self.entered.labels
    }

    fn row_shape(&self) -> Shape {
        let (height, width, channels) = match self.entered.dims[..] {
            [channels, height, width] => (height, width, channels),
            _ => (1, 1, self.entered.dims.iter().product()),
        };
        Shape {
            height,
            width,
            channels,
        }
    }

    /// Height, width and channels of what enters the fine-tuned part.
    pub fn shape(&self) -> [usize; 3] {
        let shape = self.row_shape();
        [shape.height, shape.width, shape.channels]
    }

    /// The precision of the activations, the model's.
    pub fn dtype(&self) -> DType {
        self.entered.dtype
    }

    /// Memory held.
    pub fn bytes(&self) -> u64 {
        let numbers = self.count() * self.row_shape().elements();
        match self.is_on_disk() {
            true => 0,
            false => (numbers * self.dtype().size_in_bytes()) as u64,
        }
    }

    /// Whether the activations lie in a scratch file.
    pub fn is_on_disk(&self) -> bool {
        self.entered.kept.is_on_disk()
    }

    /// The activations and labels at `positions`, checked: labels are classes below `classes`.
    pub(super) fn read<T: Stored>(
        &self,
        positions: &[u32],
        classes: usize,
    ) -> Result<(Planes<T>, Vec<usize>)> {
        let labels = self.entered.labels_at(positions, classes)?;
        let shape = self.row_shape();
        let values = self.entered.kept.read(positions, shape.elements())?;
        let planes = Planes {
            shape,
            values: values.into(),
        };
        Ok((planes, labels))
    }
}

impl Kept for Storage {
    fn at_once((height, width): (usize, usize), bytes: u64, keeping: &Keeping) -> usize {
        let usual = (PIXELS / (height * width).max(1)).clamp(1, BATCH);
        let fitting = keeping.batch / bytes.max(1);
        usual.min(fitting.max(1) as usize)
    }

    fn with_room(
        (dims, count): (&[usize], usize),
        dtype: DType,
        _: &Device,
        keeping: &Keeping,
    ) -> Result<Self> {
        let numbers = count * dims.iter().product::<usize>();
        Self::new(dtype, (numbers * dtype.size_in_bytes()) as u64, keeping)
    }

    fn extend(&mut self, rows: &Tensor, start: usize) -> Result<()> {
        let rows = match rows.rank() {
            4 => rows.permute((0, 2, 3, 1))?.contiguous()?,
            _ => rows.clone(),
        };
        let size: usize = rows.dims()[1..].iter().product();
        self.push(&rows.flatten_all()?, |index| start + index / size.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_as_many_images_as_their_memory_holds() {
        let at_once = |side: usize, batch: u64| {
            let keeping = Keeping {
                batch,
                ..Keeping::default()
            };
            Storage::at_once((side, side), 1000, &keeping)
        };
        let usual = [8, 32, 64, 4096].map(|side| at_once(side, Keeping::default().batch));
        assert_eq!(usual, [250, 250, 62, 1]);
        let narrow = [7999, 1000, 999, 0].map(|batch| at_once(64, batch));
        assert_eq!(narrow, [7, 1, 1, 1]);
        assert_eq!(at_once(64, 62_000), 62);
        assert_eq!(at_once(64, 90_000), 62);
    }
}
