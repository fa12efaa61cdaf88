//! How well predicted numbers agree with actual ones, query by query, with bootstrap intervals.
//!
//! Of each query: Pearson's and Spearman's correlation (ties at their mean rank). A query whose predicted or actual numbers are
//! all equal has no correlation and counts as 0: an estimator that says nothing has predicted nothing. The mean over queries is
//! reported, with the 2.5 and 97.5 percentiles (less bias) of its bootstrap distribution where both queries and retrainings are
//! drawn again with replacement (Owen 2007, the pigeonhole bootstrap): queries share their retrainings and are not independent.
//!
//! The slope of predicted on actual is one for all queries, each about its own means: Σ xy / Σ yy. A mean of slopes would be that
//! of the few queries whose loss hardly moves, where a small denominator makes any slope.
//!
//! Two estimators are compared on the same draws, so that what queries and retrainings do to both cancels.

use super::bootstrap::{Bootstrap, Draw, Interval};
use crate::{Error, Result};
use ndarray::{Array2, ArrayView1, Axis};
use serde::{Deserialize, Serialize};

/// Agreement of one estimator: correlations are means over queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Pearson's correlation.
    pub pearson: Interval,
    /// Spearman's correlation: of subsets, the linear datamodeling score.
    pub spearman: Interval,
    /// Slope of predicted on actual, all queries together; 1 where sizes agree.
    pub slope: Interval,
    /// Queries behind the means.
    pub queries: usize,
    /// Retrainings behind each correlation.
    pub retrainings: usize,
    /// Spearman's correlation of each query.
    pub by_query: Vec<f64>,
    /// Spearman's mean in each bootstrap draw.
    #[serde(skip)]
    pub(super) draws: Vec<f64>,
}

/// A difference between two estimators on the same retrainings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Spearman of the first minus that of the second.
    pub spearman: Interval,
    /// Two-sided bootstrap p: twice the share of draws on the other side of 0, at least 2 / (draws + 1).
    pub p: f64,
}

impl Agreement {
    /// Of `predicted` and `actual`, both `[query, retraining]`.
    ///
    /// # Errors
    /// Shapes differ, fewer than three retrainings, or a number that is not finite.
    pub fn of(
        predicted: &Array2<f64>,
        actual: &Array2<f64>,
        bootstrap: &Bootstrap,
    ) -> Result<Self> {
        check(predicted, actual)?;
        let (queries, retrainings) = actual.dim();
        let pairs: Vec<Pairs> = (predicted.axis_iter(Axis(0)).zip(actual.axis_iter(Axis(0))))
            .map(|(predicted, actual)| Pairs::new(predicted, actual))
            .collect();
        let all = vec![1; retrainings];
        let by_query: Vec<f64> = pairs.iter().map(|pairs| pairs.spearman(&all)).collect();
        let drawn = bootstrap.draws(queries, retrainings, |draw| {
            let [pearson, spearman] =
                [Pairs::pearson, Pairs::spearman].map(|what| mean(&pairs, draw, what));
            [pearson, spearman, slope(&pairs, draw)]
        });
        let whole = Draw::whole(queries, retrainings);
        let interval = |at: usize, of: f64| {
            let values = drawn.iter().map(|draw| draw[at]).collect();
            Interval::of(of, values)
        };
        Ok(Self {
            pearson: interval(0, mean(&pairs, &whole, Pairs::pearson)).within(-1.0, 1.0),
            spearman: interval(1, mean(&pairs, &whole, Pairs::spearman)).within(-1.0, 1.0),
            slope: interval(2, slope(&pairs, &whole)),
            queries,
            retrainings,
            by_query,
            draws: drawn.iter().map(|draw| draw[1]).collect(),
        })
    }

    /// This minus `other`, measured on the same retrainings with the same bootstrap.
    pub fn minus(&self, other: &Self) -> Difference {
        let value = self.spearman.value - other.spearman.value;
        let draws: Vec<f64> = (self.draws.iter().zip(&other.draws))
            .map(|(a, b)| a - b)
            .collect();
        // About the difference, as the interval is.
        let bias = draws.iter().sum::<f64>() / draws.len().max(1) as f64 - value;
        let draws: Vec<f64> = draws.into_iter().map(|draw| draw - bias).collect();
        let share = |side: fn(&f64) -> bool| draws.iter().filter(|value| side(value)).count();
        let least = share(|&value| value <= 0.0).min(share(|&value| value >= 0.0));
        let p = 2.0 * (least + 1) as f64 / (draws.len() + 1) as f64;
        Difference {
            spearman: Interval::of(value, draws),
            p: p.min(1.0),
        }
    }
}

