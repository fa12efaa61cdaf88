//! Loss and accuracy of a model on images, clean or attacked.

use super::attack::{Attack, Attacked};
use super::frozen_prefix::FrozenPrefix;
use crate::Result;
use crate::data::{Pixels, batches};
use crate::model::{Pass, ResNet, fewer_if_large, images_at_once};
use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};

/// Batches whose numbers may stay on a device, where to read one is to wait for all the work before it.
pub(super) const LATE: usize = 16;
/// Images at once under attack, where the activations of a batch are kept for the gradient; fewer of large ones.
const ATTACK_BATCH: usize = 64;

/// Mean cross-entropy in nats and share of right predictions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// Nats per image.
    pub loss: f64,
    /// From 0 to 1.
    pub accuracy: f64,
}

impl Performance {
    /// Over all `images`, in evaluation mode; under attack where one is given.
    ///
    /// # Errors
    /// As the model's forward pass.
    pub fn measure(model: &ResNet, images: &Pixels, attack: Option<&Attack>) -> Result<Self> {
        Self::measure_counted(model, images, attack, &mut |_| {})
    }

    /// The same; `progress` is told how many images are done.
    ///
    /// # Errors
    /// As [`Performance::measure`].
    pub fn measure_counted(
        model: &ResNet,
        images: &Pixels,
        attack: Option<&Attack>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let parameters = model.head_parameters()?.0.dtype();
        let model = model
            .clone()
            .with_activations(parameters)
            .for_evaluation()?;
        let device = model.device()?;
        let positions: Vec<usize> = (0..images.len()).collect();
        let mut tally = Tally::default();
        let size = match attack {
            Some(_) => fewer_if_large(ATTACK_BATCH, model.side()),
            None => images_at_once(model.side()),
        };
        for (number, batch) in batches(&positions, size).enumerate() {
            let labels = Tensor::new(images.labels_of(batch), device)?;
            let x = images.batch(batch, device)?;
            match attack {
                Some(attack) => {
                    tally.add_attacked(&attack.run(&model, &x, &labels, number as u64)?)
                }
                None => tally.add(&model.logits(&x)?, &labels)?,
            }
            progress(tally.count);
        }
        tally.performance()
    }

    /// The same from what the frozen segments gave for all images, computed earlier.
    pub(super) fn of_activations(
        model: &ResNet,
        activations: &FrozenPrefix,
        labels: &[u32],
    ) -> Result<Self> {
        let model = model.detached();
        let mut tally = Tally::default();
        let positions: Vec<usize> = (0..labels.len()).collect();
        for batch in batches(&positions, images_at_once(model.side())) {
            let features = model.features_from(
                activations.segment(),
                &activations.batch(batch, |_| false, model.device()?)?,
                &mut Pass::evaluation(),
            )?;
            let labels: Vec<u32> = batch.iter().map(|&position| labels[position]).collect();
            tally.add(
                &model.head(&features)?,
                &Tensor::new(labels, features.device())?,
            )?;
        }
        tally.performance()
    }
}

/// Sums over batches.
#[derive(Debug, Default)]
pub(super) struct Tally {
    loss: f64,
    right: usize,
    count: usize,
    /// Mean losses and how many are right, f64 `[2]`, still on a device; and the number of images.
    late: Vec<(Tensor, usize)>,
}

impl Tally {
    /// Adds one batch: logits `[B, C]`, labels `[B]`.
    pub(super) fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let loss = candle_nn::loss::cross_entropy(logits, labels)?.to_dtype(DType::F64)?;
        let right = logits.argmax(D::Minus1)?.eq(labels)?;
        let right = right.to_dtype(DType::F64)?.sum_all()?;
        let images = labels.elem_count();
        let numbers = Tensor::stack(&[loss, right], 0)?.detach();
        self.late.push((numbers, images));
        self.count += images;
        match logits.device().is_cpu() || self.late.len() > LATE {
            true => self.settle(),
            false => Ok(()),
        }
    }

    fn settle(&mut self) -> Result<()> {
        let late = std::mem::take(&mut self.late);
        if late.is_empty() {
            return Ok(());
        }
        let numbers: Vec<&Tensor> = late.iter().map(|(numbers, _)| numbers).collect();
        let numbers = Tensor::stack(&numbers, 0)?.to_vec2::<f64>()?;
        for ((_, images), numbers) in late.iter().zip(numbers) {
            self.loss += numbers[0] * *images as f64;
            self.right += numbers[1] as usize;
        }
        Ok(())
    }

    /// Adds one batch whose mean loss is known, and how many of its images are predicted rightly.
    pub(super) fn add_sums(&mut self, loss: f64, right: usize, count: usize) {
        self.loss += loss * count as f64;
        self.right += right;
        self.count += count;
    }

    /// Adds one batch as an attack left it.
    fn add_attacked(&mut self, attacked: &Attacked) {
        self.loss += attacked.losses.iter().sum::<f64>();
        self.right += attacked.right.iter().filter(|&&right| right).count();
        self.count += attacked.losses.len();
    }

    pub(super) fn performance(&mut self) -> Result<Performance> {
        self.settle()?;
        let count = self.count.max(1) as f64;
        Ok(Performance {
            loss: self.loss / count,
            accuracy: self.right as f64 / count,
        })
    }
}
