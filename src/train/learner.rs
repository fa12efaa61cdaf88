//! The part of training that changes from step to step, and one step of it.

use super::adversarial::{AdversarialTraining, Free};
use super::adversary::{Adversary, Ball};
use super::feed::{Batch, Input};
use super::guard::Check;
use super::recipe::Recipe;
use super::running_tally::RunningTally;
use super::sgd::Sgd;
use super::state::State;
use crate::Result;
use crate::derivative::{LossGradientsOf, OfInput, weighted_loss_gradients};
use crate::model::{Pass, ResNet};
use candle_core::Tensor;

/// A model on its way.
pub(super) struct Learner<'a> {
    pub model: &'a mut ResNet,
    pub first_segment: usize,
    pub recipe: &'a Recipe,
    pub optimiser: Sgd,
    /// Looks of the guard so far.
    pub checks: Vec<Check>,
    /// Where it last found all well.
    pub good: Option<State>,
    /// The perturbation of the batch before, of free training.
    pub carried: Option<Tensor>,
}

/// Where a step is: what random numbers belong to it, how far it goes and what it adds to.
pub(super) struct Place<'a> {
    pub epoch: usize,
    pub number: usize,
    pub rate: f64,
    pub tally: &'a mut RunningTally,
}

impl Learner<'_> {
    /// Trains on one batch.
    pub(super) fn step(&mut self, batch: Batch, place: &mut Place) -> Result<()> {
        let Batch {
            mut input,
            labels,
            weights,
        } = batch;
        let weighted = (&labels, weights.as_ref());
        if let (Some(training), Input::Images(images)) = (&self.recipe.adversary, &mut input) {
            match training {
                AdversarialTraining::Free(free) => {
                    return self.replay(free, images, weighted, place);
                }
                AdversarialTraining::Projected(adversary) => {
                    *images = self.perturb(adversary, images, &labels, place)?;
                }
                AdversarialTraining::Fast(fast) if self.has_fallen_back() => {
                    *images = self.perturb(&fast.fallback(), images, &labels, place)?;
                }
                AdversarialTraining::Fast(fast) => {
                    *images = self.perturb(&fast.adversary, images, &labels, place)?;
                }
            }
        }
        self.descend(&input, weighted, OfInput::Nothing, place)?;
        Ok(())
    }

    /// Whether fast training has given way to several steps.
    pub(super) fn has_fallen_back(&self) -> bool {
        self.checks.iter().any(|check| check.collapsed)
    }

    fn perturb(
        &self,
        adversary: &Adversary,
        images: &Tensor,
        labels: &Tensor,
        place: &Place,
    ) -> Result<Tensor> {
        let draw = [place.epoch, place.number].map(|number| number as u64);
        let draw = [self.recipe.seed, draw[0], draw[1]];
        adversary.perturb(&self.model.detached(), images, labels, draw)
    }

    /// Free training: each backward pass moves the weights down and the images up.
    fn replay(
        &mut self,
        free: &Free,
        images: &Tensor,
        labels: (&Tensor, Option<&Tensor>),
        place: &mut Place,
    ) -> Result<()> {
        let ball = Ball {
            norm: free.norm,
            epsilon: free.epsilon,
        };
        // Only the last batch of an epoch may be smaller than the one before.
        let mut perturbation = match &self.carried {
            Some(carried) => carried.narrow(0, 0, images.dim(0)?)?,
            None => images.zeros_like()?,
        };
        for _ in 0..free.replays {
            let input = Input::Images((images + &perturbation)?.clamp(0.0, 1.0)?);
            if let Some(slope) = self.descend(&input, labels, OfInput::Gradient, place)? {
                let step = (ball.direction(&slope)? * free.epsilon)?;
                perturbation = ball.shorten(&(perturbation + step)?)?.detach();
            }
        }
        self.carried = Some(perturbation);
        Ok(())
    }

    /// One step on the weights; the loss gradient of the input where it is wanted.
    fn descend(
        &mut self,
        input: &Input,
        labels: (&Tensor, Option<&Tensor>),
        of_input: OfInput,
        place: &mut Place,
    ) -> Result<Option<Tensor>> {
        let wanted = LossGradientsOf {
            parameters_from: Some(self.first_segment),
            input: of_input,
        };
        let (entered, mut pass) = self.pass(input);
        let found = weighted_loss_gradients(self.model, entered, labels, &mut pass, wanted)?;
        self.optimiser.step(&found.parameters, place.rate)?;
        self.model.absorb(pass)?;
        (place.tally).add(found.loss_and_right, labels.0.elem_count(), place.number)?;
        Ok(found.input)
    }

    /// Where the input enters, and how the pass is made.
    fn pass<'i>(&self, input: &'i Input) -> ((usize, &'i Tensor), Pass) {
        match input {
            Input::Activations(activations) => {
                let pass = Pass::training_from(self.first_segment);
                ((self.first_segment, activations), pass)
            }
            Input::Images(images) => {
                let first = self.recipe.first_with_batch_statistics(self.first_segment);
                let pass = Pass::training_from(first);
                ((0, images), pass)
            }
        }
    }
}
