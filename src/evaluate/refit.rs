//! Fitting the head again to some of its training images, from where all of them left it and with their factorised curvature.
//!
//! Operations, p′ = (C − 1)(d + 1) parameters: once n·(d + 1)²·C(C − 1)/2 for the matrix and p′³/3 for its Cholesky factor (in
//! f32, which only steers), then for each step of a refit 4np′ for the gradient in f64 and 2p′² for the two triangular
//! solves. The floor is one step a refit; leaving out one image takes five to seven to a gradient of 1e-10, half of the images
//! ten to thirty ([`Work`] counts them). Newton's method from scratch would take p′³/3 at every step of every refit.
//!
//! Where so few images are kept that their own curvature is cheaper, that is factorised at every step ([`OwnCurvature`]); so it is
//! where the steps above do not reach the gradient norm and it is small enough.
//!
//! Heads of more than [`LARGEST`] parameters have no factor; the curvature's diagonal in its Kronecker axes stands in, and more
//! steps are needed.

#[cfg(test)]
mod tests;

use super::full_fit::FullFit;
use super::heads::{ClassAxes, Heads, Images, Kept};
use super::own_curvature::{OwnCurvature, OwnSize};
use super::quasi_newton::{Descent, Trial};
use crate::Result;
use crate::data::Rows;
use crate::operator::Vectors;
use crate::solve::{Inverse, LARGEST};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// Of the gradient that a refit begins with, what it goes down to at least.
const OF_FIRST: f64 = 1e-4;
/// Of the gradient at θ = 0, what rounding leaves.
pub(super) const ROUNDING: f64 = 1e-14;

/// How far refits go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefitOptions {
    /// Stop where ‖∇F‖ is at most this, or this share of the gradient at θ = 0 where that is larger than 1.
    pub gradient_norm: f64,
    /// Most steps.
    pub steps: usize,
    /// The largest number of parameters whose curvature is factorised.
    pub factorised: usize,
}

impl Default for RefitOptions {
    fn default() -> Self {
        Self {
            gradient_norm: 1e-10,
            steps: 400,
            factorised: LARGEST,
        }
    }
}

/// A head fitted to all training images, ready to be fitted to some of them.
pub struct Refitting<'a> {
    pub(super) fit: &'a FullFit,
    pub(super) queries: QueryRows,
    /// The gradient norm at which a refit has arrived.
    pub(super) tolerance: f64,
    pub(super) most_steps: usize,
    /// The largest number of parameters whose curvature is factorised.
    pub(super) factorised: usize,
    /// Made when it is first needed.
    pub(super) steering: OnceCell<Steering<'a>>,
    /// The head of all images, in the axes.
    pub(super) start: Vec<f64>,
}

/// The inverse curvature of all images, or what stands in for it.
pub(super) struct Steering<'a> {
    pub(super) inverse: Box<dyn Inverse + 'a>,
    /// Operations of the matrix and its factor; 0 where there is none.
    pub(super) operations: f64,
}

pub(super) struct QueryRows {
    pub(super) rows: Rows,
    pub(super) labels: Vec<usize>,
}

/// How a refit ended, and what it says of the queries.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Refit {
    /// Each query's loss in nats.
    pub losses: Vec<f64>,
    /// Each query's most probable class.
    pub predictions: Vec<usize>,
    /// Whether that is its label.
    pub hits: Vec<bool>,
    /// ‖∇F‖ where it ended.
    pub gradient_norm: f64,
    /// Whether that is within the tolerance.
    pub converged: bool,
    /// Steps taken.
    pub steps: usize,
}

/// A head where its refit ended, and what that took.
pub(super) struct Fitted {
    /// φ, `[w, d + 1]`.
    pub(super) parameters: Vec<f64>,
    pub(super) gradient_norm: f64,
    pub(super) steps: usize,
    /// Gradients taken.
    pub(super) gradients: usize,
    pub(super) operations: f64,
    /// Operations if it had taken one step.
    pub(super) floor: f64,
}

/// What refits took.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Work {
    /// Refits.
    pub refits: usize,
    /// Those that did not reach the tolerance.
    pub not_converged: usize,
    /// The largest gradient norm that was left.
    pub largest_gradient: f64,
    /// Steps of the longest refit.
    pub most_steps: usize,
    /// Gradients of single heads.
    pub gradients: usize,
    /// Operations, without those of the factor.
    pub operations: f64,
    /// Operations if every refit had taken one step.
    pub floor: f64,
}

