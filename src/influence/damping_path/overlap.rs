//! How alike two rankings are at the top: the Jaccard index of their sets, and rank-biased overlap.
//!
//! Rank-biased overlap of Webber, Moffat & Zobel (2010), p = 0.9, cut at the depth k of the lists and divided by what
//! equal lists have there (1 − p^k of the infinite sum), so that it is 1 for equal lists and 0 for disjoint ones:
//!
//! RBO = Σ_{d=1}^{k} p^{d−1} |A_{1..d} ∩ B_{1..d}| / d  /  Σ_{d=1}^{k} p^{d−1}.

use std::collections::HashSet;

/// p: the weight of rank d is p^(d−1), so that the first ten ranks have two thirds of all weight.
pub const PERSISTENCE: f64 = 0.9;

/// |A ∩ B| / |A ∪ B| of two lists without repetitions; 1 where both are empty.
#[must_use]
pub fn jaccard(left: &[usize], right: &[usize]) -> f64 {
    let set: HashSet<usize> = left.iter().copied().collect();
    let shared = right.iter().filter(|id| set.contains(id)).count();
    match left.len() + right.len() - shared {
        0 => 1.0,
        union => shared as f64 / union as f64,
    }
}

/// Rank-biased overlap of two lists without repetitions, to the depth of the shorter; 1 where that is 0.
#[must_use]
pub fn rank_biased_overlap(left: &[usize], right: &[usize]) -> f64 {
    let (mut seen_left, mut seen_right) = (HashSet::new(), HashSet::new());
    let (mut shared, mut sum, mut weights, mut weight) = (0usize, 0.0, 0.0, 1.0);
    for (depth, (&a, &b)) in (1..).zip(left.iter().zip(right)) {
        seen_left.insert(a);
        seen_right.insert(b);
        shared += usize::from(seen_right.contains(&a));
        shared += usize::from(a != b && seen_left.contains(&b));
        sum += weight * shared as f64 / f64::from(depth);
        weights += weight;
        weight *= PERSISTENCE;
    }
    if weights == 0.0 { 1.0 } else { sum / weights }
}

/// The mean, `None` of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| {
        (sum + value, count + 1)
    });
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_by_hand() {
        assert_eq!(jaccard(&[1, 2, 3], &[3, 2, 4]), 0.5);
        assert_eq!(jaccard(&[1, 2], &[2, 1]), 1.0);
        assert_eq!((jaccard(&[1], &[2]), jaccard(&[], &[])), (0.0, 1.0));
        // Depths 1, 2, 3 share 0, 1 and 2 images: (0 + 0.9 · 1/2 + 0.81 · 2/3) / (1 + 0.9 + 0.81).
        let by_hand = (0.45 + 0.54) / 2.71;
        assert!((rank_biased_overlap(&[1, 2, 3], &[3, 2, 4]) - by_hand).abs() < 1e-15);
        // Swapped: (0 + 0.9) / 1.9.
        assert!((rank_biased_overlap(&[1, 2], &[2, 1]) - 0.9 / 1.9).abs() < 1e-15);
        assert_eq!(rank_biased_overlap(&[5, 6, 7], &[5, 6, 7]), 1.0);
        assert_eq!(rank_biased_overlap(&[1, 2], &[3, 4]), 0.0);
        assert_eq!(rank_biased_overlap(&[], &[]), 1.0);
    }
}
