//! Loss and accuracy of a model on images, clean or attacked.

use super::adversary::Adversary;
use crate::Result;
use crate::data::{Pixels, batches};
use crate::model::{Pass, ResNet};
use candle_core::{D, DType, Device, Tensor};
use serde::{Deserialize, Serialize};

/// Images at once where no gradient is kept.
pub const EVALUATION_BATCH: usize = 250;

/// Mean cross-entropy in nats and share of right predictions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// Nats per image.
    pub loss: f64,
    /// From 0 to 1.
    pub accuracy: f64,
}

impl Performance {
    /// Over all `images`, in evaluation mode; under attack where an adversary is given.
    ///
    /// # Errors
    /// As the model's forward pass.
    pub fn measure(model: &ResNet, images: &Pixels, adversary: Option<&Adversary>) -> Result<Self> {
        let model = model.detached();
        let device = Device::Cpu;
        let positions: Vec<usize> = (0..images.len()).collect();
        let mut tally = Tally::default();
        for (number, batch) in batches(&positions, EVALUATION_BATCH).enumerate() {
            let labels = Tensor::new(images.labels_of(batch), &device)?;
            let mut x = images.batch(batch, &device)?;
            if let Some(adversary) = adversary {
                x = adversary.perturb(&model, &x, &labels, (0, 0, number as u64))?;
            }
            tally.add(&model.logits(&x)?, &labels)?;
        }
        Ok(tally.performance())
    }

    /// The same from what enters `segment`, computed earlier for all images: `[n, …]`.
    pub(super) fn of_activations(
        model: &ResNet,
        segment: usize,
        activations: &Tensor,
        labels: &[u32],
    ) -> Result<Self> {
        let model = model.detached();
        let mut tally = Tally::default();
        for start in (0..labels.len()).step_by(EVALUATION_BATCH) {
            let count = EVALUATION_BATCH.min(labels.len() - start);
            let features = model.features_from(
                segment,
                &activations.narrow(0, start, count)?,
                &mut Pass::evaluation(),
            )?;
            tally.add(
                &model.head(&features)?,
                &Tensor::new(&labels[start..start + count], features.device())?,
            )?;
        }
        Ok(tally.performance())
    }
}

/// Sums over batches.
#[derive(Debug, Default)]
pub(super) struct Tally {
    loss: f64,
    right: usize,
    count: usize,
}

impl Tally {
    /// Adds one batch: logits `[B, C]`, labels `[B]`.
    pub(super) fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let loss = candle_nn::loss::cross_entropy(logits, labels)?
            .to_dtype(DType::F64)?
            .to_scalar::<f64>()?;
        self.add_measured(loss, logits, labels)
    }

    /// Adds one batch whose mean loss is known.
    pub(super) fn add_measured(
        &mut self,
        loss: f64,
        logits: &Tensor,
        labels: &Tensor,
    ) -> Result<()> {
        let right = logits
            .argmax(D::Minus1)?
            .eq(labels)?
            .to_dtype(DType::U32)?
            .sum_all()?
            .to_scalar::<u32>()?;
        let count = labels.elem_count();
        self.loss += loss * count as f64;
        self.right += right as usize;
        self.count += count;
        Ok(())
    }

    pub(super) fn performance(&self) -> Performance {
        let count = self.count.max(1) as f64;
        Performance {
            loss: self.loss / count,
            accuracy: self.right as f64 / count,
        }
    }
}
