//! TRAK: influence on the margin through random projections (Park et al. 2023, equations 13 to 17).
//!
//! The output is f = ln(p/(1 − p)) at the label, whose gradient for the head is −(r ⊗ a)/(1 − p). With φ = Pᵀ∇f, P `[p, k]` of independent
//! normal numbers, the score is φ(query)ᵀ(ΦᵀΦ)⁻¹φ_i·(1 − p_i), in units of the margin. The authors average over models that were
//! trained anew; a convex head has one, so the average is over draws of P, which takes away the noise of the projection and nothing else.

use super::{Estimate, Estimator, Setting, array, inputs};
use crate::Result;
use crate::data::random::{Purpose, generator};
use crate::derivative::head::{HeadInputs, SoftmaxHead, outer_product};
use candle_core::{DType, Device, Tensor};
use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use ndarray::Array2;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// ΦᵀΦ is made definite with this share of its mean diagonal.
const RIDGE: f64 = 1e-6;
/// Gradients that are projected at once.
const BLOCK: usize = 256;

/// Projections of gradients.
#[derive(Debug, Clone, Copy)]
pub struct Trak {
    /// k; at most half of the training images are used.
    pub dimensions: usize,
    /// Draws of P.
    pub projections: usize,
    /// Decides the draws.
    pub seed: u64,
}

impl Default for Trak {
    fn default() -> Self {
        Self {
            dimensions: 512,
            projections: 1,
            seed: 0,
        }
    }
}

impl Estimator for Trak {
    fn name(&self) -> &str {
        "trak"
    }

    fn unit(&self) -> &'static str {
        "margin"
    }

    fn estimate(&self, setting: &Setting) -> Result<Estimate> {
        let (train, queries) = (inputs(&setting.train)?, inputs(&setting.queries)?);
        let size = setting.head.parameter_count();
        let dimensions = (self.dimensions).min(train.count() / 2).min(size).max(1);
        let mut scores = Array2::zeros((queries.count(), train.count()));
        for index in 0..self.projections.max(1) {
            let projection = projection(size, dimensions, self.seed, index as u64)?;
            let (left, _) = projected(setting.head, &queries, &projection)?;
            let (right, rest) = projected(setting.head, &train, &projection)?;
            let mut product = left.dot(&solved(&right).t());
            for (mut column, rest) in product.columns_mut().into_iter().zip(rest) {
                column *= rest;
            }
            scores += &product;
        }
        Ok(Estimate::plain(scores / self.projections.max(1) as f64))
    }
}

/// `[p, k]`; each row from its own index.
fn projection(size: usize, dimensions: usize, seed: u64, draw: u64) -> Result<Tensor> {
    let mut values = vec![0f32; size * dimensions];
    let rows = values.par_chunks_exact_mut(dimensions).enumerate();
    rows.for_each(|(row, values)| {
        let mut random = generator(Purpose::Projection, seed, draw, row as u64);
        (values.iter_mut()).for_each(|value| *value = StandardNormal.sample(&mut random));
    });
    Ok(Tensor::from_vec(values, (size, dimensions), &Device::Cpu)?)
}

/// φ `[n, k]` of every image, and 1 − p.
fn projected(
    head: &SoftmaxHead,
    inputs: &HeadInputs,
    projection: &Tensor,
) -> Result<(Array2<f64>, Vec<f64>)> {
    let residuals = head.to_dtype(DType::F64)?.outputs(inputs)?.residuals;
    let rows = residuals.to_vec2::<f64>()?;
    // r at the label is −(1 − p); a certain image keeps a finite gradient.
    let rest: Vec<f64> = (rows.iter().zip(inputs.labels()))
        .map(|(row, &label)| (-row[label]).max(1e-12))
        .collect();
    let scales: Vec<f64> = rest.iter().map(|rest| -1.0 / rest).collect();
    let scales = Tensor::from_vec(scales, (rest.len(), 1), &Device::Cpu)?;
    let left = residuals.broadcast_mul(&scales)?.to_dtype(DType::F32)?;
    let mut blocks = Vec::new();
    for start in (0..rest.len()).step_by(BLOCK) {
        let range = start..rest.len().min(start + BLOCK);
        let right = inputs.rows().chunk(range.clone())?.to_dtype(DType::F32)?;
        let gradients = outer_product(&left.narrow(0, start, range.len())?, &right)?;
        blocks.push(gradients.matmul(projection)?);
    }
    Ok((array(&Tensor::cat(&blocks, 0)?)?, rest))
}

/// Φ(ΦᵀΦ)⁻¹ `[n, k]`.
fn solved(features: &Array2<f64>) -> Array2<f64> {
    let (count, size) = features.dim();
    let gram = features.t().dot(features);
    let ridge = RIDGE * gram.diag().mean().unwrap_or(1.0);
    let matrix = Mat::from_fn(size, size, |row, column| {
        gram[[row, column]] + if row == column { ridge } else { 0.0 }
    });
    let right = Mat::from_fn(size, count, |row, column| features[[column, row]]);
    let solution = match matrix.llt(Side::Lower) {
        Ok(factor) => factor.solve(&right),
        // Gradients of zeros: nothing is known of any image.
        Err(_) => Mat::zeros(size, count),
    };
    Array2::from_shape_fn((count, size), |(row, column)| solution[(column, row)])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not projected at all, φ is the derivative of ln(p/(1 − p)) by central differences.
    #[test]
    fn gradients_are_those_of_the_margin() {
        let features = Tensor::new(&[[0.3f64, -1.2, 0.5], [1.1, 0.2, -0.7]], &Device::Cpu).unwrap();
        let labels = [2, 0];
        let inputs = HeadInputs::new(&features, &labels, DType::F64).unwrap();
        let values: Vec<f64> = (0..12).map(|at| (f64::from(at) * 1.7).sin()).collect();
        let head = |values: &[f64]| {
            let tensor = Tensor::from_vec(values.to_vec(), (3, 4), &Device::Cpu).unwrap();
            SoftmaxHead::from_parameters(&tensor).unwrap()
        };
        let margins = |values: &[f64]| -> Vec<f64> {
            let losses = head(values).outputs(&inputs).unwrap().losses;
            losses
                .iter()
                .map(|loss| -loss - (-(-loss).exp()).ln_1p())
                .collect()
        };
        let eye = Tensor::eye(12, DType::F32, &Device::Cpu).unwrap();
        let (found, rest) = projected(&head(&values), &inputs, &eye).unwrap();
        for at in 0..12 {
            let moved = |by: f64| {
                let mut values = values.clone();
                values[at] += by;
                margins(&values)
            };
            let (up, down) = (moved(1e-6), moved(-1e-6));
            for image in 0..2 {
                let expected = (up[image] - down[image]) / 2e-6;
                assert!(
                    (found[[image, at]] - expected).abs() < 1e-5,
                    "{image}, {at}"
                );
            }
        }
        let losses = head(&values).outputs(&inputs).unwrap().losses;
        assert!((rest[0] - (1.0 - (-losses[0]).exp())).abs() < 1e-12);
    }
}
