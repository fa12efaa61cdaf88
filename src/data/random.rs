//! Random numbers from a seed and an index, never from the order of calls.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for; different purposes never share a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The order of examples in an epoch.
    Order = 1,
    /// Which examples form a subset.
    Subset = 2,
    /// The augmentation of one example in one epoch.
    Augmentation = 3,
    /// The first weights of a model.
    Initialisation = 4,
    /// The start of an adversary.
    Adversary = 5,
    /// The first vector of a Lanczos process.
    Lanczos = 6,
    /// The images that one iteration of a stochastic solver looks at.
    Batch = 7,
    /// The draws of a bootstrap.
    Bootstrap = 8,
    /// What an evaluation leaves out, plants or shuffles.
    Evaluation = 9,
    /// The projections of gradients.
    Projection = 10,
    /// Which labels are flipped, and to what.
    Flips = 11,
    /// Signs that stand for the labels of one image.
    Labels = 12,
    /// Which points of a figure are drawn, where all are too many.
    Thinning = 13,
}

/// The generator that belongs to a purpose, a seed, an epoch and an index.
pub(crate) fn generator(purpose: Purpose, seed: u64, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (slot, number) in key
        .chunks_exact_mut(8)
        .zip([purpose as u64, seed, epoch, index])
    {
        slot.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_part_of_the_key_matters() {
        let first = |purpose, seed, epoch, index| generator(purpose, seed, epoch, index).next_u64();
        let base = first(Purpose::Order, 1, 2, 3);
        assert_eq!(base, first(Purpose::Order, 1, 2, 3));
        for other in [
            first(Purpose::Subset, 1, 2, 3),
            first(Purpose::Order, 0, 2, 3),
            first(Purpose::Order, 1, 0, 3),
            first(Purpose::Order, 1, 2, 0),
        ] {
            assert_ne!(base, other);
        }
    }
}
