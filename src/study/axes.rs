//! What a study's axes are for each target set: how many images all of them are, and which numbers take other epochs.

use super::{ImageCount, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By name of the target set; `run.json` has it, for figures to choose rows by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axes {
    /// All of a set's training images, where the spec asks for them.
    pub all_images: BTreeMap<String, usize>,
    /// The epochs of numbers of images that take others than the rest.
    pub epochs_of_images: BTreeMap<String, BTreeMap<usize, usize>>,
}

impl Axes {
    /// Those of a spec whose target sets have `totals` training images.
    #[must_use]
    pub fn of(spec: &Spec, totals: &[usize]) -> Self {
        let totals = || spec.targets.iter().zip(totals.iter().copied());
        let all = (totals())
            .filter(|_| spec.images.contains(&ImageCount::All))
            .map(|(target, total)| (target.name.clone(), total));
        let epochs = |total: usize| -> BTreeMap<usize, usize> {
            let given = spec.epochs_of_images.iter();
            let taken = given.filter(|&(&images, _)| !spec.is_listed(images, total));
            taken
                .map(|(images, &epochs)| (images.of(total), epochs))
                .collect()
        };
        let others = totals()
            .map(|(target, total)| (target.name.clone(), epochs(total)))
            .filter(|(_, epochs)| !epochs.is_empty());
        Self {
            all_images: all.collect(),
            epochs_of_images: others.collect(),
        }
    }

    /// The epochs of so many images of a target set, where they are others than the rest's.
    pub(super) fn epochs(&self, target: &str, images: usize) -> Option<usize> {
        self.epochs_of_images.get(target)?.get(&images).copied()
    }
}
