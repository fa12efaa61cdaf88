//! Labels that are not those of the file: flipped for an experiment, or corrected after an audit; and images left out.

use super::classes::{LISTED, listed};
use super::present_classes::PresentClasses;
use super::random::{Purpose, generator};
use super::{Dataset, Decisions};
use crate::{Error, Result};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The result in `run.json` that holds labels other than those of the training file.
pub(crate) const RELABELLED: &str = "relabelled";

/// The result in `run.json` that holds images that were left out.
pub(crate) const EXCLUDED: &str = "excluded";

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
    /// Those that were decided to be left out.
    pub excluded: Vec<usize>,
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
            share => flipped(&ids, set.labels(), share, seed)?,
        };
        let flipped = flips.keys().copied().collect();
        let is_excluded = |id: &&usize| decisions.excluded.contains(id);
        let excluded = ids.iter().filter(is_excluded).copied().collect();
        let (ids, mut labels) = decisions.apply(ids, flips)?;
        // A decision may be for the file's label, or undo a flip.
        labels.retain(|&id, label| set.label(id) != *label);
        Ok(Self {
            ids,
            labels,
            flipped,
            excluded,
        })
    }

    /// How many are left, and what was done to them, in words; nothing where nothing was.
    #[must_use]
    pub fn changed(&self) -> Option<String> {
        let kept = |id: &&usize| self.labels.contains_key(id);
        let flipped = self.flipped.iter().filter(kept).count();
        let counts = [
            (self.excluded.len(), "left out"),
            (self.labels.len(), "with another label than the file's"),
            (flipped, "of these flipped at first"),
        ];
        let words = counts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = words
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let left = self.ids.len();
        (!words.is_empty()).then(|| format!("{left} training images; {}", words.join(", ")))
    }

    /// [`classes_without`] of these.
    #[must_use]
    pub fn without(&self, set: &Dataset) -> Option<String> {
        classes_without(set, &self.ids, &self.labels)
    }

    /// What `run.json` says of changed labels, by the names of its results; nothing where there are none.
    pub(crate) fn changes(&self) -> Vec<(&'static str, Value)> {
        let flipped = (!self.flipped.is_empty()).then(|| ("flipped", json!(self.flipped)));
        let labels = (!self.labels.is_empty()).then(|| (RELABELLED, json!(self.labels)));
        let excluded = (!self.excluded.is_empty()).then(|| (EXCLUDED, json!(self.excluded)));
        (flipped.into_iter())
            .chain(labels)
            .chain(excluded)
            .collect()
    }
}

/// The classes of `set` that none of the images `ids` has, with their new `labels`, in words; nothing where every class is there.
#[must_use]
pub fn classes_without(set: &Dataset, ids: &[usize], labels: &NewLabels) -> Option<String> {
    let label = |id: &usize| labels.get(id).copied().unwrap_or(set.label(*id));
    let there: BTreeSet<usize> = ids.iter().map(label).collect();
    let missing = set.classes().iter().enumerate();
    let missing: Vec<&str> = missing
        .filter(|(class, _)| !there.contains(class))
        .map(|(_, name)| name.as_str())
        .collect();
    let named = listed(&missing, LISTED);
    (!missing.is_empty())
        .then(|| format!("no training image is of class {named}: none is learned of it"))
}

/// How many labels a share of so many is.
fn flip_count(share: f64, labels: usize) -> usize {
    (share * labels as f64).round() as usize
}

/// That a share to flip of so many images is none of them, in words; nothing where it is some, or none is asked for.
pub(crate) fn flips_none(share: f64, images: usize) -> Option<String> {
    (share > 0.0 && flip_count(share, images) == 0).then(|| {
        format!("flip-labels {share} of {images} training images is none: no label is flipped")
    })
}

