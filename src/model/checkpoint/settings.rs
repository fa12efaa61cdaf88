//! What the user says of a source model beside its file.

use crate::Result;
use crate::data::Framing;
use crate::model::{Normalisation, ResNet};

/// What the user says of a source model where its file does not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SourceSettings {
    /// Mean and deviation of the pixels it was trained with.
    pub normalisation: Option<Normalisation>,
    /// Height and width of the images, where they are to be others than the file says.
    pub side: Option<usize>,
    /// What their shorter side is resized to before the middle of that is taken.
    pub resize: Option<usize>,
}

impl SourceSettings {
    /// The model as it is told to see images.
    ///
    /// # Errors
    /// Where it cannot see them so.
    pub fn framed(self, model: ResNet) -> Result<ResNet> {
        let own = model.framing();
        let framing = match (self.side, self.resize) {
            (None, None) => return Ok(model),
            (Some(side), resize) => Framing {
                // What the file says is for its own side.
                resize: resize.or(own.resize.filter(|_| side == own.height)),
                ..side.into()
            },
            (None, resize) => Framing { resize, ..own },
        };
        model.with_framing(framing)
    }
}
