//! Labels that are not those of the file: flipped for an experiment, or corrected after an audit; and images left out.

use super::random::{Purpose, generator};
use super::{Dataset, Decisions};
use crate::{Error, Result};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The result in `run.json` that holds labels other than those of the training file.
pub(crate) const RELABELLED: &str = "relabelled";

/// New labels by id.
pub type NewLabels = BTreeMap<usize, usize>;

/// The training images of a model, and what was changed of their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingImages {
    /// Those that are left.
    pub ids: Vec<usize>,
    /// Their labels, where these are not the file's.
    pub labels: NewLabels,
    /// Those whose label was flipped for an experiment, whatever was decided on them after.
    pub flipped: Vec<usize>,
}

impl TrainingImages {
    /// `ids` of a set after a share of their labels was flipped ([`flipped`], from a seed) and then `decisions` were applied, which may
    /// undo a flip.
    ///
    /// # Errors
    /// A share outside 0 to 1; no image that is left.
    pub fn of(
        set: &Dataset,
        ids: Vec<usize>,
        decisions: Decisions,
        (share, seed): (f64, u64),
    ) -> Result<Self> {
        let flips = match share {
            0.0 => NewLabels::new(),
            share => flipped(&ids, set.labels(), set.classes().len(), share, seed)?,
        };
        let flipped = flips.keys().copied().collect();
        let (ids, labels) = decisions.apply(ids, flips)?;
        Ok(Self {
            ids,
            labels,
            flipped,
        })
    }

    /// What `run.json` says of changed labels, by the names of its results; nothing where there are none.
    pub(crate) fn changes(&self) -> Vec<(&'static str, Value)> {
        let flipped = (!self.flipped.is_empty()).then(|| ("flipped", json!(self.flipped)));
        let labels = (!self.labels.is_empty()).then(|| (RELABELLED, json!(self.labels)));
        flipped.into_iter().chain(labels).collect()
    }
}

/// Each of a `share` of `ids`, drawn from `seed`, with a label other than its own, each other class as likely.
///
/// # Errors
/// A share outside 0 to 1, or a single class.
pub fn flipped(
    ids: &[usize],
    labels: &[usize],
    classes: usize,
    share: f64,
    seed: u64,
) -> Result<NewLabels> {
    if !(0.0..=1.0).contains(&share) {
        let reason = format!("{share} is not between 0 and 1");
        return Err(Error::config("flip-labels", reason));
    }
    if classes < 2 {
        return Err(Error::config("flip-labels", "needs at least two classes"));
    }
    let mut order = ids.to_vec();
    order.shuffle(&mut generator(Purpose::Flips, seed, 0, 0));
    order.truncate((share * ids.len() as f64).round() as usize);
    let flip = |id: usize| {
        let step = generator(Purpose::Flips, seed, 1, id as u64).random_range(1..classes);
        (id, (labels[id] + step) % classes)
    };
    Ok(order.into_iter().map(flip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_are_as_many_as_asked_and_never_the_own_label() {
        let labels: Vec<usize> = (0..1000).map(|id| id % 4).collect();
        let ids: Vec<usize> = (0..1000).step_by(2).collect();
        let flips = flipped(&ids, &labels, 4, 0.1, 3).unwrap();
        assert_eq!(flips.len(), 50);
        assert!(
            flips
                .iter()
                .all(|(id, label)| id % 2 == 0 && *label < 4 && *label != labels[*id])
        );
        assert_eq!(flips, flipped(&ids, &labels, 4, 0.1, 3).unwrap());
        assert_ne!(flips, flipped(&ids, &labels, 4, 0.1, 4).unwrap());
        assert!(flipped(&ids, &labels, 4, 0.0, 3).unwrap().is_empty());
        assert!(flipped(&ids, &labels, 4, f64::NAN, 3).is_err());
        assert!(flipped(&ids, &labels, 1, 0.1, 3).is_err());
    }
}
