//! Images as the fine-tuned part sees them, on a device: the frozen prefix runs there once, and what it gives stays there.
//!
//! One tensor `[n, C, H, W]` (or `[n, d]` before the head) where it takes no more than a share of the free memory; else rows
//! in the host's memory or in a scratch file, as [`Examples`](crate::derivative::network::Examples) keeps them, which are
//! uploaded for every pass.

use crate::data::{Dataset, Pixels, batches};
use crate::derivative::network::Keeping;
use crate::derivative::network::storage::Storage;
use crate::device::free_memory;
use crate::model::{Blocks, Pass, ResNet};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// Images that go through the prefix at once.
const BATCH: usize = 250;
/// The share of a device's free memory that the activations of one side may take.
const SHARE: usize = 3;

/// What enters the fine-tuned part for n labelled images, position i being the i-th image given.
#[derive(Debug)]
pub struct DeviceExamples {
    /// Of one image.
    dims: Vec<usize>,
    dtype: DType,
    device: Device,
    labels: Vec<usize>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// `[n, …]`
    Device(Tensor),
    /// Rows on the host.
    Host(Storage),
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
                &images.narrow(0, start, size)?.to_device(device)?,
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
        matches!(self.place, Place::Device(_))
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
        let rows = match &self.place {
            Place::Device(rows) => rows.index_select(&Tensor::new(positions, &self.device)?, 0)?,
            Place::Host(storage) => {
                let size = self.dims.iter().product();
                let shape: Vec<usize> = [positions.len()]
                    .iter()
                    .chain(&self.dims)
                    .copied()
                    .collect();
                match self.dtype {
                    DType::F64 => Tensor::from_vec(
                        storage.read::<f64>(positions, size)?,
                        shape,
                        &self.device,
                    )?,
                    _ => Tensor::from_vec(
                        storage.read::<f32>(positions, size)?,
                        shape,
                        &self.device,
                    )?,
                }
            }
        };
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
    place: Option<(Vec<usize>, Place)>,
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
            place: None,
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
        let (dims, place) = match &mut self.place {
            Some(place) => place,
            None => {
                let dims = rows.dims()[1..].to_vec();
                let place = place((&dims, self.count), dtype, &self.device, self.keeping)?;
                self.place.insert((dims, place))
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
        match place {
            Place::Device(all) => {
                check_finite(&rows, start)?;
                all.slice_set(&rows, 0, start)?;
            }
            Place::Host(storage) => {
                let size: usize = dims.iter().product();
                storage.push(&rows.flatten_all()?, |index| start + index / size.max(1))?;
            }
        }
        self.labels.extend(labels);
        Ok(())
    }

    fn finish(self) -> Result<DeviceExamples> {
        let (dims, place) = self.place.ok_or_else(none)?;
        Ok(DeviceExamples {
            dims,
            dtype: crate::derivative::network::assembly::precision(&self.model),
            device: self.device,
            labels: self.labels,
            place,
        })
    }
}

/// Room for `count` images.
fn place(
    (dims, count): (&[usize], usize),
    dtype: DType,
    device: &Device,
    keeping: &Keeping,
) -> Result<Place> {
    let elements = count * dims.iter().product::<usize>();
    let bytes = elements * dtype.size_in_bytes();
    let room = match free_memory(device)? {
        Some(free) => (free / SHARE) as u64,
        None => keeping.memory,
    };
    // Candle's kernels count elements in 32 bits.
    if bytes as u64 > room || u32::try_from(elements).is_err() {
        return Ok(Place::Host(Storage::new(dtype, bytes as u64, keeping)?));
    }
    let shape: Vec<usize> = [count].iter().chain(dims).copied().collect();
    Ok(Place::Device(Tensor::zeros(shape, dtype, device)?))
}

/// 0·x is 0 but for values that are not finite, of which it makes NaN; the sums say which image has some.
fn check_finite(rows: &Tensor, start: usize) -> Result<()> {
    let rows = rows.flatten_from(1)?;
    let sums = (rows * 0.0)?
        .sum(1)?
        .to_dtype(DType::F64)?
        .to_vec1::<f64>()?;
    match sums.iter().position(|sum| !sum.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NonFinite {
            what: "activations of the frozen layers".into(),
            place: format!("image {}", start + index),
            remedy: "look at that image and at the model's weights".into(),
        }),
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
