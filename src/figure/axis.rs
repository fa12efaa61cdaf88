//! A linear axis with ticks where the figure wants them.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use std::ops::Range;

/// A linear axis for plotters' charts; grid lines and labels stand at the ticks alone.
pub(super) struct Axis {
    range: Range<f64>,
    ticks: Vec<f64>,
    /// Between ticks at multiples of it.
    step: Option<f64>,
}

impl Axis {
    /// Percentages, with a tick every 20.
    pub(super) fn percent() -> Self {
        let ticks = (0..=5).map(|fifth| f64::from(20 * fifth)).collect();
        Self {
            range: 0.0..100.0,
            ticks,
            step: Some(20.0),
        }
    }

    /// Shares from 0 to 1, with a tick every 0.2.
    pub(super) fn shares() -> Self {
        let ticks = (0..=5).map(|fifth| f64::from(fifth) / 5.0).collect();
        Self {
            range: 0.0..1.0,
            ticks,
            step: Some(0.2),
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
        Self {
            range,
            ticks,
            step: Some(step),
        }
    }

    /// What the number at a tick looks like: as many digits as tell it from the next one, and no more.
    pub(super) fn label(&self) -> impl Fn(&f64) -> String + use<> {
        let largest = (self.ticks.iter()).fold(0.0, |most: f64, tick| most.max(tick.abs()));
        // Rounding must not take a step of 1e-3 for one of 9.99e-4.
        let place = |size: f64| (size * (1.0 + 1e-9)).log10().floor() as i32;
        let last = self.step.map_or(-3, place);
        let is_plain = (1e-3..1e4).contains(&largest);
        move |&value| {
            if value == 0.0 {
                return "0".into();
            }
            let (sign, size) = if value < 0.0 {
                ("−", -value)
            } else {
                ("", value)
            };
            if is_plain {
                let digits = (-last).max(0) as usize;
                return format!("{sign}{}", trimmed(&format!("{size:.digits$}")));
            }
            let digits = (place(size) - last).max(0) as usize;
            let text = format!("{size:.digits$e}");
            let (number, power) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{sign}{}e{power}", trimmed(number))
        }
    }

    /// The labels of all ticks.
    pub(super) fn labels(&self) -> Vec<String> {
        self.ticks.iter().map(self.label()).collect()
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
        Self {
            range,
            ticks,
            step: None,
        }
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
            step: None,
        }
    }

    /// A tick at each of these places, which ascend by 1 or more, with half of that at both ends.
    pub(super) fn categories(places: &[f64]) -> Self {
        let first = places.first().copied().unwrap_or_default();
        let last = places.last().copied().unwrap_or_default();
        Self {
            range: first - 0.5..last + 0.5,
            ticks: places.to_vec(),
            step: None,
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
        Self {
            range,
            ticks,
            step: None,
        }
    }
}

/// Without zeros behind the point that say nothing.
fn trimmed(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
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
            let Axis { range, ticks, .. } = Axis::decades(low, high, 8);
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
            let Axis { range, ticks, .. } = Axis::numbers(low, high);
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
            let Axis { range, ticks, .. } = Axis::ranks(last);
            assert!(ticks.len() <= 7 && range.start < range.end);
            assert!(ticks.iter().all(|tick| (1.0..=last as f64).contains(tick)));
        }
    }

    #[test]
    fn labels_have_the_digits_that_tell_them_apart() {
        let said = |low: f64, high: f64| Axis::numbers(low, high).labels();
        assert_eq!(said(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(
            said(11.29, 11.54),
            ["11.3", "11.35", "11.4", "11.45", "11.5"]
        );
        assert_eq!(
            said(-0.00148, 0.00046),
            ["−0.0015", "−0.001", "−0.0005", "0", "0.0005"]
        );
        assert_eq!(said(-1.6e-4, 0.0), ["−1.5e-4", "−1e-4", "−5e-5", "0"]);
        assert_eq!(
            said(0.0, 25_000.0),
            ["0", "5e3", "1e4", "1.5e4", "2e4", "2.5e4"]
        );
        let mut seed = 7u64;
        for _ in 0..2000 {
            let mut draw = || {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (seed >> 11) as f64 / (1u64 << 53) as f64
            };
            let size = 10f64.powf(12.0 * draw() - 8.0);
            let (low, high) = (size * (draw() - 0.5), size * (0.5 + draw()));
            let axis = Axis::numbers(low, high);
            let words = axis.labels();
            for (word, tick) in words.iter().zip(&axis.ticks) {
                let read: f64 = word.replace('−', "-").parse().unwrap();
                assert!(
                    (read - tick).abs() <= 1e-9 * high.abs(),
                    "{low} {high} {words:?}"
                );
            }
        }
    }
}
