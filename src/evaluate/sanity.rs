//! Checks that a ranking passes if it has to do with the model at all.
//!
//! - Randomisation: with shuffled labels, or at a head drawn at random, another ranking must come out (Adebayo et al. 2018, Hanawa
//!   et al. 2021). A correlation near 1 with the run's ranking means that the model plays no part in it.
//! - Duplicates: a query that is also a training image must be among its own most helpful images.
//! - Subset classes: a head that was only told groups of classes should still find help in the query's own class.

use super::agreement::Pairs;
use super::bootstrap::Interval;
use crate::descending::descending;
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Mean Spearman correlation between two rankings of the training images, over queries. Where the other is of one shuffle or one head
/// that was drawn, the queries do not say how far another draw would be from it: it has no interval.
pub fn same_ranking(one: &Array2<f64>, other: &Array2<f64>) -> f64 {
    let rows = one.axis_iter(Axis(0)).zip(other.axis_iter(Axis(0)));
    let once = vec![1; one.ncols()];
    let correlations = rows.map(|(one, other)| Pairs::new(one, other).spearman(&once));
    correlations.sum::<f64>() / one.nrows().max(1) as f64
}

/// Where each query's own copy is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Copies {
    /// Share of copies that are the most helpful image.
    pub first: Interval,
    /// Share of copies among the ten most helpful.
    pub first_ten: Interval,
    /// Mean of 1/rank.
    pub reciprocal_rank: Interval,
    /// Queries that were copied.
    pub copies: usize,
}

impl Copies {
    /// From scores `[query, train]` where the copy of query q is the training image at `originals` + q.
    pub fn of(scores: &Array2<f64>, originals: usize) -> Self {
        // Of a copy whose score others share, all the ranks that are theirs: a number that all images have finds no copy.
        let ranks: Vec<RangeInclusive<usize>> = (scores.rows().into_iter().enumerate())
            .map(|(query, row)| {
                let own = row[originals + query];
                let count = |which: &dyn Fn(f64) -> bool| row.iter().filter(|&&s| which(s)).count();
                let above = count(&|score| score > own);
                above + 1..=above + count(&|score| score == own)
            })
            .collect();
        let mean = |value: &dyn Fn(usize) -> f64| {
            let expected = |ranks: &RangeInclusive<usize>| {
                ranks.clone().map(value).sum::<f64>() / ranks.clone().count() as f64
            };
            Interval::of_shares(&ranks.iter().map(expected).collect::<Vec<_>>())
        };
        Self {
            first: mean(&|rank| f64::from(u8::from(rank == 1))),
            first_ten: mean(&|rank| f64::from(u8::from(rank <= 10))),
            reciprocal_rank: mean(&|rank| 1.0 / rank as f64),
            copies: ranks.len(),
        }
    }
}

/// How often the most helpful images are of the query's class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OwnClass {
    /// Share of queries whose most helpful image is.
    pub first: Interval,
    /// Share of the ten most helpful that are.
    pub first_ten: Interval,
    /// Share of queries whose hundredth most helpful image is; nothing with fewer images.
    pub hundredth: Option<Interval>,
    /// Queries.
    pub queries: usize,
}

impl OwnClass {
    /// From scores `[query, train]` and the classes that the head was not told. At a rank that images of one score share, the share
    /// of these that are of the class: their order in the training set says nothing.
    pub fn of(scores: &Array2<f64>, queries: &[usize], train: &[usize]) -> Self {
        let matches: Vec<Vec<f64>> = (scores.rows().into_iter().zip(queries))
            .map(|(row, class)| {
                let order = descending(&row.to_vec());
                let alike = order.chunk_by(|&one, &next| row[one] == row[next]);
                let share = |images: &[usize]| {
                    let own = images.iter().filter(|&&at| train[at] == *class).count();
                    std::iter::repeat_n(own as f64 / images.len() as f64, images.len())
                };
                alike.flat_map(share).take(100).collect()
            })
            .collect();
        let first: Vec<f64> = matches.iter().map(|found| found[0]).collect();
        let ten: Vec<f64> = (matches.iter())
            .map(|found| found.iter().take(10).sum::<f64>() / found.len().min(10) as f64)
            .collect();
        let hundredth: Option<Vec<f64>> = (matches.iter())
            .map(|found| found.get(99).copied())
            .collect();
        Self {
            first: Interval::of_shares(&first),
            first_ten: Interval::of_shares(&ten),
            hundredth: hundredth.map(|values| Interval::of_shares(&values)),
            queries: queries.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn ranks_of_copies_and_classes() {
        let scores = array![[0.5, 0.1, 0.9, 0.0], [0.3, 0.2, 0.0, 0.2]];
        let copies = Copies::of(&scores, 2);
        assert_eq!((copies.first.value, copies.first_ten.value), (0.5, 1.0));
        // The second copy shares ranks 2 and 3.
        let expected = (1.0 + (1.0 / 2.0 + 1.0 / 3.0) / 2.0) / 2.0;
        assert!((copies.reciprocal_rank.value - expected).abs() < 1e-15);
        let blind = Copies::of(&Array2::ones((2, 20)), 18);
        assert!((blind.first.value - 0.05).abs() < 1e-15);
        assert!((blind.first_ten.value - 0.5).abs() < 1e-15);
        let own = OwnClass::of(&scores, &[1, 0], &[0, 1, 1, 0]);
        assert_eq!((own.first.value, own.first_ten.value), (1.0, 0.5));
        // Whatever order equal images come in.
        let (equal, queries) = (array![[1.0, 1.0, 1.0, 0.0, 1.0]], [7]);
        for train in [[7, 7, 7, 0, 0], [0, 7, 7, 0, 7]] {
            let own = OwnClass::of(&equal, &queries, &train);
            assert_eq!((own.first.value, own.first_ten.value), (0.75, 0.6));
        }
        let same = |other: &Array2<f64>| same_ranking(&scores, other);
        assert!((same(&scores) - 1.0).abs() < 1e-12);
        assert!((same(&-&scores) + 1.0).abs() < 1e-12);
    }
}
