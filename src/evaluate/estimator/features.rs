//! The cosine of two images' features: what looks alike helps, whatever the labels. It knows neither head nor curvature.

use super::{Estimate, Estimator, Setting, array};
use crate::Result;
use candle_core::{DType, Tensor};

/// xᵀx' / (‖x‖‖x'‖), in [−1, 1].
#[derive(Debug, Clone, Copy, Default)]
pub struct FeatureCosine;

impl Estimator for FeatureCosine {
    fn name(&self) -> &str {
        "feature-cosine"
    }

    fn unit(&self) -> &'static str {
        "cosine"
    }

    fn estimate(&self, setting: &Setting) -> Result<Estimate> {
        let unit = |rows: Tensor| -> Result<Tensor> {
            let rows = rows.to_dtype(DType::F64)?;
            // Features of zeros are like nothing.
            let lengths = rows
                .sqr()?
                .sum_keepdim(1)?
                .sqrt()?
                .maximum(f64::MIN_POSITIVE)?;
            Ok(rows.broadcast_div(&lengths)?)
        };
        let (queries, train) = (
            setting.queries.features.all()?,
            setting.train.features.all()?,
        );
        let products = unit(queries)?.matmul(&unit(train)?.t()?)?;
        Ok(Estimate::plain(array(&products)?))
    }
}