/// Each of a `share` of `ids`, drawn from `seed`, with a label other than its own, each other class that `ids` have as likely.
///
/// # Errors
/// A share outside 0 to 1, or a single class.
pub fn flipped(ids: &[usize], labels: &[usize], share: f64, seed: u64) -> Result<NewLabels> {
    if !(0.0..=1.0).contains(&share) {
        let reason = format!("{share} is not between 0 and 1");
        return Err(Error::config("flip-labels", reason));
    }
    let classes = PresentClasses::of(ids.iter().map(|&id| &labels[id]));
    if classes.count() < 2 {
        let reason = "needs training images of at least two classes";
        return Err(Error::config("flip-labels", reason));
    }
    let mut order = ids.to_vec();
    order.shuffle(&mut generator(Purpose::Flips, seed, 0, 0));
    order.truncate(flip_count(share, ids.len()));
    let flip = |id: usize| {
        let mut generator = generator(Purpose::Flips, seed, 1, id as u64);
        let step = generator.random_range(1..classes.count());
        (id, classes.after(labels[id], step))
    };
    Ok(order.into_iter().map(flip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_to_images_is_said_in_words() {
        let set = &crate::data::digits_train().unwrap();
        let of_class = |class: usize| (0..set.len()).filter(move |&id| set.label(id) == class);
        let fives = || of_class(5).take(3);
        let ids: Vec<usize> = of_class(2).take(4).chain(fives()).collect();
        let plain = TrainingImages::of(set, ids.clone(), Decisions::default(), (0.0, 0)).unwrap();
        assert_eq!(plain.changed(), None);
        let mut decisions = Decisions {
            excluded: fives().collect(),
            ..Decisions::default()
        };
        decisions.relabelled.insert(ids[0], 7);
        let changed = TrainingImages::of(set, ids.clone(), decisions, (0.0, 0)).unwrap();
        let expected = "4 training images; 3 left out, 1 with another label than the file's";
        assert_eq!(changed.changed().as_deref(), Some(expected));
        // Decisions for the label that the file has, also after flips.
        let same = Decisions {
            relabelled: ids.iter().map(|&id| (id, set.label(id))).collect(),
            ..Decisions::default()
        };
        let same = TrainingImages::of(set, ids, same, (0.5, 0)).unwrap();
        assert!(same.labels.is_empty() && !same.flipped.is_empty());
        assert_eq!(same.changed(), None);
        let without = changed.without(set).unwrap();
        assert!(
            without.contains("of class 0, 1, 3, 4, 5 and 3 more: none"),
            "{without}"
        );
        let all: Vec<usize> = (0..set.len()).collect();
        assert_eq!(classes_without(set, &all, &NewLabels::new()), None);
        let but_sixes: Vec<usize> = (0..set.len()).filter(|&id| set.label(id) != 6).collect();
        let found = classes_without(set, &but_sixes, &NewLabels::new()).unwrap();
        assert!(found.contains("of class 6: none"), "{found}");
    }

    #[test]
    fn flips_are_as_many_as_asked_and_never_the_own_label() {
        let labels: Vec<usize> = (0..1000).map(|id| id % 4).collect();
        let ids: Vec<usize> = (0..1000).step_by(2).collect();
        let flips = flipped(&ids, &labels, 0.1, 3).unwrap();
        assert_eq!(flips.len(), 50);
        assert!(
            flips
                .iter()
                .all(|(id, label)| id % 2 == 0 && *label < 4 && *label != labels[*id])
        );
        assert_eq!(flips, flipped(&ids, &labels, 0.1, 3).unwrap());
        assert_ne!(flips, flipped(&ids, &labels, 0.1, 4).unwrap());
        assert!(flipped(&ids, &labels, 0.0, 3).unwrap().is_empty());
        assert!(flipped(&ids, &labels, f64::NAN, 3).is_err());
        assert!(flipped(&ids, &[1; 1000], 0.1, 3).is_err());
        // Of classes 0, 2, 4 and 6 none goes between them.
        let sparse: Vec<usize> = labels.iter().map(|label| 2 * label).collect();
        let among = flipped(&ids, &sparse, 0.1, 3).unwrap();
        assert!(
            among
                .iter()
                .map(|(id, label)| (*id, label / 2))
                .eq(flips.clone())
        );
        assert!(among.values().all(|label| label % 2 == 0));
    }

    #[test]
    fn a_share_that_flips_nothing_is_told() {
        let expected = "flip-labels 0.009 of 50 training images is none: no label is flipped";
        assert_eq!(flips_none(0.009, 50).as_deref(), Some(expected));
        assert_eq!((flips_none(0.01, 50), flips_none(0.0, 50)), (None, None));
    }
}
