//! A linear axis with ticks where the figure wants them.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::ops::Range;

/// A linear axis for plotters' charts; grid lines and labels stand at the ticks alone.
pub(super) struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
}

impl Axis {
    /// Percentages, with a tick every 20.
    pub(super) fn percent() -> Self {
        let ticks = (0..=5).map(|fifth| f64::from(20 * fifth)).collect();
        Self {
            range: 0.0..100.0,
            ticks,
        }
    }

    /// Shares from 0 to 1, with a tick every 0.2.
    pub(super) fn shares() -> Self {
        let ticks = (0..=5).map(|fifth| f64::from(fifth) / 5.0).collect();
        Self {
            range: 0.0..1.0,
            ticks,
        }
    }

    /// Numbers from `low` to `high` with a little room, about five ticks at round numbers.
    pub(super) fn numbers(low: f64, high: f64) -> Self {
        Self::with_steps(low, high, 0.0)
    }

    /// The same for whole numbers, with ticks at whole ones alone.
    pub(super) fn whole_numbers(low: f64, high: f64) -> Self {
        Self::with_steps(low, high, 1.0)
    }

    /// Ticks are at least `least` apart.
    fn with_steps(low: f64, high: f64, least: f64) -> Self {
        // Around a single number as much room as it is large.
        let (low, high) = match high - low {
            span if span > 0.0 => (low, high),
            _ if low == 0.0 => (-0.5, 0.5),
            _ => (low - 0.5 * low.abs(), low + 0.5 * low.abs()),
        };
        let span = high - low;
        let range = low - 0.04 * span..high + 0.04 * span;
        let coarse = 10f64.powf((span / 5.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * coarse);
        let step = steps
            .into_iter()
            .find(|step| span / step <= 6.0)
            .unwrap_or(10.0 * coarse)
            .max(least);
        let (first, last) = (
            (range.start / step).ceil() as i64,
            (range.end / step).floor() as i64,
        );
        let ticks = (first..=last).map(|tick| tick as f64 * step).collect();
        Self { range, ticks }
    }

    /// log₁₀ of positive numbers, with ticks at whole decades, about `most` at most; at least one decade long.
    pub(super) fn decades(low: f64, high: f64, most: i32) -> Self {
        let (low, high) = (low.log10(), high.log10());
        let room = (0.5 * (1.0 - (high - low))).max(0.03 * (high - low));
        let range = low - room..high + room;
        let (first, last) = (range.start.ceil() as i32, range.end.floor() as i32);
        let step = (last - first) / most.max(1) + 1;
        let ticks = (first..=last).filter(|decade| decade % step == 0);
        let ticks = ticks.map(f64::from).collect();
        Self { range, ticks }
    }

    /// Ticks at these places, which ascend, as far as they do not crowd: `least` is the share of the axis that a label takes.
    pub(super) fn places(places: &[f64], least: f64) -> Self {
        let (low, high) = match places {
            [] => (0.0, 1.0),
            [only] => (only - 0.5, only + 0.5),
            [first, .., last] => (*first, *last),
        };
        let room = 0.05 * (high - low);
        let mut ticks: Vec<f64> = Vec::new();
        for &place in places {
            let clear = |last: &f64| place - last >= least * (high - low);
            if ticks.last().is_none_or(clear) {
                ticks.push(place);
            }
        }
        Self {
            range: low - room..high + room,
            ticks,
        }
    }

    /// Ranks from 1, with ticks at 1 and at the multiples of a round step, about five of them.
    pub(super) fn ranks(last: usize) -> Self {
        let step = [1, 2, 5, 10, 20]
            .into_iter()
            .find(|step| last / step <= 5)
            .unwrap_or(last / 5);
        let multiples = (1..=last / step)
            .map(|count| count * step)
            .filter(|&rank| rank > 1);
        let ticks = std::iter::once(1)
            .chain(multiples)
            .map(|rank| rank as f64)
            .collect();
        // A little room at both ends, so that the first and last ranks stand clear of the frame.
        let last = last.max(2) as f64;
        let room = 0.02 * (last - 1.0);
        let range = 1.0 - room..last + room;
        Self { range, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        start + (share * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_meet_the_limits_and_ticks_are_few_and_inside() {
        let axis = Axis::percent();
        assert_eq!(
            [0.0, 50.0, 100.0].map(|percent| axis.map(&percent, (500, 100))),
            [500, 300, 100]
        );
        assert_eq!(Axis::ranks(100).ticks, [1.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Axis::ranks(7).ticks, [1.0, 2.0, 4.0, 6.0]);
        assert_eq!(
            Axis::decades(1e-6, 1.0, 8).ticks,
            [-6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0]
        );
        for (low, high) in [(2e-3, 3e-3), (0.5, 0.5), (1e-30, 1e30), (9e-7, 0.9)] {
            let Axis { range, ticks } = Axis::decades(low, high, 8);
            assert!(range.end - range.start >= 1.0 - 1e-12 && (1..=9).contains(&ticks.len()));
            assert!(ticks.iter().all(|tick| range.contains(tick)), "{ticks:?}");
        }
        for (low, high) in [
            (0.0, 1.0),
            (-3e-7, 2e-5),
            (-1234.5, 77.0),
            (2.0, 2.0),
            (0.0, 0.0),
        ] {
            let Axis { range, ticks } = Axis::numbers(low, high);
            assert!(
                range.start < range.end && (2..=9).contains(&ticks.len()),
                "{low} {high} {ticks:?}"
            );
            assert!(ticks.iter().all(|tick| range.contains(tick)), "{ticks:?}");
        }
        assert_eq!(Axis::whole_numbers(1.0, 3.0).ticks, [1.0, 2.0, 3.0]);
        assert_eq!(Axis::whole_numbers(1.0, 150.0).ticks[1..3], [50.0, 100.0]);
        assert_eq!(Axis::places(&[1.0, 1.1, 2.0], 0.2).ticks, [1.0, 2.0]);
        assert_eq!(Axis::places(&[3.0], 0.2).range, 2.45..3.55);
        for last in 1..1000 {
            let Axis { range, ticks } = Axis::ranks(last);
            assert!(ticks.len() <= 7 && range.start < range.end);
            assert!(ticks.iter().all(|tick| (1.0..=last as f64).contains(tick)));
        }
    }
}
