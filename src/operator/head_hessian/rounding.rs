//! What rounding can do to a product with the head's Hessian.

use super::HeadHessian;
use crate::Result;
use crate::data::{Rows, moved};
use crate::operator::{LinearOperator, Rounding, bands};
use candle_core::{DType, Device, Tensor};

impl HeadHessian {
    /// With m_j the root mean square of axis j and q_i = ‖a_i / m‖, the logit directions of image i are at most ‖V ∘ m‖ q_i long
    /// and as wrong as γ times that; the curvature multiplies by ‖W_i‖, and column j of the pull-back sums them with |a_ij|: its
    /// error is at most γ ‖V ∘ m‖ (1/n) Σ_i ‖W_i‖ q_i |a_ij|. γ = ku/(1 − ku), k the longest chain of sums: d + 1 terms for the
    /// directions, w for the curvature (or what stands for them, `longest_chain`), the images of a chunk and the chunks for the pull-back.
    pub(super) fn rounding_bounds(&self) -> Result<Rounding> {
        let (width, count) = (self.curvature.width(), self.count());
        let columns = self.columns();
        let unit = match self.dtype() {
            DType::F64 => f64::EPSILON / 2.0,
            _ => f64::from(f32::EPSILON) / 2.0,
        };
        let weights = root_mean_squares(&self.inputs)?;
        let mut sums = vec![0.0; columns];
        for step in self.inputs.steps() {
            let inputs = on_host(&self.inputs.chunk(step.clone())?)?;
            let norms = self.curvature.narrow(step.start, step.len())?.norms()?;
            for (row, norm) in inputs.chunks_exact(columns).zip(norms) {
                let relative: f64 = (row.iter().zip(&weights))
                    .map(|(a, m)| (a / m).powi(2))
                    .sum();
                let factor = relative.sqrt() * norm / count as f64;
                (sums.iter_mut().zip(row)).for_each(|(sum, a)| *sum += factor * a.abs());
            }
        }
        let additions = columns + self.row_chunk + count.div_ceil(self.row_chunk) + 20;
        let chain = additions as f64 + self.curvature.longest_chain();
        let gamma = 1.01 * chain * unit / (1.0 - chain * unit);
        Ok(Rounding {
            width,
            weights,
            errors: bands(columns)
                .into_iter()
                .map(|band| sums[band].iter().map(|sum| sum * sum).sum::<f64>().sqrt() * gamma)
                .collect(),
            scalar: 8.0 * unit * self.l2,
        })
    }
}

/// Of each column; columns of (nearly) zeros count as a millionth of the largest.
fn root_mean_squares(inputs: &Rows) -> Result<Vec<f64>> {
    let columns = inputs.columns();
    let mut squares = vec![0.0; columns];
    for step in inputs.steps() {
        for row in on_host(&inputs.chunk(step)?)?.chunks_exact(columns) {
            (squares.iter_mut().zip(row)).for_each(|(square, a)| *square += a * a);
        }
    }
    let count = inputs.count().max(1) as f64;
    let roots: Vec<f64> = squares
        .iter()
        .map(|square| (square / count).sqrt())
        .collect();
    let floor = 1e-6
        * roots
            .iter()
            .fold(f64::MIN_POSITIVE, |most, &root| most.max(root));
    Ok(roots.into_iter().map(|root| root.max(floor)).collect())
}

fn on_host(chunk: &Tensor) -> Result<Vec<f64>> {
    let chunk = moved(chunk, &Device::Cpu)?.to_dtype(DType::F64)?;
    Ok(chunk.flatten_all()?.to_vec1()?)
}