impl Work {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            refits: self.refits + other.refits,
            not_converged: self.not_converged + other.not_converged,
            largest_gradient: self.largest_gradient.max(other.largest_gradient),
            most_steps: self.most_steps.max(other.most_steps),
            gradients: self.gradients + other.gradients,
            operations: self.operations + other.operations,
            floor: self.floor + other.floor,
        }
    }
}

impl Refitting<'_> {
    /// Fits a head to each of `kept`, all in one block.
    ///
    /// # Errors
    /// A tensor operation failed; a refit that does not converge says so.
    pub fn refit(&self, kept: &[Kept]) -> Result<(Vec<Refit>, Work)> {
        let heads = self.heads()?;
        let fits = self.fitted(&heads, kept)?;
        let parameters: Vec<f64> = (fits.iter())
            .flat_map(|fit| fit.parameters.iter().copied())
            .collect();
        let (losses, predictions) = self.queries.images().outputs(&parameters, &heads.axes)?;
        let labels = &self.queries.labels;
        let queries = labels.len();
        let refits: Vec<Refit> = (fits
            .iter()
            .zip(predictions.chunks_exact(queries))
            .enumerate())
        .map(|(at, (fit, predictions))| Refit {
            losses: losses[at * queries..][..queries].to_vec(),
            hits: hits(predictions, labels),
            predictions: predictions.to_vec(),
            gradient_norm: fit.gradient_norm,
            converged: fit.gradient_norm <= self.tolerance,
            steps: fit.steps,
        })
        .collect();
        let work = self.work(&refits, &fits);
        Ok((refits, work))
    }

    /// Few images by their own curvature, the others together, and of these each by its own that did not arrive.
    fn fitted(&self, heads: &Heads, kept: &[Kept]) -> Result<Vec<Fitted>> {
        let step = self.step_operations();
        let (few, many): (Vec<usize>, Vec<usize>) =
            (0..kept.len()).partition(|&at| OwnSize::of(self.fit, &kept[at]).is_cheaper(step));
        let (fit, tolerance, most_steps) = (self.fit, self.tolerance, self.most_steps);
        let by_own = |at: usize| OwnCurvature::of(fit, &kept[at])?.fitted(tolerance, most_steps);
        let mut fits: BTreeMap<usize, Fitted> = (few.into_par_iter())
            .map(|at| Ok((at, by_own(at)?)))
            .collect::<Result<_>>()?;
        let parts: Vec<&Kept> = many.iter().map(|&at| &kept[at]).collect();
        fits.extend(many.iter().copied().zip(self.descend(heads, &parts)?));
        for at in many {
            let before = &fits[&at];
            let is_possible = OwnSize::of(fit, &kept[at]).is_possible();
            if before.gradient_norm > tolerance && is_possible {
                let mut again = by_own(at)?;
                if again.gradient_norm >= before.gradient_norm {
                    continue;
                }
                again.gradients += before.gradients;
                again.operations += before.operations;
                fits.insert(at, again);
            }
        }
        Ok(fits.into_values().collect())
    }

    /// Operations of the curvature and its factor; 0 where none was made.
    pub fn factor_operations(&self) -> f64 {
        (self.steering.get()).map_or(0.0, |steering| steering.operations)
    }

    fn steering(&self) -> Result<&Steering<'_>> {
        match self.steering.get() {
            Some(steering) => Ok(steering),
            None => {
                let steering = self.fit.steering(self.factorised)?;
                Ok(self.steering.get_or_init(|| steering))
            }
        }
    }

    fn heads(&self) -> Result<Heads<'_>> {
        let images = Images {
            rows: &self.fit.rows,
            labels: self.fit.training.labels(),
        };
        let axes = ClassAxes::of(&self.fit.coordinates)?;
        Ok(Heads::new(images, axes, self.fit.l2))
    }

    /// All heads step together, for the sake of matrix products; whoever has arrived drops out.
    fn descend(&self, heads: &Heads, kept: &[&Kept]) -> Result<Vec<Fitted>> {
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        let size = heads.size();
        let first = heads.objectives(&self.start.repeat(kept.len()), kept)?;
        let mut gradients = vec![1; kept.len()];
        let mut fits: Vec<Descent> = (first.values.iter().zip(first.gradients.chunks_exact(size)))
            .map(|(&value, gradient)| Descent::new(self.start.clone(), value, gradient.to_vec()))
            .collect();
        let stops: Vec<f64> = fits
            .iter()
            .map(|fit| self.stop(fit.gradient_norm))
            .collect();
        let has_arrived = |at: usize, fit: &Descent| {
            fit.gradient_norm <= stops[at] || fit.steps >= self.most_steps
        };
        let mut moving: Vec<usize> = (0..kept.len())
            .filter(|&at| !has_arrived(at, &fits[at]))
            .collect();
        let mut turning = moving.clone();
        while !moving.is_empty() {
            self.turn(&mut fits, &turning)?;
            let trials: Vec<f64> = moving.iter().flat_map(|&at| fits[at].trial()).collect();
            let parts: Vec<&Kept> = moving.iter().map(|&at| kept[at]).collect();
            let found = heads.objectives(&trials, &parts)?;
            moving.iter().for_each(|&at| gradients[at] += 1);
            turning.clear();
            let mut next = Vec::new();
            let points = found.values.iter().zip(found.gradients.chunks_exact(size));
            for (&at, (&value, gradient)) in moving.iter().zip(points) {
                match fits[at].judge(value, gradient) {
                    Trial::Stuck => {}
                    Trial::Halved => next.push(at),
                    Trial::Accepted if has_arrived(at, &fits[at]) => {}
                    Trial::Accepted => {
                        next.push(at);
                        turning.push(at);
                    }
                }
            }
            moving = next;
        }
        let (gradient, solve) = (self.gradient_operations(), self.solve_operations());
        let fitted = |(fit, gradients): (Descent, usize)| Fitted {
            operations: gradients as f64 * gradient + fit.steps as f64 * solve,
            parameters: fit.parameters,
            gradient_norm: fit.gradient_norm,
            steps: fit.steps,
            gradients,
            floor: gradient + solve,
        };
        Ok(fits.into_iter().zip(gradients).map(fitted).collect())
    }

    /// The gradient norm at which a refit that begins at `first` stops. Without an image that says little the head of all images may
    /// be within the tolerance already, and what the image does would be lost.
    fn stop(&self, first: f64) -> f64 {
        let least = (OF_FIRST * first).max(ROUNDING * self.fit.scale);
        least.min(self.tolerance)
    }

    /// New directions for the fits at `turning`.
    fn turn(&self, fits: &mut [Descent], turning: &[usize]) -> Result<()> {
        if turning.is_empty() {
            return Ok(());
        }
        let size = self.start.len();
        let rows: Vec<f64> = (turning.iter())
            .flat_map(|&at| fits[at].before_inverse())
            .collect();
        let tensor = Tensor::from_vec(rows, (turning.len(), size), &Device::Cpu)?;
        let solved = self.steering()?.inverse.step(&Vectors::new(tensor)?)?.value;
        let solved: Vec<f64> = solved.tensor().flatten_all()?.to_vec1()?;
        for (&at, solved) in turning.iter().zip(solved.chunks_exact(size)) {
            fits[at].after_inverse(solved.to_vec());
        }
        Ok(())
    }

    /// Operations of a gradient over all images.
    fn gradient_operations(&self) -> f64 {
        4.0 * self.fit.training.count() as f64 * self.start.len() as f64
    }

    /// Operations of an application of the factor.
    fn solve_operations(&self) -> f64 {
        match self.start.len() <= self.factorised {
            true => 2.0 * (self.start.len() as f64).powi(2),
            false => 0.0,
        }
    }

    fn step_operations(&self) -> f64 {
        self.gradient_operations() + self.solve_operations()
    }

    fn work(&self, refits: &[Refit], fits: &[Fitted]) -> Work {
        Work {
            refits: refits.len(),
            not_converged: refits.iter().filter(|refit| !refit.converged).count(),
            largest_gradient: (refits.iter())
                .fold(0.0, |most, refit| most.max(refit.gradient_norm)),
            most_steps: refits.iter().map(|refit| refit.steps).max().unwrap_or(0),
            gradients: fits.iter().map(|fit| fit.gradients).sum(),
            operations: fits.iter().map(|fit| fit.operations).sum(),
            floor: fits.iter().map(|fit| fit.floor).sum(),
        }
    }
}

pub(super) fn hits(predictions: &[usize], labels: &[usize]) -> Vec<bool> {
    let pairs = predictions.iter().zip(labels);
    pairs
        .map(|(prediction, label)| prediction == label)
        .collect()
}

impl QueryRows {
    fn images(&self) -> Images<'_> {
        Images {
            rows: &self.rows,
            labels: &self.labels,
        }
    }
}
