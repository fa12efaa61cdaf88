//! The curvature of the cross-entropy in the logits, diag(π) − ππᵀ, applied in place to many logit directions at once.
//!
//! With z shifted so that it is 0 at the most probable class (the matrix does not see shifts), the product is
//! π_c (z_c − Σ_k π_k z_k) and no difference of nearly equal numbers is left where one π is close to 1.
//! On the CPU this is one parallel pass; other devices compose it from tensor operations.

use crate::Result;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, bail};
use rayon::prelude::*;
use std::ops::{AddAssign, Mul, Sub};

/// Replaces every logit direction in `directions` `[m, k·C]`, k to a row, by its product with diag(π) − ππᵀ of that
/// row's `probabilities` `[m, C]`; returns the result in the same layout.
pub(super) fn apply(directions: Tensor, probabilities: &Tensor) -> Result<Tensor> {
    if directions.device().is_cpu() {
        directions.inplace_op2(&probabilities.contiguous()?, &SoftmaxCurvature)?;
        return Ok(directions);
    }
    let (rows, columns) = directions.dims2()?;
    let classes = probabilities.dims()[1];
    let logits = directions.reshape((rows, columns / classes, classes))?;
    let weights = probabilities.unsqueeze(1)?;
    let mean = logits.broadcast_mul(&weights)?.sum_keepdim(2)?;
    Ok(logits
        .broadcast_sub(&mean)?
        .broadcast_mul(&weights)?
        .reshape((rows, columns))?)
}

struct SoftmaxCurvature;

impl InplaceOp2 for SoftmaxCurvature {
    fn name(&self) -> &'static str {
        "softmax curvature"
    }

    fn cpu_fwd(
        &self,
        directions: &mut CpuStorage,
        directions_layout: &Layout,
        probabilities: &CpuStorage,
        probabilities_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (_, columns) = directions_layout.shape().dims2()?;
        let (_, classes) = probabilities_layout.shape().dims2()?;
        let (from, to) = directions_layout.contiguous_offsets().unwrap_or((0, 0));
        let start = probabilities_layout.start_offset();
        match (directions, probabilities) {
            (CpuStorage::F32(z), CpuStorage::F32(p)) => {
                rows(&mut z[from..to], &p[start..], columns, classes)
            }
            (CpuStorage::F64(z), CpuStorage::F64(p)) => {
                rows(&mut z[from..to], &p[start..], columns, classes)
            }
            _ => bail!(
                "the {} needs two matrices of one precision, f32 or f64",
                self.name()
            ),
        }
        Ok(())
    }
}

fn rows<T>(directions: &mut [T], probabilities: &[T], columns: usize, classes: usize)
where
    T: Copy + Default + PartialOrd + Send + Sync + Sub<Output = T> + Mul<Output = T> + AddAssign,
{
    directions
        .par_chunks_exact_mut(columns)
        .zip(probabilities.par_chunks_exact(classes))
        .for_each(|(row, weights)| {
            let top = (1..classes).fold(0, |best, class| {
                if weights[class] > weights[best] {
                    class
                } else {
                    best
                }
            });
            for logits in row.chunks_exact_mut(classes) {
                let (shift, mut mean) = (logits[top], T::default());
                for (logit, &weight) in logits.iter_mut().zip(weights) {
                    *logit = *logit - shift;
                    mean += weight * *logit;
                }
                logits
                    .iter_mut()
                    .zip(weights)
                    .for_each(|(logit, &weight)| *logit = weight * (*logit - mean));
            }
        });
}
