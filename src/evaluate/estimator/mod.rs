//! Estimators behind one seam: a setting in, scores `[query, train]` out.
//!
//! Positive means helpful for all of them; the unit is nats for influence and another one for most baselines, which a
//! correlation of ranks does not mind. Each baseline is one file.

mod features;
mod fixed;
mod neighbours;
mod ranked;
mod representer;
#[cfg(test)]
mod tests;
mod tracin;
mod trak;

pub use features::FeatureCosine;
pub use fixed::Fixed;
pub use neighbours::NearestNeighbours;
pub use ranked::{Ranked, self_influence};
pub use representer::RepresenterPoints;
pub use tracin::TracIn;
pub use trak::Trak;

use crate::Result;
use crate::artefact::{measured_peak_bytes, reset_peak_memory};
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use crate::influence::FeatureSet;
use candle_core::{DType, Tensor};
use ndarray::Array2;
use std::path::Path;
use std::time::Instant;

/// What an estimator is given.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The images the head was trained on.
    pub train: FeatureSet<'a>,
    /// The queries.
    pub queries: FeatureSet<'a>,
    /// The head at which scores are computed.
    pub head: &'a SoftmaxHead,
    /// The L2 term it was trained with.
    pub l2: f64,
    /// A folder for files that do not outlive the estimate.
    pub scratch: &'a Path,
}

/// Scores, and what came with them.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// `[query, train]`, positive = helpful.
    pub scores: Array2<f64>,
    /// Solves that missed their tolerance.
    pub failures: usize,
    /// What the user should know of.
    pub notes: Vec<String>,
    /// Of the first ranks of all queries, the share that is proven; nothing where no proof was asked for or none exists.
    pub certified: Option<f64>,
}

impl Estimate {
    fn plain(scores: Array2<f64>) -> Self {
        Self {
            scores,
            failures: 0,
            notes: Vec::new(),
            certified: None,
        }
    }
}

/// A method that says how much each training image helps each query.
pub trait Estimator {
    /// What it is called in tables and figures.
    fn name(&self) -> &str;

    /// The unit of its scores: nats where they predict a rise of the loss.
    fn unit(&self) -> &'static str;

    /// Refuses a head that it has no scores at, before any work.
    ///
    /// # Errors
    /// What it was given does not fit `head`.
    fn check(&self, head: &SoftmaxHead) -> Result<()> {
        let _ = head;
        Ok(())
    }

    /// Scores every query against every training image.
    ///
    /// # Errors
    /// Input that does not fit, a curvature that cannot be inverted, scores that are not finite.
    fn estimate(&self, setting: &Setting) -> Result<Estimate>;
}

/// An estimate and its cost.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Of the estimator.
    pub name: String,
    /// Of the scores.
    pub unit: &'static str,
    /// The scores.
    pub estimate: Estimate,
    /// Of the estimate alone, features and head being there.
    pub seconds: f64,
    /// Peak of the process during the estimate beyond what it held before; nothing where the system does not say.
    pub bytes: Option<u64>,
}

/// Runs an estimator and measures it.
///
/// # Errors
/// As for [`Estimator::estimate`].
pub fn measured(estimator: &dyn Estimator, setting: &Setting) -> Result<Measured> {
    let before = reset_peak_memory();
    let started = Instant::now();
    let estimate = estimator.estimate(setting)?;
    let seconds = started.elapsed().as_secs_f64();
    let bytes = before.and_then(|before| Some(measured_peak_bytes()?.saturating_sub(before)));
    Ok(Measured {
        name: estimator.name().to_owned(),
        unit: estimator.unit(),
        estimate,
        seconds,
        bytes,
    })
}

/// A set's inputs with a 1 appended, f64.
fn inputs(set: &FeatureSet) -> Result<HeadInputs> {
    HeadInputs::new(set.features, set.labels, DType::F64)
}

fn array(matrix: &Tensor) -> Result<Array2<f64>> {
    let shape = matrix.dims2()?;
    let values = matrix.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(Array2::from_shape_vec(shape, values).map_err(ndarray_linalg::error::LinalgError::from)?)
}
