//! Why a weight file is no model that can be used.

use super::{Checkpoint, Misfit};
use crate::Error;
use std::path::Path;

impl Checkpoint {
    /// It has no classifier, and is to predict.
    pub(super) fn without_classifier(&self) -> Error {
        let remedy = format!(
            "give a file of the whole network (ascribe transfer takes this one, and trains a classifier); ascribe inspect {} shows what is in it",
            self.path.display()
        );
        let expected = "a classifier (fc.weight and fc.bias)";
        Error::format(&self.path, self.weights(), expected, "none", remedy)
    }

    /// The first of its misfits.
    pub(super) fn refusal(&self, misfit: &Misfit) -> Error {
        let path = self.path.display();
        let more = self.misfits.len() - 1;
        let remedy = format!(
            "{}see all with: ascribe inspect {path}",
            if more > 0 {
                format!("{more} more do not fit; ")
            } else {
                String::new()
            }
        );
        let near = |nearest: &Option<String>| {
            let text = nearest
                .iter()
                .map(|it| format!(" (the most similar name is {it})"));
            text.collect::<String>()
        };
        let (expected, found) = match misfit {
            Misfit::Missing {
                name,
                shape,
                nearest,
            } => {
                let found = format!("none{}", near(nearest));
                (format!("a tensor {name} of shape {shape:?}"), found)
            }
            Misfit::LeftOver { name, nearest, .. } => (
                "no other tensor".to_owned(),
                format!("{name}{}", near(nearest)),
            ),
            Misfit::Shape {
                name,
                expected,
                found,
            } => (
                format!("{name} of shape {expected:?}"),
                format!("{found:?}"),
            ),
        };
        Error::format(&self.path, self.weights(), expected, found, remedy)
    }

    fn weights(&self) -> String {
        format!("weights, taken for {}", self.architecture)
    }
}

/// A model of something else; its first names say what.
pub(super) fn strange<'a>(path: &Path, names: impl Iterator<Item = &'a String>) -> Error {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    let count = names.len();
    names.truncate(4);
    Error::format(
        path,
        "tensor names",
        "those of a ResNet (torchvision's: conv1.weight, layer1.0.conv1.weight, … fc.bias)",
        format!("{count} tensors: {} …", names.join(", ")),
        "give a ResNet-18, -34, -50, -101, -152 or a wide one",
    )
}
