//! The frozen prefix: labelled images go through it once, in batches and in evaluation mode, and what it gives is kept.

use super::keeping::Keeping;
use super::layer::MaxPool;
use super::planes::Shape;
use crate::data::{Dataset, Framing, Pixels, moved};
use crate::model::{Blocks, NormedConvolution, Pass, ResNet, Segment};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// Most images that go through the prefix at once.
pub(super) const BATCH: usize = 250;

/// Where what the prefix gives is kept, a row for each image.
pub(super) trait Kept: Sized {
    /// Images of this height and width that go through the prefix at once, where each takes so many bytes on its way.
    fn at_once(size: (usize, usize), bytes: u64, keeping: &Keeping) -> usize;

    /// Room for so many rows of a shape.
    fn with_room(
        of: (&[usize], usize),
        dtype: DType,
        device: &Device,
        keeping: &Keeping,
    ) -> Result<Self>;

    /// Keeps `[m, …]`, those of the images from `start` on.
    fn extend(&mut self, rows: &Tensor, start: usize) -> Result<()>;
}

/// What the prefix gave of n labelled images, position i being the i-th image given.
#[derive(Debug)]
pub(super) struct Entered<K> {
    /// Of one image: `[C, H, W]`, or `[d]` before the head.
    pub(super) dims: Vec<usize>,
    pub(super) dtype: DType,
    pub(super) labels: Vec<usize>,
    pub(super) kept: K,
}

impl<K> Entered<K> {
    /// The labels at `positions`, which are classes below `classes`.
    pub(super) fn labels_at(&self, positions: &[u32], classes: usize) -> Result<Vec<usize>> {
        let count = self.labels.len();
        let label = |&position: &u32| match self.labels.get(position as usize) {
            None => Err(Error::mismatch(
                "position of an image",
                format!("below {count}"),
                position,
                "positions count the images given, from 0",
            )),
            Some(&label) if label >= classes => Err(Error::mismatch(
                format!("label of image {position}"),
                format!("a class below {classes}"),
                label,
                "use the labels that this model was trained on",
            )),
            Some(&label) => Ok(label),
        };
        positions.iter().map(label).collect()
    }
}

/// The segments before the fine-tuned part, on a device.
pub(super) struct Prefix<'a> {
    model: ResNet,
    /// The first that is fine-tuned.
    segment: usize,
    dtype: DType,
    device: Device,
    keeping: &'a Keeping,
}

impl<'a> Prefix<'a> {
    pub(super) fn new(
        (model, blocks, device): (&ResNet, Blocks, &Device),
        keeping: &'a Keeping,
    ) -> Result<Self> {
        Ok(Self {
            segment: blocks.first_segment(model.architecture())?,
            dtype: model.dtype()?,
            model: model.to_device(device)?,
            device: device.clone(),
            keeping,
        })
    }

