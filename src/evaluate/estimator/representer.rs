//! Representer points: the head as a sum over its training images (Yeh et al. 2018, theorem 3.1).
//!
//! Where the gradient of mean(ℓ) + l2/2·‖θ‖² vanishes, θ = −(1/(l2·n)) Σ_i r_i ⊗ a_i: image i gives the query's logit of its label
//! −(1/(l2·n)) r_i[y]·a_iᵀa. At a head that is not at its minimum the sum is not the head, and the numbers mean less.

use super::{Estimate, Estimator, Setting, array, inputs};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// What each training image adds to the logit of the query's label.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepresenterPoints;

impl Estimator for RepresenterPoints {
    fn name(&self) -> &str {
        "representer"
    }

    fn unit(&self) -> &'static str {
        "logit"
    }

    fn estimate(&self, setting: &Setting) -> Result<Estimate> {
        if setting.l2 <= 0.0 {
            let reason = "representer needs a run with an L2 term above 0; leave it out";
            return Err(Error::config("compare", reason));
        }
        let (train, queries) = (inputs(&setting.train)?, inputs(&setting.queries)?);
        let head = setting.head.to_dtype(DType::F64)?;
        let residuals = head.outputs(&train)?.residuals;
        let labels: Vec<u32> = queries.labels().iter().map(|&label| label as u32).collect();
        let labels = Tensor::new(labels, residuals.device())?;
        // [query, train]: the residual of each training image in the query's class.
        let residuals = residuals.t()?.contiguous()?.index_select(&labels, 0)?;
        let products = queries.rows().all()?.matmul(&train.rows().all()?.t()?)?;
        let scale = -1.0 / (setting.l2 * train.count() as f64);
        Ok(Estimate::plain(array(&((residuals * products)? * scale)?)?))
    }
}
