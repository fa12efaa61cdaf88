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
        for last in 1..1000 {
            let Axis { range, ticks } = Axis::ranks(last);
            assert!(ticks.len() <= 7 && range.start < range.end);
            assert!(ticks.iter().all(|tick| (1.0..=last as f64).contains(tick)));
        }
    }
}
