//! A transfer repeated, with its parameters before every step kept: what a way back through training starts from.
//!
//! Order, augmentation and the new head come from the seed, so that the transfer comes out as it did; its batches can be had again one
//! by one for the same reason, and are not kept.

use super::feed::{Batch, Feed, Input};
use super::frozen_prefix::FrozenPrefix;
use super::history::Epoch;
use super::{Observer, Recipe, TransferOptions, transfer};
use crate::artefact::scratch_folder;
use crate::data::{Pixels, batches, order};
use crate::derivative::network::{Keeping, Storage};
use crate::model::{Pass, ResNet, is_statistic};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// Every step of a transfer's training.
pub struct Trajectory<'a> {
    model: ResNet,
    /// The same where it was trained.
    placed: ResNet,
    first_segment: usize,
    recipe: Recipe,
    images: &'a Pixels,
    prefix: Option<FrozenPrefix>,
    /// Numbers of a parameter vector.
    size: usize,
    parameters: Storage,
}

/// One of them.
pub struct TrainingStep {
    /// θ before it, `[p]`: the trained tensors one after the other, sorted by name.
    pub parameters: Tensor,
    /// What enters the first trained segment: `[B, C, H, W]`, or `[B, d]` before the head.
    pub input: Tensor,
    /// Labels of the batch.
    pub labels: Vec<usize>,
    /// Places of its images among the training images.
    pub positions: Vec<usize>,
    /// The learning rate.
    pub rate: f64,
}

impl<'a> Trajectory<'a> {
    /// Transfers `source` to the training images as `options` say, but in f32 and with sums in a fixed order; parameters are kept as
    /// `keeping` says. The trained model is [`Trajectory::model`], on the processor.
    ///
    /// # Errors
    /// As [`transfer()`].
    pub fn record(
        source: ResNet,
        (classes, options): (Vec<String>, &TransferOptions),
        images: &'a Pixels,
        keeping: &Keeping,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let options = options.repeatable();
        let recipe = options.recipe();
        let first_segment = options.blocks.first_segment(source.architecture())?;
        let steps = images.len().div_ceil(recipe.batch_size) * recipe.epochs;
        let begun =
            (source.clone()).with_new_head(classes.clone(), options.head_deviation, recipe.seed)?;
        let size = trained(&begun, first_segment).map(Tensor::elem_count).sum();
        let bytes = (steps * size * DType::F32.size_in_bytes()) as u64;
        let mut recorder = Recorder {
            first_segment,
            steps: 0,
            parameters: Storage::new(DType::F32, bytes, keeping)?,
            observer,
        };
        let room = scratch_folder(&keeping.folder)?;
        // The test images are not asked for.
        let few = images.select(&images.ids()[..1])?;
        let transferred = transfer(
            source,
            classes,
            &options,
            (images, &few),
            room.path(),
            &mut recorder,
        )?;
        let model = transferred.model;
        let placed = model.to_device(&options.recipe.device.open()?)?;
        let kept =
            |variants| FrozenPrefix::compute(&placed, first_segment, images, variants, keeping);
        let prefix = recipe.kept_variants(first_segment).map(kept).transpose()?;
        Ok(Self {
            parameters: recorder.parameters,
            model,
            placed,
            first_segment,
            recipe,
            images,
            prefix,
            size,
        })
    }

    /// The model at the end.
    pub fn model(&self) -> &ResNet {
        &self.model
    }

    /// How it was trained.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Training images.
    pub fn image_count(&self) -> usize {
        self.images.len()
    }

    /// Steps of an epoch.
    fn steps_of_epoch(&self) -> usize {
        self.images.len().div_ceil(self.recipe.batch_size)
    }

    /// Steps in all.
    pub fn step_count(&self) -> usize {
        self.steps_of_epoch() * self.recipe.epochs
    }

    /// The step at `index`, from 0.
    ///
    /// # Errors
    /// An image that cannot be read again, or parameters that cannot.
    pub fn step(&self, index: usize) -> Result<TrainingStep> {
        let (recipe, device) = (&self.recipe, self.placed.device()?);
        let (epoch, number) = (index / self.steps_of_epoch(), index % self.steps_of_epoch());
        let all = order(self.images.len(), recipe.seed, epoch as u64);
        let positions = batches(&all, recipe.batch_size).nth(number).unwrap_or(&[]);
        let feed = Feed {
            recipe,
            images: self.images,
            prefix: self.prefix.as_ref(),
            epoch,
            device,
        };
        let Batch { input, .. } = feed.batch(positions)?;
        let labels = self.images.labels_of(positions);
        Ok(TrainingStep {
            parameters: Tensor::new(
                self.parameters.read::<f32>(&[index as u32], self.size)?,
                device,
            )?,
            input: self.entering(input)?,
            labels: labels.into_iter().map(|label| label as usize).collect(),
            positions: positions.to_vec(),
            rate: recipe.learning_rate * recipe.schedule.factor(epoch, recipe.epochs),
        })
    }

    /// Images as they enter the first trained segment. The frozen segments' weights are the same at every step, and where they take a
    /// batch's moments their running statistics do not matter.
    fn entering(&self, input: Input) -> Result<Tensor> {
        let images = match input {
            Input::Activations(activations) => return Ok(activations),
            Input::Images(images) => images,
        };
        if self.first_segment == 0 {
            return self.placed.normalise(&images);
        }
        let first = (self.recipe).first_with_batch_statistics(self.first_segment);
        let mut pass = Pass::training_from(first);
        Ok(self
            .placed
            .prefix(self.first_segment, &images, &mut pass)?
            .detach())
    }
}

/// The trained tensors of `model`, sorted by name.
fn trained(model: &ResNet, first_segment: usize) -> impl Iterator<Item = &Tensor> {
    let architecture = model.architecture();
    let tensors = model.tensors().iter().filter(move |(name, _)| {
        !is_statistic(name) && architecture.segment_of(name) >= first_segment
    });
    tensors.map(|(_, tensor)| tensor)
}

/// Keeps the parameters before each step, and passes on what it sees.
struct Recorder<'a> {
    first_segment: usize,
    /// So far.
    steps: usize,
    parameters: Storage,
    observer: &'a mut dyn Observer,
}

impl Observer for Recorder<'_> {
    fn step(&mut self, model: &ResNet) -> Result<()> {
        let values = trained(model, self.first_segment).map(|tensor| tensor.detach().flatten_all());
        let values = Tensor::cat(&values.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        let values = values.to_device(&Device::Cpu)?;
        if !values
            .to_vec1::<f32>()?
            .iter()
            .all(|value| value.is_finite())
        {
            let place = format!("step {}", self.steps + 1);
            let remedy = "the transfer went well otherwise: give --unrolled its --device, or transfer in f32 with a lower --learning-rate or --head-deviation";
            return Err(Error::diverged("the repeated training", place, remedy));
        }
        self.parameters.push(&values, |_| 0)?;
        self.steps += 1;
        self.observer.step(model)
    }

    fn batch(&mut self, epoch: usize, done: usize, total: usize) {
        self.observer.batch(epoch, done, total);
    }

    /// Nothing is measured that anybody asked for.
    fn epoch(&mut self, row: &Epoch) {
        self.observer.epoch(&Epoch {
            test_loss: None,
            test_accuracy: None,
            ..row.clone()
        });
    }

    fn wants_checkpoint(&mut self) -> bool {
        false
    }
}
