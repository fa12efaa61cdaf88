//! Products of f64 matrices whose elements are nearly those of exact arithmetic rounded once.
//!
//! A sum of m products is off by up to m·u·Σ|a||b|, which is much where the sum cancels. Here both factors are cut into four slices of
//! β bits below the largest element of their row (left) or column (right), 2β + log₂ m ≤ 53: the product of two slices is then exact
//! in whatever order it is summed, also fused. Of 16 such products the ten largest are added, the smallest first
//! (Ozaki, Ogita, Oishi and Rump 2012).
//!
//! With b of length 1: |fl(a·b) − a·b| ≤ u |fl(a·b)| + t ‖a‖, t = [`AccurateFactor::error`].

use super::tensor_product;
use crate::Result;
use candle_core::Tensor;

/// Of each factor.
const SLICES: i32 = 4;
/// The places of a pair of slices in the two factors, from 0, add up to this at most.
const LAST: usize = 3;
/// The unit roundoff.
const UNIT: f64 = f64::EPSILON / 2.0;
/// Rows that are cut at once.
const ROWS: usize = 1024;

/// The right-hand factor, cut.
pub(crate) struct AccurateFactor {
    slices: Vec<Tensor>,
    bits: i32,
    terms: usize,
}

impl AccurateFactor {
    /// Of `right` `[m, n]`, f64, columns no longer than about 1.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub(crate) fn of(right: &Tensor) -> Result<Self> {
        let terms = right.dim(0)?;
        // Bits of the number of terms, rounded up.
        let of_terms = usize::BITS - terms.saturating_sub(1).leading_zeros();
        let bits = (53 - of_terms as i32) / 2;
        Ok(Self {
            slices: slices(right, 0, bits)?,
            bits,
            terms,
        })
    }

    /// `left` `[k, m]`, f64, times the factor: `[k, n]`.
    ///
    /// # Errors
    /// Shapes or devices differ, or a tensor operation failed.
    pub(crate) fn product(&self, left: &Tensor) -> Result<Tensor> {
        let rows = left.dim(0)?;
        let parts = (0..rows).step_by(ROWS).map(|start| {
            let count = ROWS.min(rows - start);
            self.product_of_rows(&left.narrow(0, start, count)?.contiguous()?)
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?)
    }

    fn product_of_rows(&self, rows: &Tensor) -> Result<Tensor> {
        let left = slices(rows, 1, self.bits)?;
        let mut sum = None;
        for places in (0..=LAST).rev() {
            for (slice, other) in left.iter().zip(self.slices[..=places].iter().rev()) {
                let product = tensor_product(slice, other)?;
                sum = Some(match sum {
                    None => product,
                    Some(sum) => (sum + product)?,
                });
            }
        }
        // There is a pair.
        sum.map_or_else(|| tensor_product(rows, &self.slices[0]), Ok)
    }

    /// t: what is left out of slices and pairs (4.1 m 2^−4β of the largest elements), and the rounding of all sums but the last, none
    /// of them above 2.1 m 2^−β. The powers of 2 above the largest elements are at most twice these, and so at most 4.2 ‖a‖.
    pub(crate) fn error(&self) -> f64 {
        let power = |slices: i32| 2f64.powi(-self.bits * slices);
        4.2 * self.terms as f64 * (4.1 * power(SLICES) + 21.0 * UNIT * power(1))
    }
}

/// Slices of `matrix`, each a multiple of 2^(e − βp) below 2^e, the power of two above the largest element along `dim`.
fn slices(matrix: &Tensor, dim: usize, bits: i32) -> Result<Vec<Tensor>> {
    let largest = matrix.abs()?.max_keepdim(dim)?;
    let exponents: Vec<i32> = largest
        .flatten_all()?
        .to_vec1::<f64>()?
        .into_iter()
        .map(|largest| {
            if largest > 0.0 {
                largest.log2().floor().min(1100.0) as i32 + 1
            } else {
                0
            }
        })
        .collect();
    let mut rest = matrix.clone();
    let mut found = Vec::new();
    for slice in 1..=SLICES {
        // Added to a number, it leaves no place below the slice's.
        let shifts: Vec<f64> = exponents
            .iter()
            .map(|exponent| 1.5 * 2f64.powi(52 + exponent - bits * slice))
            .collect();
        let shifts = Tensor::from_vec(shifts, largest.shape(), matrix.device())?;
        let part = rest.broadcast_add(&shifts)?.broadcast_sub(&shifts)?;
        rest = (rest - &part)?;
        found.push(part);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// a·b as a pair of f64 (Ogita, Rump and Oishi 2005): twice as exact.
    fn reference(a: &[f64], b: &[f64]) -> (f64, f64) {
        let (mut high, mut low) = (0.0f64, 0.0f64);
        for (x, y) in a.iter().zip(b) {
            let product = x * y;
            let error = x.mul_add(*y, -product);
            let sum = high + product;
            let part = sum - high;
            low += (high - (sum - part)) + (product - part) + error;
            high = sum;
        }
        (high, low)
    }

    #[test]
    fn sums_that_cancel_are_right_to_the_last_place() {
        let terms = 300;
        let noise = |seed: usize| {
            let next = move |at: usize| {
                let mixed = (at + 1 + 7919 * seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            };
            (0..terms).map(next).collect::<Vec<f64>>()
        };
        // A column of length 1 against rows that are all but orthogonal to it.
        let mut column = noise(1);
        let length = column.iter().map(|x| x * x).sum::<f64>().sqrt();
        column.iter_mut().for_each(|x| *x /= length);
        let rows: Vec<Vec<f64>> = (2..40)
            .map(|seed| {
                let mut row: Vec<f64> = noise(seed).iter().map(|x| 1e3 * x).collect();
                let along: f64 = row.iter().zip(&column).map(|(a, b)| a * b).sum();
                row.iter_mut()
                    .zip(&column)
                    .for_each(|(a, b)| *a -= along * b);
                row
            })
            .collect();
        let right = Tensor::from_vec(column.clone(), (terms, 1), &Device::Cpu).unwrap();
        let left = Tensor::from_vec(rows.concat(), (rows.len(), terms), &Device::Cpu).unwrap();
        let factor = AccurateFactor::of(&right).unwrap();
        let found = factor.product(&left).unwrap().flatten_all().unwrap();
        let plain = left.matmul(&right).unwrap().flatten_all().unwrap();
        let (found, plain) = (
            found.to_vec1::<f64>().unwrap(),
            plain.to_vec1::<f64>().unwrap(),
        );
        let mut worse = 0;
        for ((row, found), plain) in rows.iter().zip(found).zip(plain) {
            let (high, low) = reference(row, &column);
            let off = |value: f64| ((value - high) - low).abs();
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            let bound = UNIT * found.abs() + factor.error() * length;
            assert!(off(found) <= bound, "{:e} above {bound:e}", off(found));
            worse += usize::from(off(plain) > bound);
        }
        assert!(worse > 20 && factor.error() < 1e-16, "{worse}");
    }
}
