//! Gradients and solutions scaled against each other, so that f32 products of them come with a small bound.
//!
//! Along a strong feature axis gradients are long and solutions short. With a weight w_j for every feature axis j,
//! Σ_cj |r_c a_j| |x_cj| ≤ v y for v = ‖r‖ ‖a / w‖ and y = ‖x ∘ w‖ (Cauchy–Schwarz), and w_j² = rms(a_j) / rms(x_j) makes the right
//! side small. Rows are divided by v and y before they are rounded to the precision T of the products: no number is then
//! above 1, and a product of two rows, summed in whatever order, is off by at most [`product_error`] times v y
//! (Higham 2002, chapter 3).

use crate::product::{Real, product};
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

/// Terms that one matrix product sums: shorter sums round less, longer ones go to memory less often.
pub(super) const TERMS: usize = 1024;

/// w, one for each feature axis.
pub(super) struct AxisScaling {
    weights: Vec<f64>,
}

/// Rows of length 1 in the precision of the products, and the lengths that they were divided by.
pub(super) struct UnitRows<T> {
    pub(super) rows: Vec<T>,
    pub(super) lengths: Vec<f64>,
}

impl AxisScaling {
    /// From the root mean squares of the inputs, and of each axis the sum of the squares of `count` solutions in one output.
    pub(super) fn new(inputs: &[f64], squares: &[f64], count: usize) -> Self {
        let squares: Vec<f64> = (squares.iter())
            .map(|square| square.max(f64::MIN_POSITIVE))
            .collect();
        let count = count.max(1) as f64;
        let largest = squares
            .iter()
            .fold(0.0f64, |most, &square| most.max(square));
        let weight = |(input, square): (&f64, f64)| {
            let solution = (square.max(1e-12 * largest) / count).sqrt();
            (input / solution).sqrt()
        };
        Self {
            weights: inputs.iter().zip(squares).map(weight).collect(),
        }
    }

    /// w.
    pub(super) fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// x ∘ w / y for each row of `solutions` `[k, w·(d + 1)]`, and y.
    pub(super) fn solutions<T: Real>(&self, solutions: &[f64], size: usize) -> UnitRows<T> {
        let mut rows = vec![T::from_f64(0.0); solutions.len()];
        let lengths = (rows.par_chunks_exact_mut(size))
            .zip(solutions.par_chunks_exact(size))
            .map(|(target, row)| {
                let parts = || row.chunks_exact(self.weights.len());
                let squares = parts().map(|part| self.sum(part, |x, w| (x * w).powi(2)));
                let length = squares.sum::<f64>().sqrt();
                let targets = target.chunks_exact_mut(self.weights.len());
                for (target, part) in targets.zip(parts()) {
                    self.fill(target, part, |x, w| x * (w / length), length);
                }
                length
            })
            .collect();
        UnitRows { rows, lengths }
    }

    /// (r / ‖r‖) ⊗ (a / w / ‖a / w‖) for each row of `residuals` `[k, w]` and `inputs` `[k, d + 1]`, and v.
    pub(super) fn gradients<T: Real>(&self, residuals: &[f64], inputs: &[f64]) -> UnitRows<T> {
        let columns = self.weights.len();
        let count = inputs.len() / columns;
        let width = residuals.len() / count.max(1);
        let mut rows = vec![T::from_f64(0.0); count * width * columns];
        let lengths = (rows.par_chunks_exact_mut(width * columns))
            .zip(residuals.par_chunks_exact(width))
            .zip(inputs.par_chunks_exact(columns))
            .map(|((target, residuals), inputs)| {
                let left = residuals.iter().map(|r| r * r).sum::<f64>().sqrt();
                let right = self.sum(inputs, |a, w| (a / w).powi(2)).sqrt();
                let mut unit = vec![T::from_f64(0.0); columns];
                self.fill(&mut unit, inputs, |a, w| a / w / right, right);
                for (target, residual) in target.chunks_exact_mut(columns).zip(residuals) {
                    let factor = if left > 0.0 { residual / left } else { 0.0 };
                    let factor = T::from_f64(factor);
                    (target.iter_mut().zip(&unit)).for_each(|(to, &from)| *to = factor * from);
                }
                left * right
            })
            .collect();
        UnitRows { rows, lengths }
    }

    fn sum(&self, values: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
        (values.iter().zip(&self.weights))
            .map(|(&value, &weight)| term(value, weight))
            .sum()
    }

    fn fill<T: Real>(
        &self,
        target: &mut [T],
        values: &[f64],
        of: impl Fn(f64, f64) -> f64,
        length: f64,
    ) {
        if length > 0.0 {
            let values = values.iter().zip(&self.weights);
            (target.iter_mut().zip(values)).for_each(|(to, (&x, &w))| *to = T::from_f64(of(x, w)));
        }
    }
}

