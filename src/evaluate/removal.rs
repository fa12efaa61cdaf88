//! Removal and support: the query's loss when the k images that help it most are taken away, or are all that is left.
//!
//! For every method and query its own k most helpful images leave the training set (the others keep their weight), and the head is
//! fitted again; a good ranking makes the loss rise steeply and the prediction flip early (brittleness). Support is the
//! other end: trained on these k images alone (their mean loss), a good ranking keeps the prediction with few.

use super::bootstrap::{Bootstrap, Interval};
use super::heads::Kept;
use super::refit::Refit;
use super::subsets::{Draw, shuffled};
use crate::descending::descending;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

/// Whether images are taken away or kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The most helpful are taken away.
    Removal,
    /// The most helpful are all that is left.
    Support,
}

/// One method's curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovalCurve {
    /// The method's name.
    pub method: String,
    /// What is done with the images it ranks first.
    pub side: Side,
    /// Queries behind every point, each retrained for at every point.
    pub queries: usize,
    /// By number of images.
    pub points: Vec<RemovalPoint>,
    /// Of queries predicted right by the full model: the share of which some number of removals in the list flips the prediction.
    pub flipped: Option<Interval>,
    /// The smallest number in the list that does, the median over these queries (of an even number the lower one); nothing where most never
    /// flip.
    pub median_flip: Option<usize>,
}

/// Means over queries at one number of images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RemovalPoint {
    /// k
    pub images: usize,
    /// Rise of the query's loss over that of the full model, in nats.
    pub rise: Interval,
    /// Share of queries predicted right.
    pub correct: Interval,
}

/// What is retrained for: every method, side, query and number, in this order.
pub struct RemovalPlan<'a> {
    /// Names and scores `[query, train]`.
    pub methods: Vec<(&'a str, &'a Array2<f64>)>,
    /// Numbers of images, rising.
    pub counts: Vec<usize>,
}

const SIDES: [Side; 2] = [Side::Removal, Side::Support];

/// A ranking that knows nothing, `[query, train]`.
pub fn random_scores(queries: usize, train: usize, seed: u64) -> Array2<f64> {
    let mut scores = Array2::zeros((queries, train));
    for query in 0..queries {
        let order = shuffled(train, Draw::Removal, seed, query as u64);
        (order.iter().enumerate()).for_each(|(rank, &at)| scores[[query, at]] = -(rank as f64));
    }
    scores
}

/// About eight numbers from 1 to a fifth of the training images.
pub fn usual_counts(train: usize) -> Vec<usize> {
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
    let counts: Vec<usize> = (steps.into_iter())
        .filter(|&count| count * 5 <= train)
        .collect();
    if counts.is_empty() { vec![1] } else { counts }
}

