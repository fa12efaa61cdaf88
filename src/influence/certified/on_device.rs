//! Scaled rows and their products by tensor operations: on any device, with the bounds of [`super::scaling`].
//!
//! The roundings are those of the host: two or three of each factor in f64, one to the precision of the products, one more where a
//! gradient's factors meet; and products sum [`TERMS`] terms at once, in whatever order the device takes, fused or not.

use super::scaling::{AxisScaling, TERMS};
use crate::Result;
use crate::derivative::head::outer_product;
use candle_core::{DType, Tensor};

/// Elements of a block of rows: candle's kernels count in 32 bits.
const ELEMENTS: usize = 1 << 31;

/// Rows of length 1 on the device, in blocks `[k, p]` one after the other, and the lengths that they were divided by.
pub(super) struct DeviceRows {
    blocks: Vec<Tensor>,
    pub(super) lengths: Vec<f64>,
}

impl DeviceRows {
    /// The rows of all parts, one after the other, in as few blocks as can be; at least one part.
    pub(super) fn gathered(parts: Vec<Self>) -> Result<Self> {
        Self::in_blocks(parts, ELEMENTS)
    }

    fn in_blocks(parts: Vec<Self>, elements: usize) -> Result<Self> {
        let (mut blocks, mut lengths) = (Vec::new(), Vec::new());
        let mut open: Vec<Tensor> = Vec::new();
        for part in parts {
            lengths.extend(part.lengths);
            for block in part.blocks {
                let held: usize = open.iter().map(Tensor::elem_count).sum();
                if held > 0 && held + block.elem_count() > elements {
                    blocks.push(Tensor::cat(&open, 0)?);
                    open.clear();
                }
                open.push(block);
            }
        }
        blocks.push(Tensor::cat(&open, 0)?);
        Ok(Self { blocks, lengths })
    }

    pub(super) fn dtype(&self) -> DType {
        self.blocks[0].dtype()
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
            blocks: vec![outer_product(&left.blocks[0], &right.blocks[0])?],
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
        blocks: vec![rows.broadcast_mul(&factors)?.to_dtype(precision)?],
        lengths,
    })
}

/// `left` `[k, size]` times the transpose of `right` `[m, size]`, `[k, m]`.
pub(super) fn products_on_device(left: &DeviceRows, right: &DeviceRows) -> Result<Tensor> {
    let products_of = |left: &Tensor| {
        let products = right.blocks.iter().map(|right| block_products(left, right));
        Ok(Tensor::cat(&products.collect::<Result<Vec<_>>>()?, 1)?)
    };
    let rows = left.blocks.iter().map(products_of);
    Ok(Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)?)
}

fn block_products(left: &Tensor, right: &Tensor) -> Result<Tensor> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn rows_in_several_blocks_have_the_products_of_one() {
        let part = |start: usize, count: usize| {
            let values = (0..count * 3).map(|i| ((start * 3 + i) as f64).sin());
            let rows = Tensor::from_vec(values.collect::<Vec<_>>(), (count, 3), &Device::Cpu);
            unit(&rows.unwrap(), DType::F64).unwrap()
        };
        let parts = || vec![part(0, 2), part(2, 1), part(3, 4), part(7, 1)];
        let whole = DeviceRows::gathered(parts()).unwrap();
        let split = DeviceRows::in_blocks(parts(), 9).unwrap();
        let counts: Vec<usize> = split.blocks.iter().map(|block| block.dims()[0]).collect();
        assert_eq!((whole.blocks.len(), counts), (1, vec![3, 4, 1]));
        assert_eq!(split.lengths, whole.lengths);
        let products = |left, right| {
            let products = products_on_device(left, right).unwrap();
            products.to_vec2::<f64>().unwrap()
        };
        let expected = products(&whole, &whole);
        for (left, right) in [(&split, &whole), (&whole, &split), (&split, &split)] {
            assert_eq!(products(left, right), expected);
        }
    }
}
