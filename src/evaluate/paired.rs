//! Two models' rankings of the same queries, held against each other query by query.
//!
//! | number | of a query |
//! |---|---|
//! | difference in class match, first rank | whether the first image has the query's class: 1 or 0, the second model's less the first's |
//! | difference in class match, first ranks | the share of the first k images that have it, likewise |
//! | shared | the share of the first k images that both models have there |
//! | rank-biased overlap | of the first k ([`rank_biased_overlap`]) |
//!
//! Each is the mean over the queries, with a 95 % interval over queries taken as independent: of the differences that of Bonett & Price
//! ([`Interval::of_differences`]), of the others by percentile bootstrap. What two models have in common, hard queries above all, is not in
//! their difference on the same queries: its interval says more than two bands beside each other.

use super::{Bootstrap, Interval};
use crate::influence::{QueryRanking, rank_biased_overlap};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// k, or as many ranks as both have.
const RANKS: usize = 10;
/// Draws behind an interval.
const BOOTSTRAP: Bootstrap = Bootstrap {
    seed: 0,
    draws: 2000,
};

/// How a second model's rankings differ from a first's on the same queries; all but the counts between −1 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PairedRankings {
    /// Queries of both.
    pub query_count: usize,
    /// Ranks that are compared, k.
    pub ranks: usize,
    /// Class match at the first rank: the second model's less the first's.
    pub first_match: Interval,
    /// Class match over the first k ranks: the second model's less the first's.
    pub ranks_match: Interval,
    /// The share of the first k images that are among them by both; none where the models rank other images.
    pub shared: Option<Interval>,
    /// Rank-biased overlap of the first k; likewise.
    pub rank_biased_overlap: Option<Interval>,
}

/// The first images of a query: ids, and whether each has its class.
type Ranks<'a> = &'a [(usize, bool)];

/// What is compared of two rankings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairing {
    /// Whether both rank the same training images.
    pub same_images: bool,
    /// Whether queries are training images, each of which is passed over in its own ranking.
    pub without_itself: bool,
}

impl PairedRankings {
    /// Of queries with the same id and label; `None` where there are none, or no rank.
    #[must_use]
    pub fn of(first: &[QueryRanking], second: &[QueryRanking], pairing: Pairing) -> Option<Self> {
        let by_query: HashMap<_, _> = (first.iter())
            .map(|ranking| ((ranking.query, ranking.query_label), ranking))
            .collect();
        let pairs: Vec<[Vec<(usize, bool)>; 2]> = (second.iter())
            .filter_map(|other| Some((*by_query.get(&(other.query, other.query_label))?, other)))
            .map(|(one, other)| [one, other].map(|ranking| images(ranking, pairing)))
            .collect();
        let lengths = pairs.iter().flatten().map(Vec::len);
        let ranks = lengths.min()?.min(RANKS);
        if ranks == 0 {
            return None;
        }
        let values = |of_pair: &dyn Fn([Ranks; 2]) -> f64| -> Vec<f64> {
            let first_ranks = |pair: &[Vec<_>; 2]| of_pair([&pair[0][..ranks], &pair[1][..ranks]]);
            pairs.iter().map(first_ranks).collect()
        };
        let mean = |of_pair: &_| Interval::of_mean(&values(of_pair), &BOOTSTRAP);
        let difference = |of_pair: &_| Interval::of_differences(&values(of_pair));
        let same = pairing.same_images;
        Some(Self {
            query_count: pairs.len(),
            ranks,
            first_match: difference(&|[one, other]| matches(&other[..1]) - matches(&one[..1])),
            ranks_match: difference(&|[one, other]| matches(other) - matches(one)),
            shared: same.then(|| mean(&shared)),
            rank_biased_overlap: same.then(|| {
                mean(&|pair| {
                    let [one, other] = pair.map(ids);
                    rank_biased_overlap(&one, &other)
                })
            }),
        })
    }
}

/// Most helpful first: ids, and whether each has the query's class.
fn images(ranking: &QueryRanking, pairing: Pairing) -> Vec<(usize, bool)> {
    let passed_over = pairing.without_itself.then_some(ranking.query);
    let ranked = ranking.helpful.iter();
    let ranked = ranked.filter(|image| Some(image.train) != passed_over);
    ranked
        .map(|image| (image.train, image.train_label == ranking.query_label))
        .collect()
}

/// The share of images that match.
fn matches(images: &[(usize, bool)]) -> f64 {
    images.iter().filter(|(_, matches)| *matches).count() as f64 / images.len() as f64
}

