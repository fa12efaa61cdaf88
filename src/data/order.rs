//! The order in which an epoch visits its examples, and its division into batches.

use super::random::{Purpose, generator};
use rand::seq::SliceRandom;

/// The positions `0..count` in the order of one epoch: a shuffle fixed by seed and epoch.
///
/// ```
/// let first = ascribe::data::order(5, 7, 0);
/// assert_eq!(first, ascribe::data::order(5, 7, 0));
/// assert_ne!(first, ascribe::data::order(5, 7, 1));
/// ```
#[must_use]
pub fn order(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..count).collect();
    positions.shuffle(&mut generator(Purpose::Order, seed, epoch, 0));
    positions
}

/// Consecutive batches of at most `size` positions; the last one may be smaller, none is dropped.
/// A `size` of 0 counts as 1.
pub fn batches(positions: &[usize], size: usize) -> std::slice::Chunks<'_, usize> {
    positions.chunks(size.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_a_permutation() {
        let mut positions = order(1000, 3, 4);
        assert_ne!(positions, (0..1000).collect::<Vec<_>>());
        positions.sort_unstable();
        assert_eq!(positions, (0..1000).collect::<Vec<_>>());
    }

    /// Resuming a run with a newer version must give the same epochs: a change of this order is a breaking change.
    #[test]
    fn order_stays_the_same_between_versions() {
        assert_eq!(order(8, 0, 0), [5, 2, 7, 6, 1, 4, 3, 0]);
    }

    #[test]
    fn batches_keep_the_remainder() {
        let positions = order(10, 0, 0);
        let sizes: Vec<_> = batches(&positions, 4).map(<[usize]>::len).collect();
        assert_eq!(sizes, [4, 4, 2]);
        assert_eq!(batches(&positions, 0).count(), 10);
        assert_eq!(batches(&[], 4).count(), 0);
    }
}
