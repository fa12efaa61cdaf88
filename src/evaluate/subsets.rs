//! What is left out: single images, and random subsets.

use super::heads::Kept;
use crate::data::random::{Purpose, generator};
use crate::descending::descending;
use crate::{Error, Result};
use ndarray::{Array2, Axis};
use rand::seq::SliceRandom;

/// Which images are left out one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Choose {
    /// Those with the largest |score| by the run, on average over the queries
    Influential,
    /// Random ones
    #[default]
    Random,
    /// Every one
    All,
}

/// What a stream of random numbers is for; part of its index.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    LeaveOneOut = 1,
    Subset = 2,
    Flips = 3,
    Duplicates = 4,
    Labels = 5,
    Head = 6,
    Groups = 7,
    Removal = 8,
    Folds = 9,
}

/// The generator that belongs to a draw, a seed and an index.
pub(super) fn random(draw: Draw, seed: u64, index: u64) -> rand_chacha::ChaCha8Rng {
    generator(Purpose::Evaluation, seed, draw as u64, index)
}

/// `0..count` in random order.
pub(super) fn shuffled(count: usize, draw: Draw, seed: u64, index: u64) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..count).collect();
    positions.shuffle(&mut random(draw, seed, index));
    positions
}

/// Positions of `number` images of those that `scores` `[query, train]` speak of.
///
/// # Errors
/// More images than there are.
pub fn left_out_alone(
    scores: &Array2<f64>,
    number: usize,
    choose: Choose,
    seed: u64,
) -> Result<Vec<usize>> {
    let count = scores.ncols();
    let number = if choose == Choose::All { count } else { number };
    if number > count {
        let reason = format!("{number} is more than the {count} training images there are");
        return Err(Error::config("leave-one-out", reason));
    }
    let mut positions = match choose {
        Choose::All => (0..count).collect(),
        Choose::Random => shuffled(count, Draw::LeaveOneOut, seed, 0),
        Choose::Influential => {
            let sizes: Vec<f64> = (scores.axis_iter(Axis(1)))
                .map(|column| column.iter().map(|score| score.abs()).sum())
                .collect();
            descending(&sizes)
        }
    };
    positions.truncate(number);
    positions.sort_unstable();
    Ok(positions)
}

/// `number` random subsets of a `share` of `count` images, each trained on with its own mean loss.
///
/// # Errors
/// A share that leaves nothing in or out.
pub fn random_subsets(count: usize, number: usize, share: f64, seed: u64) -> Result<Vec<Kept>> {
    let size = (share * count as f64).round();
    if !(size >= 1.0 && size < count as f64) {
        let reason = format!(
            "expected a share above 0 and below 1 that leaves some of {count} images in and some out, found {share}"
        );
        return Err(Error::config("share", reason));
    }
    let subset = |index: usize| {
        let order = shuffled(count, Draw::Subset, seed, index as u64);
        Kept::subset(count, &order[..size as usize])
    };
    Ok((0..number).map(subset).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_seed_decides_and_the_influential_come_first() {
        let scores = array![[0.1, -5.0, 0.2, 0.0], [3.0, 1.0, 0.1, 0.0]];
        let chosen = |number, choose| left_out_alone(&scores, number, choose, 1).unwrap();
        assert_eq!(chosen(2, Choose::Influential), [0, 1]);
        assert_eq!(chosen(9, Choose::All), [0, 1, 2, 3]);
        assert_eq!(chosen(2, Choose::Random), chosen(2, Choose::Random));
        assert!(left_out_alone(&scores, 5, Choose::Random, 1).is_err());
        let subsets = random_subsets(40, 3, 0.5, 7).unwrap();
        assert_eq!(subsets, random_subsets(40, 3, 0.5, 7).unwrap());
        assert_ne!(subsets[0], subsets[1]);
        assert!(
            subsets
                .iter()
                .all(|kept| kept.divisor == 20 && kept.left_out().len() == 20)
        );
        // The same subsets, however many are asked for.
        assert_eq!(subsets[..2], random_subsets(40, 2, 0.5, 7).unwrap());
        assert!(
            random_subsets(40, 3, 1.0, 7).is_err() && random_subsets(40, 3, f64::NAN, 7).is_err()
        );
    }
}
