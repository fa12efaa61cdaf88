//! The training loop: natural or adversarial, of a whole model or of its last segments.
//!
//! Minimises the mean cross-entropy plus `l2/2·‖θ‖²` over the trained parameters by [`Sgd`]; with
//! [`super::AdversarialTraining`] each batch is replaced by a perturbation of it (Equation 1 of Utrera et al.). What frozen
//! segments give is computed once where it stays the same ([`super::frozen_prefix`]).

use super::checkpoint::Checkpoint;
use super::guard::Check;
use super::history::Epoch;
use super::learner::Learner;
use super::recipe::Recipe;
use super::session::Session;
use super::sgd::Sgd;
use super::state::State;
use crate::artefact::{keep_freed_memory, write_csv};
use crate::data::Pixels;
use crate::model::{Pass, ResNet};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use std::path::Path;

/// Follows training from outside.
pub trait Observer {
    /// Before each step: the model as it is, and the optimiser that takes it.
    ///
    /// # Errors
    /// What keeps training from going on.
    fn step(&mut self, _model: &ResNet, _optimiser: &Sgd) -> Result<()> {
        Ok(())
    }
    /// After each batch: images seen in this epoch, of how many.
    fn batch(&mut self, epoch: usize, done: usize, total: usize);
    /// After each epoch.
    fn epoch(&mut self, row: &Epoch);
    /// After each look at whether fast adversarial training still works.
    fn check(&mut self, _check: &Check) {}
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

/// Trains the segments from `first_segment` on; leaves `checkpoint.safetensors` (until done, as often as the
/// observer wants it), `training.csv` and, of fast
/// adversarial training, `guard.csv` in `folder`, and goes on from such a checkpoint where there is one. Returns one row an
/// epoch.
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
    let size = [train.height(), train.width()];
    check_last_batch(model, first_segment, recipe, (train.len(), size))?;
    keep_freed_memory();
    let path = folder.join("checkpoint.safetensors");
    let (optimiser, mut history, checks) = match Checkpoint::read(&path, model.device()?)? {
        Some(checkpoint) => (
            (checkpoint.state).restore(model, first_segment, recipe)?,
            checkpoint.history,
            checkpoint.checks,
        ),
        None => (
            Sgd::new(
                model.make_trainable(first_segment)?,
                recipe.momentum,
                recipe.l2,
            ),
            Vec::new(),
            Vec::new(),
        ),
    };
    let session = Session::new(model, first_segment, recipe, (train, test), folder)?;
    let mut learner = Learner {
        model,
        first_segment,
        recipe,
        optimiser,
        checks,
        good: None,
        carried: None,
    };
    for epoch in history.len()..recipe.epochs {
        let row = session.epoch(&mut learner, epoch, observer)?;
        observer.epoch(&row);
        history.push(row);
        if observer.wants_checkpoint() {
            Checkpoint {
                state: State {
                    tensors: learner.model.tensors().clone(),
                    velocities: learner.optimiser.velocities().clone(),
                },
                history: history.clone(),
                checks: learner.checks.clone(),
            }
            .write(&path)?;
            write_csv(&history, &folder.join("training.csv"))?;
        }
        write_checks(&learner.checks, folder)?;
    }
    // Of a run that was killed after its last checkpoint neither may be complete.
    write_csv(&history, &folder.join("training.csv"))?;
    write_checks(&learner.checks, folder)?;
    *learner.model = learner.model.detached();
    Ok(history)
}

/// Leaves `guard.csv`, where there was anything to guard against.
fn write_checks(checks: &[Check], folder: &Path) -> Result<()> {
    match checks.is_empty() {
        true => Ok(()),
        false => write_csv(checks, &folder.join("guard.csv")),
    }
}

/// Refuses so many training images of this height and width where batch norm has no statistics for the last batch of an epoch, before
/// there is work to lose: it may be of one image.
///
/// # Errors
/// Names the batch size.
pub(crate) fn check_last_batch(
    model: &ResNet,
    first_segment: usize,
    recipe: &Recipe,
    (images, [height, width]): (usize, [usize; 2]),
) -> Result<()> {
    let others = images.checked_sub(1);
    if others.is_none_or(|others| !others.is_multiple_of(recipe.batch_size)) {
        return Ok(());
    }
    let image = Tensor::zeros((1, 3, height, width), DType::F32, model.device()?)?;
    let mut pass = Pass::training_from(recipe.first_with_batch_statistics(first_segment));
    model.detached().features_from(0, &image, &mut pass)?;
    Ok(())
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
