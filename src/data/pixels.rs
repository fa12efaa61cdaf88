//! Decoded images of one size, ready to be made into batches.

use super::augmentation::to_unit;
use super::{Augmentation, Dataset, Transform};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::HashMap;

/// Some examples of a [`Dataset`], RGB, all of one size, 8 bits a channel, `[N, 3, H, W]`.
///
/// A *position* counts the examples held here; `ids()[position]` is the example's id in the data set. Methods that take
/// positions panic on one that is not below [`Pixels::len`].
#[derive(Debug, Clone)]
pub struct Pixels {
    ids: Vec<usize>,
    labels: Vec<usize>,
    height: usize,
    width: usize,
    bytes: Vec<u8>,
}

impl Pixels {
    /// Decodes the examples `ids` in parallel, greyscale repeated to RGB, resized where the size differs.
    ///
    /// # Errors
    /// Names the first of them that does not exist or does not decode.
    pub fn decode(dataset: &Dataset, ids: &[usize], height: usize, width: usize) -> Result<Self> {
        Self::transformed(dataset, ids, Transform::default(), height, width)
    }

    /// The same of a variant of the set.
    ///
    /// # Errors
    /// As [`Pixels::decode`].
    pub fn transformed(
        dataset: &Dataset,
        ids: &[usize],
        transform: Transform,
        height: usize,
        width: usize,
    ) -> Result<Self> {
        let size = 3 * height * width;
        if size == 0 {
            let found = format!("{height} x {width}");
            return Err(Error::mismatch(
                "image size",
                "at least 1 x 1 pixel",
                found,
                "give a larger size",
            ));
        }
        let mut bytes = vec![0; ids.len() * size];
        let failed = bytes
            .par_chunks_exact_mut(size)
            .zip(ids)
            .find_map_first(|(target, &id)| {
                let example = dataset.get(id);
                example
                    .map(|it| {
                        let image = transform.apply(it.image).to_rgb().resize(height, width);
                        target.copy_from_slice(&image.pixels)
                    })
                    .err()
            });
        if let Some(error) = failed {
            return Err(error);
        }
        let labels = ids.iter().map(|&id| dataset.label(id)).collect();
        Ok(Self {
            ids: ids.to_vec(),
            labels,
            height,
            width,
            bytes,
        })
    }

    /// Those of the examples `ids`, which must all be held, in that order.
    ///
    /// # Errors
    /// Names the first that is not held.
    pub fn select(&self, ids: &[usize]) -> Result<Self> {
        let places: HashMap<usize, usize> = self.ids.iter().copied().zip(0..).collect();
        let mut bytes = Vec::with_capacity(ids.len() * 3 * self.height * self.width);
        let mut labels = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(&position) = places.get(id) else {
                let remedy = "decode it first";
                return Err(Error::mismatch(
                    "example",
                    "one that is decoded",
                    id,
                    remedy,
                ));
            };
            bytes.extend_from_slice(self.image(position));
            labels.push(self.labels[position]);
        }
        Ok(Self {
            ids: ids.to_vec(),
            labels,
            bytes,
            ..*self
        })
    }

    /// The examples' ids in the data set, by position.
    #[must_use]
    pub fn ids(&self) -> &[usize] {
        &self.ids
    }

    /// The examples' labels, by position.
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// How many examples are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Rows of every image.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of every image.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The bytes of one image, `[3, H, W]`.
    #[must_use]
    pub fn image(&self, position: usize) -> &[u8] {
        let size = 3 * self.height * self.width;
        &self.bytes[position * size..(position + 1) * size]
    }

    /// The labels at these positions, as candle wants them.
    #[must_use]
    pub fn labels_of(&self, positions: &[usize]) -> Vec<u32> {
        positions
            .iter()
            .map(|&position| self.labels[position] as u32)
            .collect()
    }

    /// The images at these positions: f32, `[B, 3, H, W]`, in `[0, 1]`.
    ///
    /// # Errors
    /// When the device refuses the tensor.
    pub fn batch(&self, positions: &[usize], device: &Device) -> Result<Tensor> {
        self.tensor(positions, device, |position, target| {
            to_unit(self.image(position), target)
        })
    }

    /// The images at these positions as `augmentation` changes them in this epoch: f32, `[B, 3, H, W]`, in `[0, 1]`.
    /// The change depends on seed, epoch and example id alone.
    ///
    /// # Errors
    /// When the device refuses the tensor.
    pub fn augmented_batch(
        &self,
        positions: &[usize],
        augmentation: &Augmentation,
        seed: u64,
        epoch: u64,
        device: &Device,
    ) -> Result<Tensor> {
        self.tensor(positions, device, |position, target| {
            let change = augmentation.draw(seed, epoch, self.ids[position]);
            change.apply(self.image(position), self.height, self.width, target);
        })
    }

    fn tensor(
        &self,
        positions: &[usize],
        device: &Device,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Tensor> {
        let size = 3 * self.height * self.width;
        let mut values = vec![0f32; positions.len() * size];
        let images = values.par_chunks_exact_mut(size).zip(positions);
        images.for_each(|(target, &position)| fill(position, target));
        Ok(Tensor::from_vec(
            values,
            (positions.len(), 3, self.height, self.width),
            device,
        )?)
    }
}