    /// Of the examples `ids` of a data set, without augmentation; `progress` is told how many are done.
    pub(super) fn of_dataset<K: Kept>(
        &self,
        dataset: &Dataset,
        ids: &[usize],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Entered<K>> {
        let framing = self.model.framing();
        let read = |range: Range<usize>| -> Result<(Tensor, Vec<usize>)> {
            let images = Pixels::decode(dataset, &ids[range], framing)?;
            let positions: Vec<usize> = (0..images.len()).collect();
            let labels = images.labels().to_vec();
            Ok((images.batch(&positions, &self.device)?, labels))
        };
        let size = (framing.height, framing.width);
        self.run((ids.len(), size), &read, progress)
    }

    /// Of images `[n, 3, H, W]` with pixels in [0, 1] that are at hand.
    pub(super) fn of_images<K: Kept>(
        &self,
        images: &Tensor,
        labels: &[usize],
    ) -> Result<Entered<K>> {
        let (count, _, height, width) = images.dims4()?;
        if labels.len() != count {
            return Err(Error::mismatch(
                "images: labels",
                count,
                labels.len(),
                "give one label for each image",
            ));
        }
        let read = |range: Range<usize>| -> Result<(Tensor, Vec<usize>)> {
            let images = images.narrow(0, range.start, range.len())?;
            Ok((moved(&images, &self.device)?, labels[range].to_vec()))
        };
        self.run((count, (height, width)), &read, &mut |_| {})
    }

    /// Bytes that a batch of so many images of the model's size takes at most.
    pub(super) fn batch_bytes<K: Kept>(&self, count: usize) -> u64 {
        let Framing { height, width, .. } = self.model.framing();
        let (at_once, bytes) = self.at_once::<K>((height, width));
        at_once.min(count) as u64 * bytes
    }

    /// How many images of this height and width go through at once, and bytes that each of them takes.
    fn at_once<K: Kept>(&self, size: (usize, usize)) -> (usize, u64) {
        let numbers = numbers_at_once(&self.model.segments()[..self.segment], size);
        let bytes = (numbers * self.dtype.size_in_bytes()) as u64;
        (K::at_once(size, bytes, self.keeping), bytes)
    }

    /// Batch by batch, of each what `read` gives: images with pixels in [0, 1], and their labels.
    fn run<K: Kept>(
        &self,
        (count, size): (usize, (usize, usize)),
        read: &dyn Fn(Range<usize>) -> Result<(Tensor, Vec<usize>)>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Entered<K>> {
        let dtype = self.dtype;
        let (at_once, _) = self.at_once::<K>(size);
        let mut all_labels = Vec::with_capacity(count);
        let mut begun: Option<(Vec<usize>, K)> = None;
        for start in (0..count).step_by(at_once) {
            let (images, labels) = read(start..count.min(start + at_once))?;
            let rows = self.rows(&images.to_dtype(dtype)?)?;
            let (_, kept) = match &mut begun {
                Some(begun) => begun,
                None => {
                    let dims = rows.dims()[1..].to_vec();
                    let room = K::with_room((&dims, count), dtype, &self.device, self.keeping)?;
                    begun.insert((dims, room))
                }
            };
            kept.extend(&rows, start)?;
            all_labels.extend(labels);
            progress(all_labels.len());
        }
        let none = || {
            Error::mismatch(
                "images",
                "at least one",
                "none",
                "give a set that is not empty",
            )
        };
        let (dims, kept) = begun.ok_or_else(none)?;
        Ok(Entered {
            dims,
            dtype,
            labels: all_labels,
            kept,
        })
    }

    /// What enters the fine-tuned part.
    fn rows(&self, images: &Tensor) -> Result<Tensor> {
        let rows = match self.segment {
            0 => self.model.normalise(images)?,
            segment => (self.model).prefix(segment, images, &mut Pass::evaluation())?,
        };
        Ok(rows.detach())
    }
}

/// Numbers that are there at once for an image of this height and width on its way through `segments`, at most, on the processor.
///
/// Its pixels are there twice, as read and as the model takes them. While a convolution runs, there are what it takes and gives,
/// and both once more where images are turned over for it (`model::op::convolution`); the batch norm after it needs no more. What
/// entered the block waits beside it or, beside the projection, what the way gave. What leaves the last segment is there in two
/// orders and as a vector before it is kept. The tiles that each thread cuts, a few megabytes, do not grow with the batch and are
/// not counted.
fn numbers_at_once(segments: &[Segment], (height, width): (usize, usize)) -> usize {
    let mut input = Shape {
        height: height.max(1),
        width: width.max(1),
        channels: 3,
    };
    let (pixels, mut most) = (input.elements(), 0);
    for segment in segments {
        let mut through = |layer: &NormedConvolution, x: Shape, waiting: usize| {
            let y = layer.geometry(x).output();
            most = most.max(2 * (x.elements() + y.elements()) + waiting);
            y
        };
        input = match segment {
            Segment::Stem { layer, pool } => {
                let x = through(layer, input, 0);
                pool.map_or(x, |window| MaxPool(window).out(x))
            }
            Segment::Block { way, projection } => {
                let (mut x, mut waiting) = (input, 0);
                for layer in way {
                    x = through(layer, x, waiting);
                    waiting = input.elements();
                }
                if let Some(layer) = projection {
                    through(layer, input, x.elements());
                }
                x
            }
        };
    }
    2 * pixels + most.max(3 * input.elements())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Architecture;

    #[test]
    fn what_is_there_at_once_is_what_a_pass_holds() {
        let numbers = |architecture: &str, segments: usize, side: usize| {
            let architecture: Architecture = architecture.parse().unwrap();
            numbers_at_once(&architecture.segments()[..segments], (side, side))
        };
        // 3·8·8 = 192 pixels twice, and normalised, in the rows' order and as a vector.
        assert_eq!(numbers("cifar-resnet8-w4", 0, 8), 2 * 192 + 3 * 192);
        // The stem takes 192 numbers and gives 4·8·8 = 256.
        let stem = 2 * 192 + 2 * (192 + 256);
        assert_eq!(numbers("cifar-resnet8-w4", 1, 8), stem);
        // The first block's second layer takes and gives 256 beside the 256 that entered; later blocks, of which the second is
        // projected from 256 numbers to 128 beside 128, have less.
        let block = 2 * 192 + 2 * (256 + 256) + 256;
        assert_eq!(numbers("cifar-resnet8-w4", 2, 8), block);
        assert_eq!(numbers("cifar-resnet8-w4", 4, 8), block);
        // A bottleneck of 4×4 pixels, 3 channels in the image: the projection from 1 channel to 4 beside the way's 4.
        let bottleneck = 2 * 48 + 2 * (16 + 64) + 64;
        assert_eq!(numbers("cifar-resnet50-w1", 2, 4), bottleneck);
        // A large stem gives 64·112·112; its pool leaves a quarter to the first block, which has less.
        let (pixels, convolved) = (3 * 224 * 224, 64 * 112 * 112);
        let large = 2 * pixels + 2 * (pixels + convolved);
        assert_eq!(numbers("resnet18", 1, 224), large);
        assert_eq!(numbers("resnet18", 2, 224), large);
    }
}
