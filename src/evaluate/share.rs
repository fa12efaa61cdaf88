//! Intervals of shares, and of what lies between 0 and 1 like them.
//!
//! A bootstrap has nothing to draw where all queries say the same: of 20 that all match its interval is 1 to 1, though one in ten others may
//! not. These are the score interval of Wilson (1927), for 20 of 20 from 0.84 to 1; for differences between −1 and 1 that of Bonett & Price
//! (2012); and for an area under a curve the normal interval on its logit, with the bootstrap's deviation.

use super::Interval;

/// The 0.975 quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % Wilson score interval of a share of `count`.
pub(crate) fn wilson(share: f64, count: usize) -> (f64, f64) {
    if count == 0 {
        return (0.0, 1.0);
    }
    let total = count as f64;
    let scale = 1.0 + Z * Z / total;
    let centre = (share + Z * Z / (2.0 * total)) / scale;
    let half = Z / scale * (share * (1.0 - share) / total + Z * Z / (4.0 * total * total)).sqrt();
    // At the ends the interval touches 0 or 1; rounding must not keep it away.
    let low = if share == 0.0 { 0.0 } else { centre - half };
    let high = if share == 1.0 { 1.0 } else { centre + half };
    (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0))
}

impl Interval {
    /// A share of `count`, by Wilson.
    pub fn of_share(value: f64, count: usize) -> Self {
        let (low, high) = wilson(value, count);
        Self { value, low, high }
    }

    /// The mean of values between 0 and 1, as of a share: of values other than 0 and 1, which vary less, it is wider than it need be.
    pub fn of_shares(values: &[f64]) -> Self {
        Self::of_share(mean(values.iter().copied(), values.len()), values.len())
    }

    /// The mean of differences between −1 and 1; the interval is that of a mean with one more value at either end.
    pub fn of_differences(values: &[f64]) -> Self {
        let count = values.len() + 2;
        let all = || values.iter().copied().chain([-1.0, 1.0]);
        let centre = mean(all(), count);
        let variance = mean(all().map(|value| (value - centre).powi(2)), count);
        let half = Z * (variance / count as f64).sqrt();
        Self {
            value: mean(values.iter().copied(), values.len()),
            low: (centre - half).max(-1.0),
            high: (centre + half).min(1.0),
        }
    }

    /// An area under a curve, from draws of it; where these say nothing, as of a share of `count`.
    pub(super) fn of_area(value: f64, draws: &[f64], count: usize) -> Self {
        let centre = mean(draws.iter().copied(), draws.len());
        let squares = draws.iter().map(|draw| (draw - centre).powi(2));
        let deviation = mean(squares, draws.len()).sqrt();
        let slope = value * (1.0 - value);
        if slope <= 0.0 || deviation == 0.0 {
            return Self::of_share(value, count);
        }
        let at = |half: f64| {
            let logit = (value / (1.0 - value)).ln() + half * deviation / slope;
            1.0 / (1.0 + (-logit).exp())
        };
        Self {
            value,
            low: at(-Z),
            high: at(Z),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    values.sum::<f64>() / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Interval, low: f64, high: f64) {
        let off = (found.low - low).abs().max((found.high - high).abs());
        assert!(off < 5e-4, "{found:?}");
    }

    /// Published: 81 of 263 (Newcombe 1998, table I), and none or all of 20.
    #[test]
    fn shares_have_the_published_intervals() {
        close(Interval::of_share(81.0 / 263.0, 263), 0.2553, 0.3662);
        let share = |ones: usize| {
            let values: Vec<f64> = (0..20).map(|at| f64::from(u8::from(at < ones))).collect();
            Interval::of_shares(&values)
        };
        close(share(0), 0.0, 0.1611);
        close(share(20), 0.8389, 1.0);
        assert_eq!(
            (share(0).low, share(20).high, share(20).value),
            (0.0, 1.0, 1.0)
        );
        close(Interval::of_shares(&[]), 0.0, 1.0);
    }

    /// 36 pairs of which 3 go one way and 9 the other: (10 − 4)/38 ± 1.96 √((14/38 − (6/38)²)/38).
    #[test]
    fn differences_have_a_pair_more_at_either_end() {
        let values: Vec<f64> = (0..36)
            .map(|at| match at {
                0..3 => -1.0,
                3..12 => 1.0,
                _ => 0.0,
            })
            .collect();
        let found = Interval::of_differences(&values);
        assert!((found.value - 6.0 / 36.0).abs() < 1e-15);
        let half = 1.96 * ((14.0 / 38.0 - (6.0f64 / 38.0).powi(2)) / 38.0).sqrt();
        close(found, 6.0 / 38.0 - half, 6.0 / 38.0 + half);
        let none = Interval::of_differences(&[0.0; 20]);
        assert!(none.value == 0.0 && none.low < -0.05 && none.high > 0.05);
    }

    #[test]
    fn an_area_near_its_end_keeps_within_and_one_at_it_is_a_share() {
        let draws: Vec<f64> = (0..100).map(|at| 0.99 + 0.0001 * f64::from(at)).collect();
        let found = Interval::of_area(0.995, &draws, 50);
        assert!(found.high < 1.0 && found.low < 0.995 - Z * 0.0029);
        let half = Z * 0.002_886_6 / (0.995 * 0.005);
        let low = 1.0 / (1.0 + (-(0.995f64 / 0.005).ln() + half).exp());
        close(
            found,
            low,
            1.0 / (1.0 + (-(0.995f64 / 0.005).ln() - half).exp()),
        );
        assert_eq!(
            Interval::of_area(1.0, &[1.0; 9], 20),
            Interval::of_share(1.0, 20)
        );
    }
}