fn check(predicted: &Array2<f64>, actual: &Array2<f64>) -> Result<()> {
    let mismatch = |expected: String, found: String| {
        let remedy = "use scores and retrained measurements of the same run";
        Err(Error::mismatch(
            "predicted changes",
            expected,
            found,
            remedy,
        ))
    };
    if predicted.dim() != actual.dim() {
        return mismatch(
            format!("{:?}", actual.dim()),
            format!("{:?}", predicted.dim()),
        );
    }
    if actual.nrows() == 0 || actual.ncols() < 3 {
        let found = format!("{} queries, {} retrainings", actual.nrows(), actual.ncols());
        return mismatch("a query and three retrainings at least".into(), found);
    }
    match predicted
        .iter()
        .chain(actual)
        .all(|value| value.is_finite())
    {
        true => Ok(()),
        false => Err(Error::non_finite(
            "predicted or measured changes",
            "some query",
            "look for a retraining that did not converge",
        )),
    }
}

/// The mean over the queries drawn.
fn mean(pairs: &[Pairs], draw: &Draw, what: fn(&Pairs, &[u32]) -> f64) -> f64 {
    let drawn = pairs
        .iter()
        .zip(&draw.rows)
        .filter(|(_, times)| **times > 0);
    let sum: f64 = drawn
        .map(|(pairs, &times)| f64::from(times) * what(pairs, &draw.columns))
        .sum();
    sum / f64::from(draw.rows.iter().sum::<u32>())
}

/// Of predicted on actual over the queries drawn, each about its own means; 0 where nothing moves.
fn slope(pairs: &[Pairs], draw: &Draw) -> f64 {
    let (mut yy, mut xy) = (0.0, 0.0);
    for (pairs, &times) in pairs
        .iter()
        .zip(&draw.rows)
        .filter(|(_, times)| **times > 0)
    {
        let [_, own_yy, own_xy] = moments(&pairs.predicted, &pairs.actual, &draw.columns);
        yy += f64::from(times) * own_yy;
        xy += f64::from(times) * own_xy;
    }
    if yy > 0.0 { xy / yy } else { 0.0 }
}

/// One query's numbers, sorted both ways once.
pub(super) struct Pairs {
    predicted: Vec<f64>,
    actual: Vec<f64>,
    by_predicted: Vec<usize>,
    by_actual: Vec<usize>,
}

impl Pairs {
    pub(super) fn new(predicted: ArrayView1<f64>, actual: ArrayView1<f64>) -> Self {
        let (predicted, actual) = (predicted.to_vec(), actual.to_vec());
        Self {
            by_predicted: order(&predicted),
            by_actual: order(&actual),
            predicted,
            actual,
        }
    }

    /// With each pair counted so many times.
    pub(super) fn pearson(&self, times: &[u32]) -> f64 {
        correlation(&self.predicted, &self.actual, times)
    }

    pub(super) fn spearman(&self, times: &[u32]) -> f64 {
        let predicted = ranks(&self.predicted, &self.by_predicted, times);
        let actual = ranks(&self.actual, &self.by_actual, times);
        correlation(&predicted, &actual, times)
    }
}

fn order(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    order
}

/// Mean ranks, a pair counting as often as it was drawn.
fn ranks(values: &[f64], order: &[usize], times: &[u32]) -> Vec<f64> {
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0.0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let count: f64 = equal.iter().map(|&at| f64::from(times[at])).sum();
        equal
            .iter()
            .for_each(|&at| ranks[at] = before + 0.5 * (count + 1.0));
        before += count;
    }
    ranks
}

/// Sums of squares and products of x and y about their means.
fn moments(x: &[f64], y: &[f64], times: &[u32]) -> [f64; 3] {
    let count = f64::from(times.iter().sum::<u32>()).max(1.0);
    let mean = |values: &[f64]| {
        let weighted = values.iter().zip(times).map(|(v, &t)| v * f64::from(t));
        weighted.sum::<f64>() / count
    };
    let (mean_x, mean_y) = (mean(x), mean(y));
    let mut sums = [0.0; 3];
    for ((x, y), &times) in x.iter().zip(y).zip(times) {
        let (dx, dy, times) = (x - mean_x, y - mean_y, f64::from(times));
        sums[0] += times * dx * dx;
        sums[1] += times * dy * dy;
        sums[2] += times * dx * dy;
    }
    sums
}

