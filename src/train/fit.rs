//! The training loop: natural or adversarial, of a whole model or of its last segments.
//!
//! Minimises the mean cross-entropy plus `l2/2·‖θ‖²` over the trained parameters by [`Sgd`]; with an [`Adversary`]
//! each batch is replaced by its perturbation (Equation 1 of Utrera et al.). Where the frozen segments keep their
//! statistics and images are not augmented, what they compute is computed once.

use super::adversary::Adversary;
use super::checkpoint::Checkpoint;
use super::history::{Epoch, write_history};
use super::measure::{EVALUATION_BATCH, Performance, Tally};
use super::schedule::Schedule;
use super::sgd::Sgd;
use crate::data::{Augmentation, Pixels, batches, order};
use crate::derivative::gradient;
use crate::model::{Pass, ResNet};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// What batch norm does in segments that are not trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum FrozenStatistics {
    /// Their running statistics keep following the batches, as in the paper's code.
    Moving,
    /// They stay as the source model has them.
    Frozen,
}

/// Everything that determines the result of training, given model and data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// Learning rate of the first epoch.
    pub learning_rate: f64,
    /// Momentum of [`Sgd`].
    pub momentum: f64,
    /// L2 term over all trained parameters.
    pub l2: f64,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Random changes of the training images.
    pub augmentation: Augmentation,
    /// Who attacks the training images.
    pub adversary: Option<Adversary>,
    /// Batch norm of frozen segments.
    pub frozen_statistics: FrozenStatistics,
    /// The test images are measured after every so many epochs, and after the last; 0: after the last alone.
    pub evaluate_every: usize,
    /// Seed of order, augmentation and adversary.
    pub seed: u64,
}

/// Follows training from outside.
pub trait Observer {
    /// After each batch: images seen in this epoch, of how many.
    fn batch(&mut self, epoch: usize, done: usize, total: usize);
    /// After each epoch.
    fn epoch(&mut self, row: &Epoch);
    /// Whether what there is after an epoch is worth a checkpoint, which costs as much as a second of training on a busy disk.
    fn wants_checkpoint(&mut self) -> bool {
        true
    }
}

/// Nobody follows.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn batch(&mut self, _: usize, _: usize, _: usize) {}
    fn epoch(&mut self, _: &Epoch) {}
    fn wants_checkpoint(&mut self) -> bool {
        false
    }
}

/// Trains the segments from `first_segment` on; leaves `checkpoint.safetensors` (until done, as often as the observer wants
/// it) and `training.csv` in `folder`, and goes on from such a checkpoint where there is one. Returns one row an epoch.
///
/// # Errors
/// Options that make no sense, a loss that is not finite (names epoch and batch), a folder that cannot be written.
pub fn fit(
    model: &mut ResNet,
    first_segment: usize,
    recipe: &Recipe,
    (train, test): (&Pixels, &Pixels),
    folder: &Path,
    observer: &mut dyn Observer,
) -> Result<Vec<Epoch>> {
    recipe.check()?;
    let path = folder.join("checkpoint.safetensors");
    let checkpoint = Checkpoint::read(&path)?;
    if let Some(checkpoint) = &checkpoint {
        *model = ResNet::new(
            model.architecture().clone(),
            model.classes().to_vec(),
            model.normalisation(),
            model.side(),
            checkpoint.tensors.clone(),
        )?;
    }
    let mut optimiser = Sgd::new(
        model.make_trainable(first_segment)?,
        recipe.momentum,
        recipe.l2,
    );
    let mut history = Vec::new();
    if let Some(checkpoint) = checkpoint {
        optimiser.resume(checkpoint.velocities);
        history = checkpoint.history;
    }
    let mut session = Session {
        first_segment,
        recipe,
        train,
        test,
        prefix: None,
    };
    if recipe.prefix_is_constant(first_segment) {
        session.prefix = Some((
            session.activations(model, train)?,
            session.activations(model, test)?,
        ));
    }
    for epoch in history.len()..recipe.epochs {
        let row = session.epoch(model, &mut optimiser, epoch, observer)?;
        observer.epoch(&row);
        history.push(row);
        if observer.wants_checkpoint() {
            Checkpoint {
                tensors: model.tensors().clone(),
                velocities: optimiser.velocities().clone(),
                history: history.clone(),
            }
            .write(&path)?;
            write_history(&history, &folder.join("training.csv"))?;
        }
    }
    write_history(&history, &folder.join("training.csv"))?;
    *model = model.detached();
    Ok(history)
}

/// Removes what only an unfinished run needs; call it once the model itself is safe on disk.
///
/// # Errors
/// Where the file cannot be removed.
pub fn remove_checkpoint(folder: &Path) -> Result<()> {
    let path = folder.join("checkpoint.safetensors");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(&path, "remove")(error))
        }
        _ => Ok(()),
    }
}

