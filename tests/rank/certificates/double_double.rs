//! Numbers of two f64, some 32 digits (Dekker 1971), as far as an oracle needs them.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// `high + low`, `low` no more than half the last place of `high`.
#[derive(Debug, Clone, Copy)]
pub struct DoubleDouble {
    high: f64,
    low: f64,
}

impl From<f64> for DoubleDouble {
    fn from(high: f64) -> Self {
        Self { high, low: 0.0 }
    }
}

/// a + b without a rounding.
fn two_sum(a: f64, b: f64) -> DoubleDouble {
    let high = a + b;
    let part = high - a;
    let low = (a - (high - part)) + (b - part);
    DoubleDouble { high, low }
}

/// a · b without a rounding.
fn two_product(a: f64, b: f64) -> DoubleDouble {
    let high = a * b;
    let low = a.mul_add(b, -high);
    DoubleDouble { high, low }
}

impl DoubleDouble {
    /// Σ a_j b_j.
    pub fn product(a: &[f64], b: &[f64]) -> Self {
        let terms = a.iter().zip(b).map(|(a, b)| two_product(*a, *b));
        terms.fold(Self::from(0.0), |sum, term| sum + term)
    }

    /// The nearest f64.
    pub fn to_f64(self) -> f64 {
        self.high + self.low
    }
}

impl Add for DoubleDouble {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (high, low) = (two_sum(self.high, other.high), two_sum(self.low, other.low));
        let sum = two_sum(high.high, high.low + low.high);
        two_sum(sum.high, sum.low + low.low)
    }
}

impl Neg for DoubleDouble {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            high: -self.high,
            low: -self.low,
        }
    }
}

impl Sub for DoubleDouble {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul for DoubleDouble {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let product = two_product(self.high, other.high);
        two_sum(
            product.high,
            product.low + (self.high * other.low + self.low * other.high),
        )
    }
}

impl Div for DoubleDouble {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        // Newton from the quotient in f64, twice.
        let mut quotient = Self::from(self.high / other.high);
        for _ in 0..2 {
            let rest = self - quotient * other;
            quotient = quotient + Self::from(rest.to_f64() / other.high);
        }
        quotient
    }
}

/// A⁻¹b for every row b, `matrix` symmetric and positive definite (Gauss, without a choice of pivots).
pub fn solve_symmetric(mut matrix: Vec<Vec<DoubleDouble>>, rows: &mut [Vec<DoubleDouble>]) {
    let size = matrix.len();
    for pivot in 0..size {
        let upper = matrix[pivot].clone();
        for below in pivot + 1..size {
            let factor = matrix[below][pivot] / upper[pivot];
            let values = matrix[below].iter_mut().zip(&upper).skip(pivot);
            values.for_each(|(value, above)| *value = *value - factor * *above);
            for row in rows.iter_mut() {
                row[below] = row[below] - factor * row[pivot];
            }
        }
    }
    for row in rows {
        for pivot in (0..size).rev() {
            let known = (pivot + 1..size)
                .map(|column| matrix[pivot][column] * row[column])
                .fold(DoubleDouble::from(0.0), |sum, part| sum + part);
            row[pivot] = (row[pivot] - known) / matrix[pivot][pivot];
        }
    }
}
