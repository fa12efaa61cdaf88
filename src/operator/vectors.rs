//! A block of k vectors over one parameter space, as the rows of a tensor `[k, p]`.

use super::row_pass;
use crate::data::moved;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, WithDType};
use faer::{Mat, MatRef};
use std::ops::Range;

/// Numbers that are converted to f64 at once for products: 32 MiB.
const CONVERTED: usize = 1 << 22;

/// k vectors of length p, `[k, p]`, f32 or f64, on one device. Inner products are summed in f64.
#[derive(Debug, Clone)]
pub struct Vectors {
    rows: Tensor,
}

impl Vectors {
    /// From a tensor `[k, p]`.
    ///
    /// # Errors
    /// Not two-dimensional, or neither f32 nor f64.
    pub fn new(rows: Tensor) -> Result<Self> {
        let shape_fits = rows.dims().len() == 2;
        if !shape_fits || !matches!(rows.dtype(), DType::F32 | DType::F64) {
            let found = format!("{:?} of {:?}", rows.dims(), rows.dtype());
            return Err(Error::mismatch(
                "vectors",
                "[k, p] of f32 or f64",
                found,
                "convert the tensor first",
            ));
        }
        Ok(Self {
            rows: rows.contiguous()?,
        })
    }

    /// From rows of length `size`, one after the other, on the host.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn from_rows<T: WithDType>(rows: Vec<T>, size: usize) -> Result<Self> {
        let count = rows.len() / size.max(1);
        Self::new(Tensor::from_vec(rows, (count, size), &Device::Cpu)?)
    }

    /// k.
    pub fn count(&self) -> usize {
        self.rows.dims()[0]
    }

    /// p.
    pub fn size(&self) -> usize {
        self.rows.dims()[1]
    }

    /// The tensor `[k, p]`.
    pub fn tensor(&self) -> &Tensor {
        &self.rows
    }

    /// Calls `body` with all elements of f64 vectors, row by row, without a copy where they are on the host.
    ///
    /// # Errors
    /// Another precision, or a tensor operation failed.
    pub(crate) fn with_values<R>(&self, body: impl FnOnce(&[f64]) -> R) -> Result<R> {
        let host = moved(&self.rows, &Device::Cpu)?;
        Ok(row_pass::with_elements(&host, |values| Ok(body(values)))?)
    }

    /// k zero vectors of the same size, precision and device.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn zeros_like(&self) -> Result<Self> {
        Ok(Self {
            rows: self.rows.zeros_like()?,
        })
    }

    /// The inner product of each row with the same row of `other`.
    ///
    /// # Errors
    /// Shapes or precisions differ, or a tensor operation failed.
    pub fn dot(&self, other: &Self) -> Result<Vec<f64>> {
        row_pass::dot(&self.rows, &other.rows)
    }

    /// The Euclidean norm of each row.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn norms(&self) -> Result<Vec<f64>> {
        Ok(self.dot(self)?.into_iter().map(f64::sqrt).collect())
    }

    /// The largest absolute value in each row.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub(crate) fn largest_elements(&self) -> Result<Vec<f64>> {
        row_pass::largest(&self.rows)
    }

    /// `self_i + coefficient_i · other_i` for each row i, in the precision of these.
    ///
    /// # Errors
    /// Shapes or counts differ, or a tensor operation failed.
    pub fn add_scaled(&self, coefficients: &[f64], other: &Self) -> Result<Self> {
        Ok(Self {
            rows: row_pass::add_scaled(&self.rows, coefficients, &other.rows)?,
        })
    }

    /// `self − (product + shift · values)`, row by row: what is left of right-hand sides.
    ///
    /// # Errors
    /// Shapes or precisions differ, or a tensor operation failed.
    pub fn less(&self, product: &Self, shift: f64, values: &Self) -> Result<Self> {
        Ok(Self {
            rows: row_pass::less(&self.rows, &product.rows, shift, &values.rows)?,
        })
    }

    /// Each row i times `factors[i]`.
    ///
    /// # Errors
    /// Another number of factors, or a tensor operation failed.
    pub fn scaled(&self, factors: &[f64]) -> Result<Self> {
        Ok(Self {
            rows: row_pass::scaled(&self.rows, factors, self.rows.dtype())?,
        })
    }

    /// Each row i times `factors[i]`, rounded to another precision once multiplied.
    ///
    /// # Errors
    /// Another number of factors, or a tensor operation failed.
    pub fn scaled_to(&self, factors: &[f64], dtype: DType) -> Result<Self> {
        Ok(Self {
            rows: row_pass::scaled(&self.rows, factors, dtype)?,
        })
    }

    /// The inner products of all rows with all rows of `other`, `[k, other.count()]`, f64.
    ///
    /// # Errors
    /// Sizes differ, or a tensor operation failed.
    pub fn products(&self, other: &Self) -> Result<Mat<f64>> {
        other.check_size(self.size())?;
        let at_once = (CONVERTED / (self.count() + other.count()).max(1)).max(1);
        let shape = (self.count(), other.count());
        let mut sums = Tensor::zeros(shape, DType::F64, self.rows.device())?;
        for start in (0..self.size()).step_by(at_once) {
            let columns = start..self.size().min(start + at_once);
            let (left, right) = (self.columns(&columns)?, other.columns(&columns)?);
            sums = (sums + left.matmul(&right.t()?)?)?;
        }
        let sums = sums.to_vec2::<f64>()?;
        Ok(Mat::from_fn(shape.0, shape.1, |row, column| {
            sums[row][column]
        }))
    }

    /// Some columns in f64, `[k, columns]`.
    fn columns(&self, columns: &Range<usize>) -> Result<Tensor> {
        let part = self.rows.narrow(1, columns.start, columns.len())?;
        Ok(part.contiguous()?.to_dtype(DType::F64)?)
    }

    /// Linear combinations of the rows: `coefficients` `[m, k]` times these `[k, p]`.
    ///
    /// # Errors
    /// Another number of coefficients, or a tensor operation failed.
    pub fn combined(&self, coefficients: MatRef<f64>) -> Result<Self> {
        let (rows, columns) = coefficients.shape();
        let values: Vec<f64> = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| coefficients[(row, column)]))
            .collect();
        let matrix = Tensor::from_vec(values, (rows, columns), self.rows.device())?;
        Ok(Self {
            rows: matrix.to_dtype(self.rows.dtype())?.matmul(&self.rows)?,
        })
    }

    /// The same vectors in another precision.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            rows: self.rows.to_dtype(dtype)?,
        })
    }

    /// The rows with the given positions, in that order.
    ///
    /// # Errors
    /// A position out of range.
    pub fn select(&self, positions: &[usize]) -> Result<Self> {
        let positions: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
        let count = positions.len();
        let index = Tensor::from_vec(positions, count, self.rows.device())?;
        Ok(Self {
            rows: self.rows.index_select(&index, 0)?,
        })
    }

    /// The rows in `range`.
    ///
    /// # Errors
    /// A range out of bounds.
    pub fn narrow(&self, range: Range<usize>) -> Result<Self> {
        Ok(Self {
            rows: self.rows.narrow(0, range.start, range.len())?,
        })
    }

    /// The rows of all blocks, one after the other.
    ///
    /// # Errors
    /// No block, or sizes or precisions differ.
    pub fn concatenate(blocks: &[Self]) -> Result<Self> {
        let rows: Vec<&Tensor> = blocks.iter().map(|block| &block.rows).collect();
        Ok(Self {
            rows: Tensor::cat(&rows, 0)?,
        })
    }

    /// What `product` makes of the rows, at most `part` of them at a time.
    pub(super) fn in_parts(
        &self,
        part: usize,
        product: &dyn Fn(&Self) -> Result<Self>,
    ) -> Result<Self> {
        if self.count() <= part {
            return product(self);
        }
        let parts = (0..self.count()).step_by(part).map(|start| {
            let rows = start..self.count().min(start + part);
            product(&self.narrow(rows)?)
        });
        Self::concatenate(&parts.collect::<Result<Vec<_>>>()?)
    }

    pub(super) fn check_size(&self, size: usize) -> Result<()> {
        if self.size() == size {
            return Ok(());
        }
        Err(Error::mismatch(
            "vectors: length",
            size,
            self.size(),
            "use vectors over the operator's own parameters",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(rows: &[[f64; 3]]) -> Vectors {
        let values: Vec<f64> = rows.concat();
        Vectors::new(Tensor::from_vec(values, (rows.len(), 3), &Device::Cpu).unwrap()).unwrap()
    }

    #[test]
    fn rows_are_independent() {
        let (a, b) = (
            vectors(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
            vectors(&[[1.0, 0.0, -1.0], [2.0, 2.0, 2.0]]),
        );
        assert_eq!(a.dot(&b).unwrap(), [-2.0, 30.0]);
        assert_eq!(b.norms().unwrap(), [2f64.sqrt(), 12f64.sqrt()]);
        assert_eq!(b.largest_elements().unwrap(), [1.0, 2.0]);
        let negative = a.scaled(&[-1.0, 0.0]).unwrap();
        assert_eq!(negative.largest_elements().unwrap(), [3.0, 0.0]);
        let sum = a.add_scaled(&[10.0, -0.5], &b).unwrap();
        assert_eq!(
            sum.tensor().to_vec2::<f64>().unwrap(),
            [[11.0, 2.0, -7.0], [3.0, 4.0, 5.0]]
        );
        assert_eq!(
            a.select(&[1, 0])
                .unwrap()
                .narrow(0..1)
                .unwrap()
                .tensor()
                .to_vec2::<f64>()
                .unwrap(),
            [[4.0, 5.0, 6.0]]
        );
    }

    #[test]
    fn products_in_parts_come_in_the_order_of_the_rows() {
        let all = vectors(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]);
        let minus = all.scaled(&[-1.0; 3]).unwrap();
        for most in 1..4 {
            let part = |rows: &Vectors| {
                assert!(rows.count() <= most);
                rows.scaled(&vec![-1.0; rows.count()])
            };
            let found = all.in_parts(most, &part).unwrap();
            let rest = found.add_scaled(&[-1.0; 3], &minus).unwrap();
            assert_eq!(rest.norms().unwrap(), [0.0; 3], "{most}");
        }
    }

    #[test]
    fn precisions_mix_as_by_conversion() {
        let (a, b) = (vectors(&[[0.1, 0.2, 0.3]]), vectors(&[[1.1, -0.7, 0.9]]));
        let single = b.to_dtype(DType::F32).unwrap();
        let numbers = |vectors: Vectors| vectors.tensor().to_vec2::<f64>().unwrap();
        assert_eq!(
            numbers(a.add_scaled(&[0.3], &single).unwrap()),
            numbers(
                a.add_scaled(&[0.3], &single.to_dtype(DType::F64).unwrap())
                    .unwrap()
            )
        );
        let rounded = b.scaled_to(&[0.3], DType::F32).unwrap();
        let expected = b.scaled(&[0.3]).unwrap().to_dtype(DType::F32).unwrap();
        assert_eq!(
            rounded.tensor().to_vec2::<f32>().unwrap(),
            expected.tensor().to_vec2::<f32>().unwrap()
        );
        assert!(
            a.dot(&single)
                .unwrap_err()
                .to_string()
                .contains("precision")
        );
    }

    #[test]
    fn all_products_and_combinations_of_rows() {
        let a = vectors(&[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let b = vectors(&[[1.0, 0.0, -1.0], [2.0, 2.0, 2.0], [0.0, 0.5, 0.0]]);
        let found = a.products(&b).unwrap();
        let expected = [[-2.0, 12.0, 1.0], [-2.0, 30.0, 2.5]];
        assert_eq!(found, Mat::from_fn(2, 3, |i, j| expected[i][j]));
        let weights = Mat::from_fn(3, 2, |i, j| [[1.0, -1.0], [0.0, 0.5], [2.0, 0.0]][i][j]);
        let combined = a.combined(weights.as_ref()).unwrap();
        assert_eq!(
            combined.tensor().to_vec2::<f64>().unwrap(),
            [[-3.0, -3.0, -3.0], [2.0, 2.5, 3.0], [2.0, 4.0, 6.0]]
        );
    }

    #[test]
    fn integers_are_refused() {
        let integers = Tensor::zeros((2, 3), DType::U32, &Device::Cpu).unwrap();
        assert!(
            Vectors::new(integers)
                .unwrap_err()
                .to_string()
                .contains("f32 or f64")
        );
    }
}
