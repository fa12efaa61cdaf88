//! Images of one size, ready to be made into batches: decoded beforehand, or each time they are asked for.

use super::augmentation::to_unit;
use super::{Augmentation, Dataset, Framing, NewLabels, Transform};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Some examples of a [`Dataset`], RGB, all of one size, 8 bits a channel, `[N, 3, H, W]`.
///
/// A *position* counts the examples held here; `ids()[position]` is the example's id in the data set. Methods that take
/// positions panic on one that is not below [`Pixels::len`].
#[derive(Debug, Clone)]
pub struct Pixels {
    ids: Vec<usize>,
    labels: Vec<usize>,
    framing: Framing,
    store: Store,
    /// Whose losses are left out of a training, by position; none of any where it is empty.
    losses_left_out: Vec<bool>,
}

/// Where the bytes come from.
#[derive(Debug, Clone)]
enum Store {
    /// `[M, 3, H, W]`, which may be shared with others, and the row of each example in it.
    Decoded(Arc<Vec<u8>>, Vec<usize>),
    OnDemand(Dataset, Transform),
}

impl Pixels {
    /// Decodes the examples `ids` in parallel, greyscale repeated to RGB, what `framing` leaves of each.
    ///
    /// # Errors
    /// Names the first of them that does not exist or does not decode.
    pub fn decode(dataset: &Dataset, ids: &[usize], framing: impl Into<Framing>) -> Result<Self> {
        Self::transformed(dataset, ids, Transform::default(), framing)
    }

    /// The same of a variant of the set.
    ///
    /// # Errors
    /// As [`Pixels::decode`].
    pub fn transformed(
        dataset: &Dataset,
        ids: &[usize],
        transform: Transform,
        framing: impl Into<Framing>,
    ) -> Result<Self> {
        let mut pixels = Self::on_demand(dataset, ids, framing)?;
        pixels.store = Store::OnDemand(dataset.clone(), transform);
        let size = pixels.size();
        let mut bytes = vec![0; ids.len() * size];
        let failed =
            bytes
                .par_chunks_exact_mut(size)
                .enumerate()
                .find_map_first(|(position, target)| {
                    let image = pixels.image(position);
                    image.map(|image| target.copy_from_slice(&image)).err()
                });
        if let Some(error) = failed {
            return Err(error);
        }
        pixels.store = Store::Decoded(Arc::new(bytes), (0..ids.len()).collect());
        Ok(pixels)
    }

    /// The same examples, but decoded each time they are asked for; one that does not decode is found then.
    ///
    /// # Errors
    /// An id that there is not; a size that is none.
    pub fn on_demand(
        dataset: &Dataset,
        ids: &[usize],
        framing: impl Into<Framing>,
    ) -> Result<Self> {
        let framing = framing.into();
        let least = framing.height.max(framing.width);
        if let Some(resize) = framing.resize.filter(|resize| *resize < least) {
            let remedy = "resize to no less than is left of it";
            return Err(Error::mismatch(
                "size of the resized image",
                format!("at least {least}"),
                resize,
                remedy,
            ));
        }
        if framing.height * framing.width == 0 {
            let found = format!("{} x {}", framing.height, framing.width);
            return Err(Error::mismatch(
                "image size",
                "at least 1 x 1 pixel",
                found,
                "give a larger size",
            ));
        }
        let labels = ids.iter().map(|&id| dataset.label_of(id));
        Ok(Self {
            ids: ids.to_vec(),
            labels: labels.collect::<Result<_>>()?,
            framing,
            store: Store::OnDemand(dataset.clone(), Transform::default()),
            losses_left_out: Vec::new(),
        })
    }

    /// [`Pixels::transformed`] where that takes at most so many bytes, else each image when it is asked for.
    ///
    /// # Errors
    /// As [`Pixels::decode`] and [`Pixels::on_demand`].
    pub fn within(
        dataset: &Dataset,
        ids: &[usize],
        transform: Transform,
        framing: impl Into<Framing>,
        bytes: u64,
    ) -> Result<Self> {
        let framing = framing.into();
        if Self::bytes(ids.len(), framing) <= bytes {
            return Self::transformed(dataset, ids, transform, framing);
        }
        let mut pixels = Self::on_demand(dataset, ids, framing)?;
        pixels.store = Store::OnDemand(dataset.clone(), transform);
        Ok(pixels)
    }