/// `left` `[k, size]` times the transpose of `right` `[m, size]`, `[k, m]`, all row-major.
pub(super) fn products<T: Real>(left: &[T], right: &[T], size: usize) -> Vec<T> {
    let (rows, columns) = (left.len() / size, right.len() / size);
    let zero = T::from_f64(0.0);
    let mut products = vec![zero; rows * columns];
    // Row-major [k, m] is column-major [m, k].
    let mut target = MatMut::from_column_major_slice_mut(&mut products, columns, rows);
    let left = MatRef::from_column_major_slice(left, size, rows);
    let right = MatRef::from_row_major_slice(right, columns, size);
    for start in (0..size).step_by(TERMS) {
        let terms = TERMS.min(size - start);
        let accumulate = match start {
            0 => Accum::Replace,
            _ => Accum::Add,
        };
        product(
            target.as_mut(),
            accumulate,
            right.subcols(start, terms),
            left.subrows(start, terms),
            T::from_f64(1.0),
        );
    }
    products
}

/// γ of [`products`] of unit rows: TERMS additions in a product, one for each product after that, and the roundings of the
/// factors. What underflows is below 1e-37 and so far below the last of these that it is covered by one more.
pub(super) fn product_error<T: Real>(size: usize) -> f64 {
    let unit = match T::DTYPE {
        candle_core::DType::F32 => f64::from(f32::EPSILON) / 2.0,
        _ => f64::EPSILON / 2.0,
    };
    gamma(TERMS.min(size) + size.div_ceil(TERMS) + 16, unit)
}

/// γ_k = k u / (1 − k u)
pub(super) fn gamma(terms: usize, unit: f64) -> f64 {
    let chain = terms as f64 * unit;
    1.01 * chain / (1.0 - chain)
}

#[cfg(test)]
mod tests {
    use super::super::on_device::products_on_device;
    use super::*;
    use candle_core::{Device, Tensor};

    /// Numbers over many magnitudes, as in Kronecker axes.
    fn wave(count: usize, seed: f64) -> Vec<f64> {
        let value = |i: usize| (i as f64 * 0.731 + seed).sin() * 10f64.powf((i % 7) as f64 - 3.0);
        (0..count).map(value).collect()
    }

    fn squares(solutions: &[f64], columns: usize) -> Vec<f64> {
        let square = |j| {
            solutions
                .iter()
                .skip(j)
                .step_by(columns)
                .map(|x: &f64| x * x)
                .sum()
        };
        (0..columns).map(square).collect()
    }

    /// The products of the host, and those of tensor operations.
    fn largest_error<T: Real>(by_tensors: bool) -> f64 {
        let (width, columns, count) = (3, 700, 5);
        let size = width * columns;
        let (residuals, inputs) = (wave(count * width, 0.3), wave(count * columns, 1.1));
        let solutions = wave(4 * size, 2.7);
        let moments: Vec<f64> = (0..columns)
            .map(|j| 10f64.powf((j % 7) as f64 - 3.0))
            .collect();
        let scaling = AxisScaling::new(&moments, &squares(&solutions, columns), 4 * width);
        let mut left: UnitRows<T> = scaling.gradients(&residuals, &inputs);
        let mut right: UnitRows<T> = scaling.solutions(&solutions, size);
        let mut found = products(&left.rows, &right.rows, size);
        if by_tensors {
            let tensor = |values: &[f64], columns: usize| {
                let shape = (values.len() / columns, columns);
                Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
            };
            let (r, a) = (tensor(&residuals, width), tensor(&inputs, columns));
            let gradients = scaling.gradients_on_device(&r, &a, T::DTYPE).unwrap();
            let x = tensor(&solutions, size);
            let solutions = scaling.solutions_on_device(&x, T::DTYPE).unwrap();
            let product = products_on_device(&gradients, &solutions).unwrap();
            found = product.flatten_all().unwrap().to_vec1::<T>().unwrap();
            (left.lengths, right.lengths) = (gradients.lengths, solutions.lengths);
        }
        let (mut worst, mut bound) = (0.0f64, 0.0f64);
        for row in 0..count {
            for column in 0..4 {
                let term = |k: usize| {
                    residuals[row * width + k / columns]
                        * inputs[row * columns + k % columns]
                        * solutions[column * size + k]
                };
                let exact: f64 = (0..size).map(term).sum();
                let scale = left.lengths[row] * right.lengths[column];
                let error = (found[row * 4 + column].to_f64() * scale - exact).abs();
                assert!(error <= product_error::<T>(size) * scale + 1e-14 * scale);
                (worst, bound) = (worst.max(error), bound.max(scale));
            }
        }
        worst / bound
    }

    #[test]
    fn products_of_scaled_rows_are_within_their_bound() {
        for by_tensors in [false, true] {
            let (single, double) = (
                largest_error::<f32>(by_tensors),
                largest_error::<f64>(by_tensors),
            );
            assert!(single > 1e-10 && double < 1e-12, "{single:e} {double:e}");
        }
    }

    #[test]
    fn rows_of_zeros_stay_zeros() {
        let scaling = AxisScaling::new(&[1.0, 2.0], &[0.0; 2], 2);
        let rows: UnitRows<f32> = scaling.solutions(&[0.0; 4], 4);
        assert_eq!((rows.rows, rows.lengths), (vec![0.0; 4], vec![0.0]));
        let rows: UnitRows<f32> = scaling.gradients(&[0.0, 0.0], &[1.0, 1.0]);
        assert_eq!((rows.rows, rows.lengths), (vec![0.0; 4], vec![0.0]));
    }
}
