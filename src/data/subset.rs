//! Class-balanced subsets: the paper's "number of training images".
//!
//! Every class gives its first image before any gives its second, and so on, until the number is reached; so classes
//! are as equal as they can be and each that has images is present. The paper's own code (`make_mask`) draws images at random and only
//! reserves one place for each class; ours is balanced because a few images should not decide which classes are learnt.
//! The subset of a smaller number is part of the subset of a larger one with the same seed.

use super::random::{Purpose, generator};
use crate::{Error, Result};
use rand::seq::SliceRandom;

/// Positions of `wanted` of `count` rows, evenly spaced; all where there are fewer.
pub(crate) fn evenly_spaced(count: usize, wanted: usize) -> Vec<usize> {
    let kept = wanted.min(count);
    (0..kept).map(|place| place * count / kept).collect()
}

/// Draws `images` ids (positions in `labels`), balanced over the classes, sorted.
///
/// # Errors
/// [`Error::Config`] naming `--images` when the number exceeds the examples at hand or is smaller than the number of classes that have
/// any; [`Error::Mismatch`] when a label is not below `class_count`.
pub fn subset(
    labels: &[usize],
    class_count: usize,
    images: usize,
    seed: u64,
) -> Result<Vec<usize>> {
    let mut by_class = by_class(labels, class_count)?;
    check(&by_class, labels.len(), images)?;
    let mut queue = Vec::with_capacity(labels.len());
    for (class, ids) in by_class.iter_mut().enumerate() {
        ids.shuffle(&mut generator(Purpose::Subset, seed, 0, class as u64));
    }
    // Who goes first within a round: the classes that give one more when the number does not divide evenly.
    by_class.shuffle(&mut generator(Purpose::Subset, seed, 1, 0));
    for (turn, ids) in by_class.iter().enumerate() {
        queue.extend(ids.iter().enumerate().map(|(round, &id)| (round, turn, id)));
    }
    queue.sort_unstable();
    let mut ids: Vec<usize> = queue
        .into_iter()
        .take(images)
        .map(|(_, _, id)| id)
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Draws `held` positions in `labels` to be held back from training, of each class as large a share of its images as of the others',
/// but that every class keeps one for training; sorted.
///
/// # Errors
/// As [`subset`] of the others.
pub(crate) fn held_back(
    labels: &[usize],
    class_count: usize,
    held: usize,
    seed: u64,
) -> Result<Vec<usize>> {
    let mut by_class = by_class(labels, class_count)?;
    check(&by_class, labels.len(), labels.len().saturating_sub(held))?;
    // Image k of n in a class has its turn at (k + 1/2)/n, so that whoever is first in turn is of the class that has given least.
    let mut queue = Vec::with_capacity(labels.len());
    for (class, ids) in by_class.iter_mut().enumerate() {
        ids.shuffle(&mut generator(Purpose::Subset, seed, 2, class as u64));
        let images = ids.len();
        let turns = (0..).zip(&ids[..images.saturating_sub(1)]);
        queue.extend(turns.map(|(k, &id)| ((2 * k + 1) as f64 / images as f64, class, id)));
    }
    queue.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut ids: Vec<usize> = queue.into_iter().take(held).map(|(_, _, id)| id).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// The positions of each class's labels.
fn by_class(labels: &[usize], class_count: usize) -> Result<Vec<Vec<usize>>> {
    let mut by_class = vec![Vec::new(); class_count];
    for (id, &label) in labels.iter().enumerate() {
        let Some(ids) = by_class.get_mut(label) else {
            let expected = format!("a label below {class_count}");
            return Err(Error::mismatch(
                format!("label of example {id}"),
                expected,
                label,
                "check the labels",
            ));
        };
        ids.push(id);
    }
    Ok(by_class)
}

fn check(by_class: &[Vec<usize>], available: usize, images: usize) -> Result<()> {
    let refuse = |reason| Err(Error::config("images", reason));
    let class_count = by_class.iter().filter(|ids| !ids.is_empty()).count();
    if images > available {
        return refuse(format!(
            "expected at most {available} (the images there are), found {images}"
        ));
    }
    if images < class_count {
        return refuse(format!(
            "expected at least {class_count} (one image for each class), found {images}; give a larger number"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(labels: &[usize], ids: &[usize], class_count: usize) -> Vec<usize> {
        let mut counts = vec![0; class_count];
        ids.iter().for_each(|&id| counts[labels[id]] += 1);
        counts
    }

    #[test]
    fn evenly_spaced_rows_begin_with_the_first() {
        assert_eq!(evenly_spaced(10, 4), [0, 2, 5, 7]);
        assert_eq!(evenly_spaced(3, 100), [0, 1, 2]);
        assert!(evenly_spaced(0, 5).is_empty());
    }

    /// Every class gives the same share, and keeps at least one image.
    #[test]
    fn images_are_held_back_from_every_class_by_its_size() {
        let sizes = [500usize, 100, 20, 3, 1, 0];
        let labels: Vec<usize> = (0..)
            .zip(sizes)
            .flat_map(|(class, n)| vec![class; n])
            .collect();
        for share in [0.1, 0.2, 0.5, 0.9] {
            let held = (share * labels.len() as f64).round() as usize;
            let ids = held_back(&labels, sizes.len(), held, 3).unwrap();
            assert!(ids.len() == held && ids.is_sorted_by(|a, b| a < b));
            for (count, size) in counts(&labels, &ids, sizes.len()).into_iter().zip(sizes) {
                // What the smallest cannot give comes from the others.
                assert!((count as f64 - share * size as f64).abs() <= 2.0);
                assert!(count < size.max(1), "{count} of {size}");
            }
        }
        assert_ne!(
            held_back(&labels, sizes.len(), 100, 3).unwrap(),
            held_back(&labels, sizes.len(), 100, 4).unwrap()
        );
        let all_but_one_each = labels.len() - 5;
        assert!(held_back(&labels, sizes.len(), all_but_one_each, 3).is_ok());
        assert!(held_back(&labels, sizes.len(), all_but_one_each + 1, 3).is_err());
        assert!(held_back(&labels, sizes.len(), labels.len() + 1, 3).is_err());
    }

    proptest! {
        #[test]
        fn balanced_sorted_and_nested(seed: u64, extra in 0usize..60, sizes in prop::collection::vec(1usize..20, 1..6)) {
            let labels: Vec<usize> = sizes.iter().enumerate().flat_map(|(class, &n)| vec![class; n]).collect();
            let images = (sizes.len() + extra).min(labels.len());
            let ids = subset(&labels, sizes.len(), images, seed).unwrap();
            prop_assert_eq!(ids.len(), images);
            prop_assert!(ids.is_sorted_by(|a, b| a < b));
            let counts = counts(&labels, &ids, sizes.len());
            let most = *counts.iter().max().unwrap();
            for (&count, &size) in counts.iter().zip(&sizes) {
                prop_assert!(count >= 1 && (count == size || count + 1 >= most));
            }
            let smaller = subset(&labels, sizes.len(), images.max(sizes.len() + 1) - 1, seed).unwrap();
            prop_assert!(smaller.iter().all(|id| ids.contains(id)));
        }
    }

    #[test]
    fn the_seed_decides() {
        let labels: Vec<usize> = (0..100).map(|i| i % 4).collect();
        assert_eq!(
            subset(&labels, 4, 20, 1).unwrap(),
            subset(&labels, 4, 20, 1).unwrap()
        );
        assert_ne!(
            subset(&labels, 4, 20, 1).unwrap(),
            subset(&labels, 4, 20, 2).unwrap()
        );
    }

    #[test]
    fn stays_the_same_between_versions() {
        let labels: Vec<usize> = (0..20).map(|i| i % 3).collect();
        assert_eq!(subset(&labels, 3, 5, 0).unwrap(), [5, 7, 11, 12, 16]);
    }

    #[test]
    fn a_class_without_images_takes_none() {
        assert_eq!(subset(&[0, 1, 1, 3], 4, 4, 0).unwrap(), [0, 1, 2, 3]);
        let ids = subset(&[1, 1, 1, 3, 3, 4], 5, 3, 0).unwrap();
        let labels: Vec<usize> = ids.iter().map(|&id| [1, 1, 1, 3, 3, 4][id]).collect();
        assert_eq!(labels, [1, 3, 4]);
    }

    #[test]
    fn errors_name_the_option() {
        let labels = [0, 1, 1, 3];
        for (images, part) in [(5, "at most 4"), (2, "at least 3")] {
            let message = subset(&labels, 4, images, 0).unwrap_err().to_string();
            assert!(
                message.starts_with("--images: expected") && message.contains(part),
                "{message}"
            );
        }
        assert!(
            subset(&labels, 3, 4, 0)
                .unwrap_err()
                .to_string()
                .contains("label of example 3")
        );
    }
}
