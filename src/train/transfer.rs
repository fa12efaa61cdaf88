//! Transfer: a source model with a new head, fine-tuned on a target set.
//!
//! `ascribe transfer` and every run of `ascribe study` are this one function.

use super::history::Epoch;
use super::measure::Performance;
use super::options::USUAL_HEAD_DEVIATION;
use super::{Observer, TransferOptions, fit};
use crate::data::Pixels;
use crate::model::ResNet;
use crate::{Error, Result};
use candle_core::Device;
use std::path::Path;

/// What a transfer leaves.
#[derive(Debug)]
pub struct Transferred {
    /// The fine-tuned model.
    pub model: ResNet,
    /// One row an epoch.
    pub history: Vec<Epoch>,
    /// On the test images, after the last epoch.
    pub test: Performance,
}

/// Gives `source` a new head for `classes` and fine-tunes it; works in `folder` as [`fit()`] does, and resumes like it.
///
/// # Errors
/// As [`fit()`]; an architecture with fewer blocks than are to be fine-tuned.
pub fn transfer(
    source: ResNet,
    classes: Vec<String>,
    options: &TransferOptions,
    (train, test): (&Pixels, &Pixels),
    folder: &Path,
    observer: &mut dyn Observer,
) -> Result<Transferred> {
    let first_segment = options.blocks.first_segment(source.architecture())?;
    let source = options.recipe.place(&source)?;
    let mut model = source.with_new_head(classes, options.head_deviation, options.recipe.seed)?;
    let recipe = options.recipe();
    let history = fit(
        &mut model,
        first_segment,
        &recipe,
        (train, test),
        folder,
        observer,
    )
    .map_err(|error| with_head_remedy(error, options.head_deviation))?;
    let last = history.last().and_then(|row| {
        Some(Performance {
            loss: row.test_loss?,
            accuracy: row.test_accuracy?,
        })
    });
    let test = match last {
        Some(last) => last,
        None => Performance::measure(&model, test, None)?,
    };
    let model = model.to_device(&Device::Cpu)?;
    let parameters = model.head_parameters()?.0.dtype();
    Ok(Transferred {
        model: model.with_activations(parameters),
        history,
        test,
    })
}

/// A head that began with larger weights than usual may be why a loss stopped being finite.
fn with_head_remedy(error: Error, deviation: f32) -> Error {
    match error {
        Error::Diverged { what, place, .. } if deviation > USUAL_HEAD_DEVIATION => {
            let remedy = format!(
                "lower --head-deviation ({USUAL_HEAD_DEVIATION} is usual) or --learning-rate"
            );
            Error::diverged(what, place, remedy)
        }
        other => other,
    }
}