/// The share of images that are among the others.
fn shared([one, other]: [&[(usize, bool)]; 2]) -> f64 {
    let other = ids(other);
    let both = one.iter().filter(|(id, _)| other.contains(id));
    both.count() as f64 / one.len() as f64
}

fn ids(images: &[(usize, bool)]) -> Vec<usize> {
    images.iter().map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::influence::RankedImage;

    const ALL: Pairing = Pairing {
        same_images: true,
        without_itself: false,
    };

    /// A query whose training images have the class id % 2.
    fn ranking(query: usize, query_label: usize, images: &[usize]) -> QueryRanking {
        let helpful = images.iter().map(|&train| RankedImage {
            train,
            train_label: train % 2,
            score: 1.0,
            certificate: None,
        });
        QueryRanking {
            query,
            query_label,
            query_prediction: 0,
            helpful: helpful.collect(),
            harmful: Vec::new(),
        }
    }

    #[test]
    fn differences_by_hand() {
        let first = [
            ranking(5, 1, &[1, 2, 4]),
            ranking(6, 0, &[1, 2, 4]),
            ranking(7, 0, &[2, 4, 6]),
        ];
        // In another order; 8 is no query of the first, and 7 has another label there.
        let second = [
            ranking(8, 0, &[2, 4, 6]),
            ranking(6, 0, &[2, 1, 8]),
            ranking(5, 1, &[2, 1, 3]),
            ranking(7, 1, &[1, 3, 5]),
        ];
        let found = PairedRankings::of(&first, &second, ALL).unwrap();
        assert_eq!((found.query_count, found.ranks), (2, 3));
        // 6: 1 − 0 at rank 1, 2/3 − 2/3 in all; 5: 0 − 1 and 2/3 − 1/3.
        assert_eq!(found.first_match.value, 0.0);
        assert!((found.ranks_match.value - 1.0 / 6.0).abs() < 1e-15);
        assert!(found.first_match.low < -0.5 && found.first_match.high > 0.5);
        // 6 shares 1 and 2, and so does 5; agreements by depth 0, 1, 2/3.
        assert!((found.shared.unwrap().value - 2.0 / 3.0).abs() < 1e-15);
        let overlap = (0.9 + 0.81 * 2.0 / 3.0) / 2.71;
        assert!((found.rank_biased_overlap.unwrap().value - overlap).abs() < 1e-15);
        let turned = PairedRankings::of(&second, &first, ALL).unwrap();
        assert!((turned.ranks_match.value + 1.0 / 6.0).abs() < 1e-15);
    }

    #[test]
    fn a_training_image_is_passed_over_in_its_own_ranking() {
        let first = [ranking(2, 0, &[2, 1, 4])];
        let second = [ranking(2, 0, &[4, 2, 1])];
        let without = Pairing {
            without_itself: true,
            ..ALL
        };
        let found = PairedRankings::of(&first, &second, without).unwrap();
        assert_eq!((found.ranks, found.first_match.value), (2, 1.0));
        let found = PairedRankings::of(&first, &second, ALL).unwrap();
        assert_eq!((found.ranks, found.first_match.value), (3, 0.0));
    }

    #[test]
    fn what_has_nothing_in_common_has_no_difference() {
        let one = [ranking(5, 1, &[1, 2])];
        let empty = [ranking(5, 1, &[])];
        assert!(PairedRankings::of(&one, &[ranking(6, 1, &[1])], ALL).is_none());
        assert!(PairedRankings::of(&one, &empty, ALL).is_none());
        assert!(PairedRankings::of(&[], &[], ALL).is_none());
        let others = Pairing {
            same_images: false,
            ..ALL
        };
        let found = PairedRankings::of(&one, &one, others).unwrap();
        assert_eq!((found.shared, found.rank_biased_overlap), (None, None));
    }

    /// Of 400 queries 100 more match by the second model, whatever the others do: the interval is that of a mean of so many.
    #[test]
    fn the_interval_is_that_of_the_differences() {
        let rankings = |matched: &dyn Fn(usize) -> bool| -> Vec<QueryRanking> {
            let image = |query: usize| if matched(query) { 2 } else { 1 };
            (0..400)
                .map(|query| ranking(query, 0, &[image(query)]))
                .collect()
        };
        let first = rankings(&|query| query < 200);
        let second = rankings(&|query| query < 300);
        let found = PairedRankings::of(&first, &second, ALL)
            .unwrap()
            .first_match;
        let half = 1.96 * (0.25f64 * 0.75 / 400.0).sqrt();
        assert_eq!(found.value, 0.25);
        assert!(
            (found.low - (0.25 - half)).abs() < 0.01 && (found.high - (0.25 + half)).abs() < 0.01
        );
    }
}
