//! What rounding can do to a product with the curvature, and in which directions.
//!
//! Features have a mean and a few more strong axes, along which the curvature is large: errors there hardly matter to A⁻¹, but
//! they are most of the error. Bounds are therefore kept by *bands* of feature axes (which are sorted, strongest first), and
//! in terms of the weighted length ‖v ∘ m‖, m_j the root mean square of axis j, since solutions are short along strong axes.

use super::Vectors;
use crate::Result;
use crate::in_parallel::mapped;
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// Where the bands begin; the last one holds all weaker axes.
const STARTS: [usize; 4] = [0, 1, 4, 16];

/// For every v and band: ‖(fl(A v) − A v)_band‖ ≤ `errors[band]`·‖v ∘ m‖ + `scalar`·‖v‖.
#[derive(Debug, Clone)]
pub struct Rounding {
    /// Outputs, w.
    pub width: usize,
    /// m, one for each feature axis, `[d + 1]`.
    pub weights: Vec<f64>,
    /// One for each band.
    pub errors: Vec<f64>,
    /// Of every band, from terms that are multiples of the identity.
    pub scalar: f64,
}

/// The bands of `columns` feature axes.
pub fn bands(columns: usize) -> Vec<Range<usize>> {
    let starts: Vec<usize> = STARTS.iter().copied().filter(|&s| s < columns).collect();
    let ends = starts.iter().skip(1).copied().chain([columns]);
    starts
        .iter()
        .copied()
        .zip(ends)
        .map(|(start, end)| start..end)
        .collect()
}

impl Rounding {
    /// The length of each band of each row of `vectors` `[k, w·(d + 1)]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn lengths(&self, vectors: &Vectors) -> Result<Vec<Vec<f64>>> {
        let columns = self.weights.len();
        let bands = bands(columns);
        if !vectors.tensor().device().is_cpu() {
            return self.lengths_on_device(vectors, &bands);
        }
        self.rows(vectors, |row| {
            let length = |band: &Range<usize>| {
                let parts = row.chunks_exact(columns).map(|part| &part[band.clone()]);
                let squares = parts.map(|part| sum(part.len(), |axis| part[axis] * part[axis]));
                squares.sum::<f64>().sqrt()
            };
            bands.iter().map(length).collect()
        })
    }

    /// ‖v ∘ m‖ of each row.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn weighted_lengths(&self, vectors: &Vectors) -> Result<Vec<f64>> {
        if !vectors.tensor().device().is_cpu() {
            return self.weighted_lengths_on_device(vectors);
        }
        self.rows(vectors, |row| {
            let weights = &self.weights[..];
            let parts = row.chunks_exact(weights.len());
            let squares = parts.map(|part| {
                sum(weights.len(), |axis| {
                    let weighted = part[axis] * weights[axis];
                    weighted * weighted
                })
            });
            squares.sum::<f64>().sqrt()
        })
    }

    /// The same by tensor operations, on any device.
    fn lengths_on_device(
        &self,
        vectors: &Vectors,
        bands: &[Range<usize>],
    ) -> Result<Vec<Vec<f64>>> {
        let squares = self.parts(vectors)?.sqr()?;
        let mut rows = vec![Vec::with_capacity(bands.len()); vectors.count()];
        for band in bands {
            let part = squares.narrow(2, band.start, band.len())?;
            let sums = part.sum((1, 2))?.to_vec1::<f64>()?;
            (rows.iter_mut().zip(sums)).for_each(|(row, sum)| row.push(sum.sqrt()));
        }
        Ok(rows)
    }

    fn weighted_lengths_on_device(&self, vectors: &Vectors) -> Result<Vec<f64>> {
        let parts = self.parts(vectors)?;
        let weights = Tensor::from_slice(
            &self.weights,
            (1, 1, self.weights.len()),
            vectors.tensor().device(),
        )?;
        let squares = parts.broadcast_mul(&weights)?.sqr()?;
        let sums = squares.sum((1, 2))?.to_vec1::<f64>()?;
        Ok(sums.into_iter().map(f64::sqrt).collect())
    }

    /// `[k, outputs, d + 1]`, f64.
    fn parts(&self, vectors: &Vectors) -> Result<Tensor> {
        let columns = self.weights.len();
        let shape = (vectors.count(), vectors.size() / columns, columns);
        Ok(vectors.tensor().to_dtype(DType::F64)?.reshape(shape)?)
    }

    fn rows<T: Send>(&self, vectors: &Vectors, of: impl Fn(&[f64]) -> T + Sync) -> Result<Vec<T>> {
        let (count, size) = (vectors.count(), vectors.size());
        vectors.to_dtype(DType::F64)?.with_values(|values| {
            let row = |row: usize| of(&values[row * size..][..size]);
            mapped(count, &row)
        })
    }

    /// p, the parameters of all outputs.
    pub fn size(&self) -> usize {
        self.width * self.weights.len()
    }

    /// The unit vectors of the parameters at `positions`, `[positions.len(), p]`, on `device`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn unit_vectors(&self, positions: &[u32], device: &Device) -> Result<Vectors> {
        let (count, size) = (positions.len(), self.size());
        let mut values = vec![0.0; count * size];
        for (values, &position) in values.chunks_exact_mut(size).zip(positions) {
            values[position as usize] = 1.0;
        }
        Vectors::new(Tensor::from_vec(values, (count, size), device)?)
    }
}

/// Σ term(i) with eight running sums, which the compiler turns into vector instructions.
#[inline(always)]
fn sum(count: usize, term: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let whole = count - count % lanes.len();
    for start in (0..whole).step_by(lanes.len()) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    lanes.iter().sum::<f64>() + (whole..count).map(term).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_by_tensor_operations_are_those_of_the_loops() {
        let (width, columns) = (3usize, 20usize);
        let values =
            (0..2 * width * columns).map(|i| (i as f64 * 0.7).sin() * 10f64.powi((i % 5) as i32));
        let vectors = Vectors::from_rows(values.collect::<Vec<f64>>(), width * columns).unwrap();
        let rounding = Rounding {
            width,
            weights: (0..columns).map(|j| 1.0 / (j + 1) as f64).collect(),
            errors: Vec::new(),
            scalar: 0.0,
        };
        let close = |a: &f64, b: &f64| (a - b).abs() <= 1e-14 * b.abs();
        let loops = rounding.lengths(&vectors).unwrap();
        let tensors = rounding
            .lengths_on_device(&vectors, &bands(columns))
            .unwrap();
        assert_eq!((tensors.len(), tensors[0].len()), (2, 4));
        assert!(
            tensors
                .concat()
                .iter()
                .zip(&loops.concat())
                .all(|(a, b)| close(a, b))
        );
        let loops = rounding.weighted_lengths(&vectors).unwrap();
        let tensors = rounding.weighted_lengths_on_device(&vectors).unwrap();
        assert!(tensors.iter().zip(&loops).all(|(a, b)| close(a, b)));
    }
}
