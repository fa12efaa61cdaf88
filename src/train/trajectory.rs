//! A transfer repeated, with its parameters before every step kept: what a way back through training starts from.
//!
//! Order, augmentation and the new head come from the seed, so that the transfer comes out as it did; its batches can be had again one
//! by one for the same reason, and are not kept.

use super::feed::{Batch, Feed, Input};
use super::frozen_prefix::FrozenPrefix;
use super::history::Epoch;
use super::learner::{Learner, Place};
use super::running_tally::RunningTally;
use super::state::State;
use super::waypoints::{KeptSteps, Stretch, Waypoint, Waypoints, check_retraced};
use super::{Observer, Recipe, Sgd, TransferOptions, transfer};
use crate::artefact::scratch_folder;
use crate::data::{Pixels, batches, order};
use crate::derivative::network::Keeping;
use crate::model::{Pass, ResNet, is_statistic};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Every step of a transfer's training.
pub struct Trajectory<'a> {
    model: ResNet,
    /// The same where it was trained.
    placed: ResNet,
    first_segment: usize,
    recipe: Recipe,
    images: &'a Pixels,
    prefix: Option<FrozenPrefix>,
    kept: KeptSteps,
    /// What was trained again last, where not all steps are kept.
    stretch: RefCell<Option<Stretch>>,
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
        let size = trained(&begun, first_segment)
            .map(|(_, tensor)| tensor.elem_count())
            .sum();
        let waypoints = Waypoints::within(keeping.memory, steps, size);
        let mut recorder = Recorder {
            first_segment,
            steps: 0,
            kept: KeptSteps::new(waypoints, keeping)?,
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
            kept: recorder.kept,
            stretch: RefCell::default(),
            model,
            placed,
            first_segment,
            recipe,
            images,
            prefix,
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

    /// The step at `index`, from 0; those of the same stretch are soon had after it, where not all are kept.
    ///
    /// # Errors
    /// An image that cannot be read again, parameters that cannot, or training that does not repeat itself.
    pub fn step(&self, index: usize) -> Result<TrainingStep> {
        let parameters = self.parameters(index)?.to_device(self.placed.device()?)?;
        let (positions, batch) = self.batch(index)?;
        let labels = self.images.labels_of(&positions);
        Ok(TrainingStep {
            parameters,
            input: self.entering(batch.input)?,
            labels: labels.into_iter().map(|label| label as usize).collect(),
            rate: self.rate(index),
            positions,
        })
    }

    /// Epoch and number within it of the step at `index`, both from 0.
    fn place(&self, index: usize) -> (usize, usize) {
        (index / self.steps_of_epoch(), index % self.steps_of_epoch())
    }

    fn rate(&self, index: usize) -> f64 {
        let (recipe, (epoch, _)) = (&self.recipe, self.place(index));
        recipe.learning_rate * recipe.schedule.factor(epoch, recipe.epochs)
    }

    /// The batch of the step at `index`, and the places of its images.
    fn batch(&self, index: usize) -> Result<(Vec<usize>, Batch)> {
        let (recipe, (epoch, number)) = (&self.recipe, self.place(index));
        let all = order(self.images.len(), recipe.seed, epoch as u64);
        let positions = batches(&all, recipe.batch_size).nth(number).unwrap_or(&[]);
        let feed = Feed {
            recipe,
            images: self.images,
            prefix: self.prefix.as_ref(),
            epoch,
            device: self.placed.device()?,
        };
        Ok((positions.to_vec(), feed.batch(positions)?))
    }

    /// θ before the step at `index`, on the processor.
    fn parameters(&self, index: usize) -> Result<Tensor> {
        let mut stretch = self.stretch.borrow_mut();
        if let Some(kept) = self.kept.parameters(index, stretch.as_ref())? {
            return Ok(kept);
        }
        // The one before goes first: two have no room.
        *stretch = None;
        let again = self.retraced(self.kept.waypoint(index)?)?;
        let found = self.kept.parameters(index, Some(&again))?;
        *stretch = Some(again);
        found
            .ok_or_else(|| Error::mismatch("a step", "one of the training", index, "this is a bug"))
    }

    /// Trains again from a waypoint to the next.
    fn retraced(&self, from: Waypoint) -> Result<Stretch> {
        let Waypoint {
            steps,
            parameters,
            velocities,
        } = from;
        let mut tensors = self.placed.tensors().clone();
        tensors.extend(self.by_name(&parameters)?);
        let state = State {
            tensors,
            velocities: match velocities {
                Some(velocities) => self.by_name(&velocities)?,
                None => BTreeMap::new(),
            },
        };
        let mut model = self.placed.clone();
        let optimiser = state.restore(&mut model, self.first_segment, &self.recipe)?;
        let mut learner = Learner {
            model: &mut model,
            first_segment: self.first_segment,
            recipe: &self.recipe,
            optimiser,
            checks: Vec::new(),
            good: None,
            carried: None,
        };
        let end = steps.end;
        let stretch = self.kept.stretch(steps.clone(), |push| {
            for index in steps {
                push(&flattened(learner.model, self.first_segment)?)?;
                let (epoch, number) = self.place(index);
                let mut place = Place {
                    epoch,
                    number,
                    rate: self.rate(index),
                    tally: &mut RunningTally::new(epoch, false),
                };
                learner.step(self.batch(index)?.1, &mut place)?;
            }
            Ok(())
        })?;
        let kept = match end < self.step_count() {
            true => self.kept.waypoint(end)?.parameters,
            false => flattened(&self.placed, self.first_segment)?,
        };
        check_retraced(&kept, &flattened(learner.model, self.first_segment)?, end)?;
        Ok(stretch)
    }

    /// The trained tensors of a vector over all of them, where training takes place.
    fn by_name(&self, vector: &Tensor) -> Result<BTreeMap<String, Tensor>> {
        let vector = vector.to_device(self.placed.device()?)?;
        let mut start = 0;
        let part = |(name, tensor): (&String, &Tensor)| -> Result<_> {
            let count = tensor.elem_count();
            let part = vector.narrow(0, start, count)?.reshape(tensor.dims())?;
            start += count;
            // Training changes it in place.
            Ok((name.clone(), part.copy()?))
        };
        trained(&self.placed, self.first_segment)
            .map(part)
            .collect()
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
fn trained(model: &ResNet, first_segment: usize) -> impl Iterator<Item = (&String, &Tensor)> {
    let architecture = model.architecture();
    model.tensors().iter().filter(move |(name, _)| {
        !is_statistic(name) && architecture.segment_of(name) >= first_segment
    })
}

/// The same as one vector `[p]`, on the processor.
fn flattened(model: &ResNet, first_segment: usize) -> Result<Tensor> {
    flat(trained(model, first_segment).map(|(_, tensor)| tensor))
}

/// Tensors one after the other, on the processor.
fn flat<'t>(tensors: impl Iterator<Item = &'t Tensor>) -> Result<Tensor> {
    let parts = tensors.map(|tensor| tensor.detach().flatten_all());
    let whole = Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
    Ok(whole.to_device(&Device::Cpu)?)
}

/// Keeps the parameters before each step, and passes on what it sees.
struct Recorder<'a> {
    first_segment: usize,
    /// So far.
    steps: usize,
    kept: KeptSteps,
    observer: &'a mut dyn Observer,
}

impl Observer for Recorder<'_> {
    fn step(&mut self, model: &ResNet, optimiser: &Sgd) -> Result<()> {
        let values = flattened(model, self.first_segment)?;
        if !values
            .to_vec1::<f32>()?
            .iter()
            .all(|value| value.is_finite())
        {
            let place = format!("step {}", self.steps + 1);
            let remedy = "the transfer went well otherwise: give --unrolled its --device, or transfer in f32 with a lower --learning-rate or --head-deviation";
            return Err(Error::diverged("the repeated training", place, remedy));
        }
        self.kept.push(&values, || {
            let velocities = optimiser.velocities();
            (!velocities.is_empty())
                .then(|| flat(velocities.values()))
                .transpose()
        })?;
        self.steps += 1;
        self.observer.step(model, optimiser)
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
