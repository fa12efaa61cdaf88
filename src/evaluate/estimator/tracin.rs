//! TracIn: gradient dot products summed over checkpoints of the head's training (Pruthi et al. 2020, equation 4).
//!
//! Σ_t η_t ∇ℓ(query, θ_t)·∇ℓ(train, θ_t): how much a step on the training image lowered the query's loss, in nats a step. Here
//! all η_t are 1: a constant rate scales every score alike. A head that was fitted by Newton's method has no checkpoints.

use super::{Estimate, Estimator, Setting, array, inputs};
use crate::derivative::head::SoftmaxHead;
use crate::{Error, Result};
use candle_core::DType;
use ndarray::Array2;

/// The head at several times of its training.
#[derive(Debug, Clone, Default)]
pub struct TracIn {
    /// In any order.
    pub checkpoints: Vec<SoftmaxHead>,
}

impl Estimator for TracIn {
    fn name(&self) -> &str {
        "tracin"
    }

    fn unit(&self) -> &'static str {
        "nats a step"
    }

    fn check(&self, head: &SoftmaxHead) -> Result<()> {
        if self.checkpoints.is_empty() {
            let reason = "tracin sums over checkpoints of the head: give them with --checkpoints";
            return Err(Error::config("compare", reason));
        }
        let shape = |head: &SoftmaxHead| (head.class_count(), head.feature_count());
        let mut shapes = self.checkpoints.iter().map(shape);
        match shapes.find(|&other| other != shape(head)) {
            None => Ok(()),
            Some((classes, features)) => Err(Error::mismatch(
                "--checkpoints: a head",
                format!(
                    "{} classes and {} features, as the run's head has",
                    head.class_count(),
                    head.feature_count()
                ),
                format!("{classes} and {features}"),
                "give checkpoints of the run's head",
            )),
        }
    }

    fn estimate(&self, setting: &Setting) -> Result<Estimate> {
        self.check(setting.head)?;
        let (train, queries) = (inputs(&setting.train)?, inputs(&setting.queries)?);
        let products = queries.rows().all()?.matmul(&train.rows().all()?.t()?)?;
        let mut scores = Array2::zeros((queries.count(), train.count()));
        for head in &self.checkpoints {
            let head = head.to_dtype(DType::F64)?;
            let (left, right) = (head.outputs(&queries)?, head.outputs(&train)?);
            let residuals = left.residuals.matmul(&right.residuals.t()?)?;
            scores += &array(&(residuals * &products)?)?;
        }
        Ok(Estimate::plain(scores))
    }
}