    /// What so many decoded images take.
    #[must_use]
    pub fn bytes(images: usize, framing: Framing) -> u64 {
        images as u64 * 3 * (framing.height * framing.width) as u64
    }

    /// The same images, some with other labels.
    #[must_use]
    pub fn relabelled(mut self, labels: &NewLabels) -> Self {
        for (label, id) in self.labels.iter_mut().zip(&self.ids) {
            *label = labels.get(id).copied().unwrap_or(*label);
        }
        self
    }

    /// Those of the examples `ids`, which must all be held, in that order.
    ///
    /// # Errors
    /// Names the first that is not held.
    pub fn select(&self, ids: &[usize]) -> Result<Self> {
        let places: HashMap<usize, usize> = self.ids.iter().copied().zip(0..).collect();
        let place = |id: &usize| {
            let absent = || Error::mismatch("example", "one that is held", id, "take it up first");
            places.get(id).copied().ok_or_else(absent)
        };
        let positions = ids.iter().map(place).collect::<Result<Vec<_>>>()?;
        let store = match &self.store {
            Store::OnDemand(dataset, transform) => Store::OnDemand(dataset.clone(), *transform),
            Store::Decoded(bytes, rows) => {
                let rows = positions.iter().map(|&position| rows[position]);
                Store::Decoded(Arc::clone(bytes), rows.collect())
            }
        };
        Ok(Self {
            ids: ids.to_vec(),
            labels: positions.iter().map(|&at| self.labels[at]).collect(),
            store,
            losses_left_out: (positions.iter())
                .filter_map(|&at| self.losses_left_out.get(at).copied())
                .collect(),
            ..*self
        })
    }

    /// The same images, of which those at the positions that `left_out` marks keep their places in the batches of a training but have no
    /// part in its loss.
    ///
    /// # Panics
    /// Other than one mark for each image.
    #[must_use]
    pub fn without_losses_of(self, left_out: Vec<bool>) -> Self {
        assert_eq!(left_out.len(), self.len(), "marks of images");
        Self {
            losses_left_out: left_out,
            ..self
        }
    }

    /// The weights of the losses at these positions, 0 or 1; none where all are 1.
    #[must_use]
    pub fn loss_weights_of(&self, positions: &[usize]) -> Option<Vec<f32>> {
        let weight = |&position: &usize| match self.losses_left_out.get(position) {
            Some(true) => 0.0,
            _ => 1.0,
        };
        let weights: Vec<f32> = positions.iter().map(weight).collect();
        weights.contains(&0.0).then_some(weights)
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
        self.framing.height
    }

    /// Columns of every image.
    #[must_use]
    pub fn width(&self) -> usize {
        self.framing.width
    }

    fn size(&self) -> usize {
        3 * self.framing.height * self.framing.width
    }

    /// The bytes of one image, `[3, H, W]`.
    ///
    /// # Errors
    /// One that is decoded only now and does not decode.
    pub fn image(&self, position: usize) -> Result<Cow<'_, [u8]>> {
        let size = self.size();
        match &self.store {
            Store::Decoded(bytes, rows) => {
                Ok(Cow::Borrowed(&bytes[rows[position] * size..][..size]))
            }
            Store::OnDemand(dataset, transform) => {
                let image = transform.apply(dataset.get(self.ids[position])?.image);
                Ok(Cow::Owned(image.to_rgb().framed(self.framing).pixels))
            }
        }
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
        self.tensor(positions, device, |_, image, target| to_unit(image, target))
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
        self.tensor(positions, device, |position, image, target| {
            let change = augmentation.draw(seed, epoch, self.ids[position]);
            change.apply(image, self.height(), self.width(), target);
        })
    }

    fn tensor(
        &self,
        positions: &[usize],
        device: &Device,
        fill: impl Fn(usize, &[u8], &mut [f32]) + Sync,
    ) -> Result<Tensor> {
        let mut values = vec![0f32; positions.len() * self.size()];
        let images = values.par_chunks_exact_mut(self.size()).zip(positions);
        let failed = images
            .map(|(target, &position)| {
                fill(position, &self.image(position)?, target);
                Ok(())
            })
            .find_map_first(Result::err);
        match failed {
            Some(error) => Err(error),
            None => Ok(Tensor::from_vec(
                values,
                (positions.len(), 3, self.height(), self.width()),
                device,
            )?),
        }
    }
}
