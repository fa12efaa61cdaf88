//! Scaled rows and their products by tensor operations: on any device, with the bounds of [`super::scaling`].
//!
//! The roundings are those of the host: two or three of each factor in f64, one to the precision of the products, one more where a
//! gradient's factors meet; and products sum [`TERMS`] terms at once, in whatever order the device takes, fused or not.

use super::scaling::{AxisScaling, TERMS};
use crate::Result;
use crate::derivative::head::outer_product;
use candle_core::{DType, Tensor};

/// Rows of length 1 `[k, p]` on the device, and the lengths that they were divided by.
pub(super) struct DeviceRows {
    pub(super) rows: Tensor,
    pub(super) lengths: Vec<f64>,
}

impl DeviceRows {
    /// The rows of all blocks, one after the other.
    pub(super) fn concatenate(blocks: Vec<Self>) -> Result<Self> {
        let rows: Vec<&Tensor> = blocks.iter().map(|block| &block.rows).collect();
        Ok(Self {
            rows: Tensor::cat(&rows, 0)?,
            lengths: (blocks.iter())
                .flat_map(|block| block.lengths.iter().copied())
                .collect(),
        })
    }
}

impl AxisScaling {
    /// x ∘ w / y for each row of f64 `solutions` `[k, w·(d + 1)]`, and y.
    pub(super) fn solutions_on_device(
        &self,
        solutions: &Tensor,
        precision: DType,
    ) -> Result<DeviceRows> {
        let (count, size) = solutions.dims2()?;
        let columns = self.weights().len();
        let weights = Tensor::from_slice(self.weights(), (1, columns), solutions.device())?;
        let rows = solutions.reshape((count * size / columns, columns))?;
        let rows = rows.broadcast_mul(&weights)?.reshape((count, size))?;
        unit(&rows, precision)
    }

    /// (r / ‖r‖) ⊗ (a / w / ‖a / w‖) for each row of f64 `residuals` `[k, w]` and `inputs` `[k, d + 1]`, and v.
    pub(super) fn gradients_on_device(
        &self,
        residuals: &Tensor,
        inputs: &Tensor,
        precision: DType,
    ) -> Result<DeviceRows> {
        let weights: Vec<f64> = self.weights().iter().map(|weight| weight.recip()).collect();
        let weights = Tensor::from_slice(&weights, (1, weights.len()), inputs.device())?;
        let left = unit(residuals, precision)?;
        let right = unit(&inputs.broadcast_mul(&weights)?, precision)?;
        let lengths = left.lengths.iter().zip(&right.lengths);
        Ok(DeviceRows {
            rows: outer_product(&left.rows, &right.rows)?,
            lengths: lengths.map(|(left, right)| left * right).collect(),
        })
    }
}

/// Each row by its length, zeros where that is 0.
fn unit(rows: &Tensor, precision: DType) -> Result<DeviceRows> {
    let squares = rows.sqr()?.sum(1)?.to_vec1::<f64>()?;
    let lengths: Vec<f64> = squares.into_iter().map(f64::sqrt).collect();
    let inverse = |length: &f64| if *length > 0.0 { length.recip() } else { 0.0 };
    let factors: Vec<f64> = lengths.iter().map(inverse).collect();
    let factors = Tensor::from_vec(factors, (lengths.len(), 1), rows.device())?;
    Ok(DeviceRows {
        rows: rows.broadcast_mul(&factors)?.to_dtype(precision)?,
        lengths,
    })
}

/// `left` `[k, size]` times the transpose of `right` `[m, size]`, `[k, m]`.
pub(super) fn products_on_device(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let size = left.dims()[1];
    let mut sum: Option<Tensor> = None;
    for start in (0..size).step_by(TERMS) {
        let terms = TERMS.min(size - start);
        let part = |rows: &Tensor| rows.narrow(1, start, terms)?.contiguous();
        let product = part(left)?.matmul(&part(right)?.t()?)?;
        sum = Some(match sum {
            None => product,
            Some(sum) => (sum + product)?,
        });
    }
    sum.map_or_else(|| Ok(left.matmul(&right.t()?)?), Ok)
}
