//! How well a model predicts images, with its progress shown.

use super::counting::Counting;
use crate::Result;
use crate::data::Pixels;
use crate::model::ResNet;
use crate::train::{Attack, Performance};

/// [`Performance::measure`].
pub(super) fn measured(
    model: &ResNet,
    images: &Pixels,
    attack: Option<&Attack>,
) -> Result<Performance> {
    let what = match attack {
        None => "predicted",
        Some(_) => "predicted under attack",
    };
    let mut counting = Counting::new(what, "images");
    let mut show = |done| counting.show(done, images.len());
    Performance::measure_counted(model, images, attack, &mut show)
}
