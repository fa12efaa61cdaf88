//! Row-wise outer products: `[m, C]` and `[m, e]` give `[m, C·e]`, row i holding left_i ⊗ right_i.
//!
//! On the CPU a parallel loop of our own: a broadcast multiplication walks strided indices on one thread.

use crate::Result;
use crate::in_parallel::for_each_row;
#[cfg(feature = "cuda")]
use crate::model::op::cuda::row_outer;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor, bail};
use std::ops::Mul;

/// The outer product of each row of `left` `[m, C]` with the same row of `right` `[m, e]`, `[m, C·e]`.
///
/// # Errors
/// Precisions or row counts differ, or a tensor operation failed.
pub(crate) fn outer_product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let (left, right) = (left.contiguous()?, right.contiguous()?);
    #[cfg(feature = "cuda")]
    if left.device().is_cuda() {
        return Ok(row_outer(&left, &right)?);
    }
    Ok(left.apply_op2_no_bwd(&right, &OuterProduct)?)
}

struct OuterProduct;

impl CustomOp2 for OuterProduct {
    fn name(&self) -> &'static str {
        "row-wise outer product"
    }

    fn cpu_fwd(
        &self,
        left: &CpuStorage,
        left_layout: &Layout,
        right: &CpuStorage,
        right_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((rows, lefts), (_, rights)) =
            (left_layout.shape().dims2()?, right_layout.shape().dims2()?);
        let (from_left, from_right) = (left_layout.start_offset(), right_layout.start_offset());
        let product = match (left, right) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => CpuStorage::F32(rowwise(
                &a[from_left..],
                &b[from_right..],
                rows,
                lefts,
                rights,
            )),
            (CpuStorage::F64(a), CpuStorage::F64(b)) => CpuStorage::F64(rowwise(
                &a[from_left..],
                &b[from_right..],
                rows,
                lefts,
                rights,
            )),
            _ => bail!(
                "the {} needs two matrices of one precision, f32 or f64",
                self.name()
            ),
        };
        Ok((product, (rows, lefts * rights).into()))
    }
}

fn rowwise<T>(left: &[T], right: &[T], rows: usize, lefts: usize, rights: usize) -> Vec<T>
where
    T: Copy + Default + Send + Sync + Mul<Output = T>,
{
    let mut product = vec![T::default(); rows * lefts * rights];
    for_each_row(&mut product, rights, &|position, target| {
        let row = position / lefts;
        let source = &right[row * rights..(row + 1) * rights];
        let factor = left[position];
        target
            .iter_mut()
            .zip(source)
            .for_each(|(value, &other)| *value = factor * other);
    });
    product
}
