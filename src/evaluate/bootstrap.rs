//! Percentile bootstrap over the rows and columns of a table, drawn from a seed and an index.

use crate::data::random::{Purpose, generator};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How often, and from which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Decides the draws.
    pub seed: u64,
    /// How many there are.
    pub draws: usize,
}

/// A number with its 95 % interval: percentiles of bootstrap draws, of correlations and slopes moved by their bias; of shares, areas and
/// differences as `share` says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The number itself.
    pub value: f64,
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// How often each row and column was drawn.
pub(super) struct Draw {
    pub(super) rows: Vec<u32>,
    pub(super) columns: Vec<u32>,
}

impl Draw {
    /// Everything once.
    pub(super) fn whole(rows: usize, columns: usize) -> Self {
        Self {
            rows: vec![1; rows],
            columns: vec![1; columns],
        }
    }
}

impl Interval {
    /// From the draws, in any order: their percentiles, moved by the draws' bias. Drawing a pair twice makes ties, which lower a
    /// rank correlation a little in every draw and say nothing about the number itself.
    pub(super) fn of(value: f64, draws: Vec<f64>) -> Self {
        let mean = draws.iter().sum::<f64>() / draws.len().max(1) as f64;
        let bias = if draws.is_empty() { 0.0 } else { mean - value };
        let Self { low, high, .. } = Self::percentiles(value, draws);
        Self {
            value,
            low: low - bias,
            high: high - bias,
        }
    }

    /// From the draws, as they are; `value` where there are none.
    fn percentiles(value: f64, mut draws: Vec<f64>) -> Self {
        draws.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * draws.len().saturating_sub(1) as f64;
            draws.get(place.round() as usize).copied().unwrap_or(value)
        };
        Self {
            value,
            low: at(0.025),
            high: at(0.975),
        }
    }

    /// The same within what the number can be.
    pub(super) fn within(self, least: f64, most: f64) -> Self {
        Self {
            value: self.value,
            low: self.low.clamp(least, most),
            high: self.high.clamp(least, most),
        }
    }

    /// The mean of independent values, with its interval; of one value see [`Interval::over`]. The mean of the draws is that of the values
    /// but for chance, which says nothing about the ends.
    pub fn of_mean(values: &[f64], bootstrap: &Bootstrap) -> Self {
        let mean = |times: &[u32]| {
            let sum: f64 = (values.iter().zip(times))
                .map(|(value, &times)| value * f64::from(times))
                .sum();
            sum / f64::from(times.iter().sum::<u32>().max(1))
        };
        let draws = bootstrap.draws(values.len(), 0, |draw| mean(&draw.rows));
        Self::percentiles(mean(&vec![1; values.len()]), draws)
    }

    /// The interval of a mean of so many values; one alone, of which every draw is the same, has none.
    #[must_use]
    pub fn over(self, count: usize) -> Option<Self> {
        (count > 1).then_some(self)
    }
}

impl Bootstrap {
    /// `statistic` of every draw, in order.
    pub(super) fn draws<T: Send>(
        &self,
        rows: usize,
        columns: usize,
        statistic: impl Fn(&Draw) -> T + Sync,
    ) -> Vec<T> {
        let draw = |index: usize| {
            let mut random = generator(Purpose::Bootstrap, self.seed, 0, index as u64);
            let mut times = |count: usize| {
                let mut times = vec![0; count];
                (0..count).for_each(|_| times[random.random_range(0..count)] += 1);
                times
            };
            let (rows, columns) = (times(rows), times(columns));
            statistic(&Draw { rows, columns })
        };
        (0..self.draws).into_par_iter().map(draw).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_that_of_its_standard_error() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let bootstrap = Bootstrap {
            seed: 3,
            draws: 2000,
        };
        let interval = Interval::of_mean(&values, &bootstrap);
        assert_eq!(interval, Interval::of_mean(&values, &bootstrap));
        // 1.96 · 0.5 / √400
        assert!((interval.high - 0.549).abs() < 0.006 && (interval.low - 0.451).abs() < 0.006);
        assert_eq!(interval.value, 0.5);
        // Of two values a quarter of all draws are one of them twice.
        let few = Interval::of_mean(&[19.0, 21.0], &bootstrap);
        assert_eq!((few.low, few.value, few.high), (19.0, 20.0, 21.0));
        assert_eq!(few.over(2), Some(few));
        assert_eq!(Interval::of_mean(&[19.0], &bootstrap).over(1), None);
    }

    #[test]
    fn an_interval_moved_by_its_bias_stays_within_what_the_number_can_be() {
        // Ties lower every draw by 0.1.
        let moved = Interval::of(1.0, vec![0.9; 100]);
        let few = Interval::of(1.0, vec![0.898, 0.9, 0.896]);
        for interval in [moved, few] {
            let Interval { low, high, .. } = interval.within(-1.0, 1.0);
            assert!(low <= high && high <= 1.0, "{low} {high}");
        }
    }

    /// Draws whose mean is above or below the number say by how much they are moved, not where the number is.
    #[test]
    fn the_ends_are_moved_by_what_the_draws_are_off_on_the_mean() {
        let ends = |value: f64, draws: Vec<f64>| {
            let Interval { low, high, .. } = Interval::of(value, draws);
            (low, high)
        };
        assert_eq!(ends(1.0, vec![0.875; 64]), (1.0, 1.0));
        assert_eq!(ends(0.0, vec![3.0, 1.0, 2.0]), (-1.0, 1.0));
        assert_eq!(ends(0.5, vec![0.0, 0.0, 0.0, 1.0]), (0.25, 1.25));
        assert_eq!(ends(0.5, Vec::new()), (0.5, 0.5));
    }
}