fn correlation(x: &[f64], y: &[f64], times: &[u32]) -> f64 {
    let [xx, yy, xy] = moments(x, y, times);
    // Scaled one by one: the product of two tiny variances may vanish.
    let scale = xx.sqrt() * yy.sqrt();
    if scale > 0.0 && scale.is_finite() {
        (xy / scale).clamp(-1.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn ties_weights_and_constants() {
        let pairs = Pairs::new(
            array![1.0, 2.0, 2.0, 5.0].view(),
            array![0.0, 1.0, 3.0, 2.0].view(),
        );
        let once = [1, 1, 1, 1];
        // Ranks 1, 2.5, 2.5, 4 and 1, 2, 4, 3.
        assert!((pairs.spearman(&once) - 3.0 / (4.5f64 * 5.0).sqrt()).abs() < 1e-15);
        let alone = slope(std::slice::from_ref(&pairs), &Draw::whole(1, 4));
        assert!((alone - 3.0 / 5.0).abs() < 1e-15);
        // Drawing a pair twice is having it twice.
        let twice = Pairs::new(
            array![1.0, 2.0, 5.0, 5.0].view(),
            array![0.0, 1.0, 2.0, 2.0].view(),
        );
        let drawn = [1, 1, 0, 2];
        assert!((pairs.spearman(&drawn) - twice.spearman(&once)).abs() < 1e-15);
        assert!((pairs.pearson(&drawn) - twice.pearson(&once)).abs() < 1e-15);
        let constant = Pairs::new(array![1.0, 1.0, 1.0].view(), array![0.0, 1.0, 3.0].view());
        assert_eq!(constant.spearman(&[1, 1, 1]), 0.0);
    }

    /// Two queries with slope 1, and one that hardly moves, with any.
    #[test]
    fn a_query_that_hardly_moves_has_no_part_in_the_slope() {
        let actual = array![[0.0, 1.0, 3.0], [5.0, 2.0, 1.0], [1.0, 1.0 + 1e-9, 1.0]];
        let mut predicted = actual.clone();
        predicted[[2, 1]] = 1.1;
        let bootstrap = Bootstrap { seed: 0, draws: 50 };
        let slope = Agreement::of(&predicted, &actual, &bootstrap)
            .unwrap()
            .slope;
        assert!((slope.value - 1.0).abs() < 1e-6, "{slope:?}");
    }

    #[test]
    fn an_estimator_is_as_good_as_itself_and_better_than_noise() {
        let actual = Array2::from_shape_fn((6, 40), |(query, j)| {
            ((query * 40 + j) as f64 * 12.9898).sin()
        });
        let good = &actual * 2.0
            + &Array2::from_shape_fn((6, 40), |(query, j)| {
                ((query * 40 + j) as f64 * 78.233).cos()
            });
        let noise = Array2::from_shape_fn((6, 40), |(query, j)| {
            ((query + 7 * j) as f64 * 4.1414).cos()
        });
        let bootstrap = Bootstrap {
            seed: 0,
            draws: 400,
        };
        let of = |predicted: &Array2<f64>| Agreement::of(predicted, &actual, &bootstrap).unwrap();
        let (good, noise) = (of(&good), of(&noise));
        assert!(
            good.spearman.low > 0.6 && good.spearman.high < 1.0,
            "{good:?}"
        );
        assert!(
            noise.spearman.low < 0.0 && noise.spearman.high > 0.0,
            "{noise:?}"
        );
        let difference = good.minus(&noise);
        assert!(
            difference.p < 0.01 && difference.spearman.low > 0.3,
            "{difference:?}"
        );
        let none = good.minus(&good);
        assert!(none.p == 1.0 && none.spearman.value == 0.0, "{none:?}");
        assert!(of(&actual).pearson.low > 1.0 - 1e-12);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let bootstrap = Bootstrap { seed: 0, draws: 10 };
        let refused = |predicted: Array2<f64>, actual: Array2<f64>| {
            Agreement::of(&predicted, &actual, &bootstrap)
                .unwrap_err()
                .to_string()
        };
        let message = refused(Array2::zeros((2, 4)), Array2::zeros((2, 5)));
        assert!(message.contains("(2, 5)"), "{message}");
        let message = refused(Array2::zeros((1, 2)), Array2::zeros((1, 2)));
        assert!(message.contains("three retrainings"), "{message}");
        let message = refused(Array2::from_elem((1, 3), f64::NAN), Array2::zeros((1, 3)));
        assert!(message.contains("not a finite number"), "{message}");
    }
}