impl RemovalPlan<'_> {
    /// Everything that is to be retrained.
    pub fn kept(&self) -> Vec<Kept> {
        let mut kept = Vec::new();
        for (_, scores) in &self.methods {
            let train = scores.ncols();
            let orders: Vec<Vec<usize>> = (scores.rows().into_iter())
                .map(|row| descending(&row.to_vec()))
                .collect();
            for side in SIDES {
                for order in &orders {
                    kept.extend(self.counts.iter().map(|&count| match side {
                        Side::Removal => Kept::without(train, &order[..count]),
                        Side::Support => Kept::subset(train, &order[..count]),
                    }));
                }
            }
        }
        kept
    }

    /// The curves, from the refits of [`RemovalPlan::kept`] in order and the full model's measurements.
    pub fn curves(
        &self,
        refits: &[Refit],
        full: &Refit,
        bootstrap: &Bootstrap,
    ) -> Vec<RemovalCurve> {
        let queries = full.losses.len();
        let mut curves = Vec::new();
        let mut refits = refits.chunks_exact(self.counts.len());
        for (method, _) in &self.methods {
            for side in SIDES {
                let rows: Vec<&[Refit]> = refits.by_ref().take(queries).collect();
                curves.push(self.curve(method, side, &rows, full, bootstrap));
            }
        }
        curves
    }

    fn curve(
        &self,
        method: &str,
        side: Side,
        rows: &[&[Refit]],
        full: &Refit,
        bootstrap: &Bootstrap,
    ) -> RemovalCurve {
        let point = |(place, &images): (usize, &usize)| {
            let rises: Vec<f64> = (rows.iter().enumerate())
                .map(|(query, row)| row[place].losses[query] - full.losses[query])
                .collect();
            let correct: Vec<f64> = (rows.iter().enumerate())
                .map(|(query, row)| f64::from(u8::from(row[place].hits[query])))
                .collect();
            RemovalPoint {
                images,
                rise: Interval::of_mean(&rises, bootstrap),
                correct: Interval::of_shares(&correct),
            }
        };
        let flips: Vec<Option<usize>> = (rows.iter().enumerate())
            .filter(|(query, _)| full.hits[*query])
            .map(|(query, row)| row.iter().position(|refit| !refit.hits[query]))
            .collect();
        let brittle = side == Side::Removal && !flips.is_empty();
        let share: Vec<f64> = flips
            .iter()
            .map(|flip| f64::from(u8::from(flip.is_some())))
            .collect();
        let mut places: Vec<usize> = flips
            .iter()
            .map(|flip| flip.unwrap_or(usize::MAX))
            .collect();
        places.sort_unstable();
        let median = places
            .get(places.len().saturating_sub(1) / 2)
            .filter(|_| brittle);
        RemovalCurve {
            method: method.to_owned(),
            side,
            queries: rows.len(),
            points: self.counts.iter().enumerate().map(point).collect(),
            flipped: brittle.then(|| Interval::of_shares(&share)),
            median_flip: median.and_then(|&place| self.counts.get(place)).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn curves_say_what_the_refits_say() {
        let scores = array![[3.0, 1.0, 2.0, 0.0, -1.0], [0.0, 0.1, 0.2, 0.3, 0.4]];
        let plan = RemovalPlan {
            methods: vec![("run", &scores)],
            counts: vec![1, 2],
        };
        let kept = plan.kept();
        assert_eq!(kept.len(), 8);
        assert_eq!((kept[1].left_out(), kept[1].divisor), (vec![0, 2], 5));
        assert_eq!(kept[3].left_out(), [3, 4]);
        assert_eq!((kept[5].left_out(), kept[5].divisor), (vec![1, 3, 4], 2));
        let refit = |losses: [f64; 2], hits: [bool; 2]| Refit {
            losses: losses.to_vec(),
            predictions: Vec::new(),
            hits: hits.to_vec(),
            gradient_norm: 0.0,
            converged: true,
            steps: 1,
        };
        let full = refit([1.0, 2.0], [true, true]);
        let mut refits = vec![
            refit([1.5, 9.0], [true, false]),
            refit([2.0, 9.0], [false, false]),
            refit([9.0, 2.5], [false, true]),
            refit([9.0, 4.0], [false, true]),
        ];
        refits.extend(vec![full.clone(); 4]);
        let curves = plan.curves(&refits, &full, &Bootstrap { seed: 0, draws: 50 });
        let removal = &curves[0];
        assert_eq!((removal.side, removal.queries), (Side::Removal, 2));
        assert_eq!(
            removal
                .points
                .iter()
                .map(|p| p.rise.value)
                .collect::<Vec<_>>(),
            [0.5, 1.5]
        );
        assert_eq!(removal.points[1].correct.value, 0.5);
        assert_eq!(removal.flipped.unwrap().value, 0.5);
        // The second query never flips; half of them have after two images.
        assert_eq!(removal.median_flip, Some(2));
        assert_eq!(curves[1].points[0].rise.value, 0.0);
        assert_eq!(usual_counts(3200).last(), Some(&500));
        assert_eq!(usual_counts(3), [1]);
    }
}