impl Recipe {
    pub(super) fn check(&self) -> Result<()> {
        let positive = |option, value: f64| {
            if value > 0.0 && value.is_finite() {
                Ok(())
            } else {
                Err(Error::config(
                    option,
                    format!("expected a positive number, found {value}"),
                ))
            }
        };
        positive("learning-rate", self.learning_rate)?;
        positive("epochs", self.epochs as f64)?;
        positive("batch-size", self.batch_size as f64)?;
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(Error::config(
                "momentum",
                format!(
                    "expected a number from 0 up to but not 1, found {}",
                    self.momentum
                ),
            ));
        }
        if !(self.l2 >= 0.0 && self.l2.is_finite()) {
            return Err(Error::config(
                "l2",
                format!("expected 0 or a positive number, found {}", self.l2),
            ));
        }
        Ok(())
    }

    /// Whether the frozen segments compute the same for an image in every epoch.
    pub(crate) fn prefix_is_constant(&self, first_segment: usize) -> bool {
        first_segment > 0
            && self.frozen_statistics == FrozenStatistics::Frozen
            && self.augmentation == Augmentation::none()
            && self.adversary.is_none()
    }

    fn measures_after(&self, epoch: usize) -> bool {
        epoch + 1 == self.epochs
            || (self.evaluate_every > 0 && (epoch + 1).is_multiple_of(self.evaluate_every))
    }
}

/// What stays the same from epoch to epoch.
struct Session<'a> {
    first_segment: usize,
    recipe: &'a Recipe,
    train: &'a Pixels,
    test: &'a Pixels,
    /// What enters the first trained segment, for all training and all test images.
    prefix: Option<(Tensor, Tensor)>,
}

impl Session<'_> {
    fn activations(&self, model: &ResNet, images: &Pixels) -> Result<Tensor> {
        let model = model.detached();
        let positions: Vec<usize> = (0..images.len()).collect();
        let parts = batches(&positions, EVALUATION_BATCH)
            .map(|batch| {
                model.prefix(
                    self.first_segment,
                    &images.batch(batch, &Device::Cpu)?,
                    &mut Pass::evaluation(),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    fn epoch(
        &self,
        model: &mut ResNet,
        optimiser: &mut Sgd,
        epoch: usize,
        observer: &mut dyn Observer,
    ) -> Result<Epoch> {
        let started = Instant::now();
        let recipe = self.recipe;
        let rate = recipe.learning_rate * recipe.schedule.factor(epoch, recipe.epochs);
        let positions = order(self.train.len(), recipe.seed, epoch as u64);
        let mut tally = Tally::default();
        let mut done = 0;
        for (number, batch) in batches(&positions, recipe.batch_size).enumerate() {
            let place = format!("epoch {}, batch {}", epoch + 1, number + 1);
            self.step(model, optimiser, batch, (epoch, number), rate, &mut tally)
                .map_err(|error| match error {
                    Error::NonFinite { what, remedy, .. } => Error::NonFinite {
                        what,
                        place,
                        remedy,
                    },
                    other => other,
                })?;
            done += batch.len();
            observer.batch(epoch + 1, done, positions.len());
        }
        let test = recipe
            .measures_after(epoch)
            .then(|| self.measure(model))
            .transpose()?;
        Ok(Epoch::new(
            epoch + 1,
            rate,
            tally.performance(),
            test,
            started.elapsed().as_secs_f64(),
        ))
    }

    fn step(
        &self,
        model: &mut ResNet,
        optimiser: &mut Sgd,
        batch: &[usize],
        (epoch, number): (usize, usize),
        rate: f64,
        tally: &mut Tally,
    ) -> Result<()> {
        let device = Device::Cpu;
        let recipe = self.recipe;
        let labels = Tensor::new(self.train.labels_of(batch), &device)?;
        let (logits, pass) = if let Some((activations, _)) = &self.prefix {
            let rows: Vec<u32> = batch.iter().map(|&position| position as u32).collect();
            let activation = activations.index_select(&Tensor::new(rows, &device)?, 0)?;
            let mut pass = Pass::training_from(self.first_segment);
            (
                model.head(&model.features_from(self.first_segment, &activation, &mut pass)?)?,
                pass,
            )
        } else {
            let mut images = self.train.augmented_batch(
                batch,
                &recipe.augmentation,
                recipe.seed,
                epoch as u64,
                &device,
            )?;
            if let Some(adversary) = &recipe.adversary {
                images = adversary.perturb(
                    &model.detached(),
                    &images,
                    &labels,
                    (recipe.seed, epoch as u64, number as u64),
                )?;
            }
            let mut pass = Pass::training_from(match recipe.frozen_statistics {
                FrozenStatistics::Moving => 0,
                FrozenStatistics::Frozen => self.first_segment,
            });
            (model.forward(&images, &mut pass)?, pass)
        };
        let loss = candle_nn::loss::cross_entropy(&logits, &labels)?;
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            let remedy = "lower --learning-rate".to_owned();
            return Err(Error::NonFinite {
                what: "training loss".into(),
                place: String::new(),
                remedy,
            });
        }
        tally.add_measured(value, &logits.detach(), &labels)?;
        let gradients = gradient(&loss, &optimiser.variables())?;
        optimiser.step(&gradients, rate)?;
        model.absorb(pass)
    }

    fn measure(&self, model: &ResNet) -> Result<Performance> {
        match &self.prefix {
            Some((_, activations)) => {
                let positions: Vec<usize> = (0..self.test.len()).collect();
                Performance::of_activations(
                    model,
                    self.first_segment,
                    activations,
                    &self.test.labels_of(&positions),
                )
            }
            None => Performance::measure(model, self.test, None),
        }
    }
}
