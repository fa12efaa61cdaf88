//! One epoch after another: batches in, steps, looks of the guard, a row of the history out.

use super::adversarial::{AdversarialTraining, Fast};
use super::adversary::Adversary;
use super::feed::Feed;
use super::fit::Observer;
use super::frozen_prefix::FrozenPrefix;
use super::guard::{self, Check, has_collapsed};
use super::history::Epoch;
use super::learner::{Learner, Place};
use super::measure::{Performance, Tally};
use super::recipe::Recipe;
use super::running_tally::RunningTally;
use super::state::State;
use crate::data::{Pixels, batches, order};
use crate::derivative::network::Keeping;
use crate::model::ResNet;
use crate::{Error, Result};
use candle_core::Tensor;
use std::path::Path;
use std::time::Instant;

/// What stays the same from epoch to epoch.
pub(super) struct Session<'a> {
    recipe: &'a Recipe,
    train: &'a Pixels,
    test: &'a Pixels,
    /// What the frozen segments give for training and test images, where it is kept.
    train_prefix: Option<FrozenPrefix>,
    test_prefix: Option<FrozenPrefix>,
}

impl<'a> Session<'a> {
    /// Runs the frozen segments where their activations are kept; `folder` is for scratch files.
    pub(super) fn new(
        model: &ResNet,
        first_segment: usize,
        recipe: &'a Recipe,
        (train, test): (&'a Pixels, &'a Pixels),
        folder: &Path,
    ) -> Result<Self> {
        let mut keeping = Keeping {
            memory: recipe.memory / 2,
            folder: folder.to_path_buf(),
            ..Keeping::default()
        };
        let train_prefix = (recipe.kept_variants(first_segment))
            .map(|variants| FrozenPrefix::compute(model, first_segment, train, variants, &keeping))
            .transpose()?;
        keeping.memory -= train_prefix.as_ref().map_or(0, FrozenPrefix::memory);
        let test_prefix = (recipe.keeps_test(first_segment))
            .then(|| FrozenPrefix::compute(model, first_segment, test, 1, &keeping))
            .transpose()?;
        Ok(Self {
            recipe,
            train,
            test,
            train_prefix,
            test_prefix,
        })
    }

    /// Trains one epoch, counted from 0.
    pub(super) fn epoch(
        &self,
        learner: &mut Learner,
        epoch: usize,
        observer: &mut dyn Observer,
    ) -> Result<Epoch> {
        let started = Instant::now();
        let recipe = self.recipe;
        let rate = recipe.learning_rate * recipe.schedule.factor(epoch, recipe.epochs);
        let positions = order(self.train.len(), recipe.seed, epoch as u64);
        let device = learner.model.device()?.clone();
        let feed = Feed {
            recipe,
            images: self.train,
            prefix: self.train_prefix.as_ref(),
            epoch,
            device: &device,
        };
        let mut tally = RunningTally::new(epoch, self.watched(learner).is_some());
        let mut done = 0;
        learner.carried = None;
        self.remember(learner)?;
        feed.each(
            batches(&positions, recipe.batch_size),
            &mut |number, batch| {
                let images = batch.labels.elem_count();
                let mut place = Place {
                    epoch,
                    number,
                    rate,
                    tally: &mut tally,
                };
                observer.step(learner.model, &learner.optimiser)?;
                learner.step(batch, &mut place)?;
                done += images;
                observer.batch(epoch + 1, done, positions.len());
                self.look(learner, (epoch, number), (&positions, done), observer)
            },
        )?;
        let trained = tally.performance()?;
        let test = recipe
            .measures_after(epoch)
            .then(|| self.measure(learner.model, epoch))
            .transpose()?;
        Ok(Epoch::new(
            epoch + 1,
            rate,
            trained,
            test,
            started.elapsed().as_secs_f64(),
        ))
    }

    /// On the test images after an epoch, counted from 0. The last step may be the one that weights are lost in.
    fn measure(&self, model: &ResNet, epoch: usize) -> Result<Performance> {
        let measured = match &self.test_prefix {
            Some(activations) => {
                let positions: Vec<usize> = (0..self.test.len()).collect();
                Performance::of_activations(model, activations, &self.test.labels_of(&positions))
            }
            None => Performance::measure(model, self.test, None),
        }?;
        match measured.loss.is_finite() {
            true => Ok(measured),
            false => {
                let place = format!("the test images after epoch {}", epoch + 1);
                Err(Error::diverged("test loss", place, "lower --learning-rate"))
            }
        }
    }

    /// The fast training that is to be watched, if any.
    fn watched(&self, learner: &Learner) -> Option<&'a Fast> {
        match &self.recipe.adversary {
            Some(AdversarialTraining::Fast(fast)) if !learner.has_fallen_back() => Some(fast),
            _ => None,
        }
    }

    fn remember(&self, learner: &mut Learner) -> Result<()> {
        if self.watched(learner).is_some() {
            learner.good = Some(State::of(learner.model, &learner.optimiser)?);
        }
        Ok(())
    }

    /// Looks whether fast training still works, where it is time; goes back where it does not.
    fn look(
        &self,
        learner: &mut Learner,
        (epoch, number): (usize, usize),
        (positions, done): (&[usize], usize),
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Some(fast) = self.watched(learner) else {
            return Ok(());
        };
        if !((number + 1).is_multiple_of(fast.guard_every) || done == positions.len()) {
            return Ok(());
        }
        // Those whose turn comes after this batch; after the last one, the first of the epoch.
        let mut ahead = positions.iter().cycle().skip(done).copied();
        let mut look = || -> Result<Check> {
            let images: Vec<usize> = (ahead.by_ref())
                .take(guard::IMAGES.min(positions.len()))
                .collect();
            let several = guard::several_steps(&fast.adversary, guard::STEPS);
            let accuracy = |adversary| self.accuracy(learner.model, &images, adversary);
            Ok(Check {
                epoch: epoch + 1,
                batch: number + 1,
                images: images.len(),
                single_step_accuracy: accuracy(&fast.adversary)?,
                ten_step_accuracy: accuracy(&several)?,
                collapsed: false,
            })
        };
        let mut check = look()?;
        check.collapsed =
            has_collapsed(&learner.checks, &check) && has_collapsed(&learner.checks, &look()?);
        observer.check(&check);
        learner.checks.push(check);
        match learner.good.take() {
            Some(good) if check.collapsed => {
                learner.optimiser =
                    good.restore(learner.model, learner.first_segment, self.recipe)?;
                Ok(())
            }
            _ => self.remember(learner),
        }
    }

    /// The share of training images predicted rightly where `adversary` leaves them.
    fn accuracy(&self, model: &ResNet, positions: &[usize], adversary: &Adversary) -> Result<f64> {
        let model = model.detached();
        let device = model.device()?;
        let labels = Tensor::new(self.train.labels_of(positions), device)?;
        let images = self.train.batch(positions, device)?;
        let images =
            adversary.perturb(&model, &images, &labels, [self.recipe.seed, u64::MAX, 0])?;
        let mut tally = Tally::default();
        tally.add(&model.logits(&images)?, &labels)?;
        Ok(tally.performance()?.accuracy)
    }
}
