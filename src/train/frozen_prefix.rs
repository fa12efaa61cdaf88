//! What the frozen segments give, computed once for each image and kept: on the device where it has room, else in memory, or beyond a
//! budget in a scratch file.
//!
//! Exact where an image always gives the same: the frozen batch norm keeps the source's statistics (evaluation mode), so
//! that no image depends on the others of its batch, and the augmentation leaves few variants of an image: one, or two
//! where it is mirrored. A convolution with a stride does not commute with the mirror, so that both are computed and kept.
//! With statistics that move, the paper's way, each batch is normalised by its own moments and nothing can be kept.

use crate::Result;
use crate::data::{Pixels, batches};
use crate::derivative::network::{Keeping, KeptRows, Storage};
use crate::model::{Pass, ResNet, images_at_once};
use candle_core::{DType, Device, Tensor};

/// Images of this side that go through the prefix at once.
fn at_once(side: usize) -> usize {
    const MOST: usize = 128;
    images_at_once(side).min(MOST)
}

/// Activations of n images in one or two variants, row `variants·position + mirrored`.
#[derive(Debug)]
pub(super) struct FrozenPrefix {
    segment: usize,
    variants: usize,
    /// Shape of one activation.
    shape: Vec<usize>,
    bytes: u64,
    rows: KeptRows,
}

impl FrozenPrefix {
    /// Runs all `images` through the segments before `segment`; the second variant is the mirrored one.
    pub(super) fn compute(
        model: &ResNet,
        segment: usize,
        images: &Pixels,
        variants: usize,
        keeping: &Keeping,
    ) -> Result<Self> {
        let model = model.detached();
        let positions: Vec<usize> = (0..images.len()).collect();
        let mut kept: Option<Self> = None;
        for batch in batches(&positions, at_once(model.side())) {
            let plain = images.batch(batch, model.device()?)?;
            let mut seen = vec![prefix(&model, segment, &plain)?];
            if variants == 2 {
                seen.push(prefix(&model, segment, &mirrored(&plain)?)?);
            }
            let shape = &seen[0].dims()[1..];
            let kept = match &mut kept {
                Some(kept) => kept,
                None => kept.insert(Self::empty(
                    segment,
                    (variants, images.len()),
                    shape,
                    (keeping, model.device()?),
                )?),
            };
            let rows = Tensor::stack(&seen, 1)?
                .flatten(0, 1)?
                .to_dtype(DType::F32)?;
            let image = |row: usize| images.ids()[batch[0] + row / variants];
            kept.rows.push(&rows, variants * batch[0], image)?;
        }
        match kept {
            Some(kept) => Ok(kept),
            None => Self::empty(segment, (variants, 0), &[], (keeping, &Device::Cpu)),
        }
    }

    fn empty(
        segment: usize,
        (variants, count): (usize, usize),
        shape: &[usize],
        (keeping, device): (&Keeping, &Device),
    ) -> Result<Self> {
        let numbers = variants * count * shape.iter().product::<usize>();
        let bytes = (numbers * DType::F32.size_in_bytes()) as u64;
        // Runs side by side share what --memory says, but not what they see free on a device.
        let rows = match device.is_cpu() || bytes > keeping.memory {
            true => KeptRows::Host(Storage::new(DType::F32, bytes, keeping)?),
            false => KeptRows::new((shape, variants * count), DType::F32, device, keeping)?,
        };
        Ok(Self {
            segment,
            variants,
            shape: shape.to_vec(),
            bytes,
            rows,
        })
    }

    /// The segment that these activations enter.
    pub(super) fn segment(&self) -> usize {
        self.segment
    }

    /// Bytes of the machine's memory that are taken.
    pub(super) fn memory(&self) -> u64 {
        match &self.rows {
            KeptRows::Host(storage) if !storage.is_on_disk() => self.bytes,
            _ => 0,
        }
    }

    /// The activations of the images at `positions`, mirrored where the second argument says so.
    pub(super) fn batch(
        &self,
        positions: &[usize],
        mirrored: impl Fn(usize) -> bool,
        device: &Device,
    ) -> Result<Tensor> {
        let row = |&position: &usize| {
            let variant = usize::from(self.variants == 2 && mirrored(position));
            (self.variants * position + variant) as u32
        };
        let rows: Vec<u32> = positions.iter().map(row).collect();
        self.rows.read(&rows, &self.shape, (DType::F32, device))
    }
}

fn prefix(model: &ResNet, segment: usize, images: &Tensor) -> Result<Tensor> {
    model.prefix(segment, images, &mut Pass::evaluation())
}

fn mirrored(images: &Tensor) -> Result<Tensor> {
    let width = images.dim(3)? as u32;
    let columns = Tensor::from_iter((0..width).rev(), images.device())?;
    Ok(images.index_select(&columns, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_large_images_fewer_go_through_at_once() {
        assert_eq!([8, 89, 90, 224].map(at_once), [128, 128, 126, 20]);
    }
}
