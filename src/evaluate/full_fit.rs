//! The head of all training images: where every refit starts, and the curvature that steers it.

use super::heads::{ClassAxes, Images};
use super::refit::{QueryRows, ROUNDING, Refit, RefitOptions, Refitting, Steering, hits};
use crate::Result;
use crate::data::Rows;
use crate::derivative::head::{HeadCoordinates, HeadInputs, SoftmaxHead};
use crate::operator::{HeadHessian, LinearOperator};
use crate::solve::{Direct, Ekfac, Newton, Solver};
use candle_core::{DType, Device};
use std::cell::OnceCell;

/// Numbers that the memories of the refits of one block may take: 256 MiB.
const BLOCK_ELEMENTS: usize = 1 << 25;

/// The head of all training images and what their curvature was factorised for.
pub struct FullFit {
    /// The minimiser.
    pub head: SoftmaxHead,
    /// ‖∇F‖ there.
    pub gradient_norm: f64,
    pub(super) coordinates: HeadCoordinates,
    pub(super) rows: Rows,
    pub(super) hessian: HeadHessian,
    pub(super) training: HeadInputs,
    /// ‖∇F‖ at the head that knows nothing, or 1: what gradient norms are relative to.
    pub(super) scale: f64,
    pub(super) l2: f64,
    pub(super) options: RefitOptions,
}

impl FullFit {
    /// Fits the head to all of `training` (f64), from `start`.
    ///
    /// # Errors
    /// l2 ≤ 0, inputs that do not fit, or no convergence.
    pub fn new(
        training: &HeadInputs,
        start: SoftmaxHead,
        l2: f64,
        options: RefitOptions,
    ) -> Result<Self> {
        let newton = Newton {
            // Of less than this rounding leaves nothing to be wished for.
            gradient_norm: options.gradient_norm.max(1e-12),
            ..Newton::new(l2)
        };
        let mut fit = newton.fit(training, start.to_dtype(DType::F64)?)?;
        let zero = SoftmaxHead::zeros(
            fit.head.class_count(),
            fit.head.feature_count(),
            DType::F64,
            &Device::Cpu,
        )?;
        let at_zero = zero.objective(training, l2)?.1.sqr()?.sum_all()?;
        let scale = at_zero.to_scalar::<f64>()?.sqrt().max(1.0);
        // What is left here is in every difference to a refit.
        if fit.gradient_norm > ROUNDING * scale {
            fit = newton.polished(training, fit)?;
        }
        let outputs = fit.head.outputs(training)?;
        let coordinates = HeadCoordinates::of(training, &outputs)?;
        let rows = coordinates.inputs(training)?;
        let hessian = HeadHessian::in_coordinates(&coordinates, &rows, &outputs, l2)?;
        Ok(Self {
            head: fit.head,
            gradient_norm: fit.gradient_norm,
            scale,
            training: training.clone(),
            coordinates,
            rows,
            hessian,
            l2,
            options,
        })
    }

    /// How many refits go in one block: decided by sizes alone, so that numbers do not depend on the machine.
    pub fn block(&self) -> usize {
        (BLOCK_ELEMENTS / (32 * self.hessian.size())).clamp(8, 64)
    }

    /// What the head itself says of `queries`.
    ///
    /// # Errors
    /// Queries that do not fit.
    pub fn measured(&self, queries: &HeadInputs) -> Result<Refit> {
        let (rows, labels) = (self.coordinates.inputs(queries)?, queries.labels());
        let images = Images {
            rows: &rows,
            labels,
        };
        let start = in_axes(&self.head, &self.coordinates)?;
        let (losses, predictions) = images.outputs(&start, &ClassAxes::of(&self.coordinates)?)?;
        Ok(Refit {
            losses,
            hits: hits(&predictions, labels),
            predictions,
            gradient_norm: self.gradient_norm,
            converged: true,
            steps: 0,
        })
    }

    /// Refits that say what they do to `queries`.
    ///
    /// # Errors
    /// Queries that do not fit.
    pub fn refitting(&self, queries: &HeadInputs) -> Result<Refitting<'_>> {
        self.refitting_to(queries, &self.options)
    }

    /// The same with other limits than those of the fit itself, for refits that are few.
    ///
    /// # Errors
    /// As for [`FullFit::refitting`].
    pub fn refitting_to(
        &self,
        queries: &HeadInputs,
        options: &RefitOptions,
    ) -> Result<Refitting<'_>> {
        // The head's own outputs check that queries and head fit.
        self.head.outputs(queries)?;
        Ok(Refitting {
            tolerance: options.gradient_norm * self.scale,
            most_steps: options.steps,
            queries: QueryRows {
                rows: self.coordinates.inputs(queries)?,
                labels: queries.labels().to_vec(),
            },
            start: in_axes(&self.head, &self.coordinates)?,
            fit: self,
            factorised: options.factorised,
            steering: OnceCell::new(),
        })
    }

    /// What steers refits that are not of few images: a factor of the curvature of at most so many parameters, else its diagonal.
    pub(super) fn steering(&self, factorised: usize) -> Result<Steering<'_>> {
        let size = self.hessian.size();
        if size > factorised {
            return Ok(Steering {
                inverse: Ekfac.prepare(&self.hessian)?,
                operations: 0.0,
            });
        }
        let (n, p) = (self.training.count() as f64, size as f64);
        let (e, w) = (self.rows.columns() as f64, p / self.rows.columns() as f64);
        Ok(Steering {
            inverse: Direct.prepare(&self.hessian)?,
            operations: w * (w + 1.0) / 2.0 * e * e * n + p.powi(3) / 3.0,
        })
    }
}

/// φ = Uᵀ θ Q, `[w, d + 1]`.
fn in_axes(head: &SoftmaxHead, coordinates: &HeadCoordinates) -> Result<Vec<f64>> {
    let parameters = head.parameters().to_dtype(DType::F64)?;
    let rows = coordinates.classes().t()?.matmul(&parameters)?;
    Ok(rows
        .matmul(coordinates.features())?
        .flatten_all()?
        .to_vec1()?)
}
