//! Influence by the way back through training: the derivative of a query's loss with respect to the weight of every training image,
//! through every step that the transfer took.
//!
//! With w_i the weight of image i in the loss of its batches, L_t = Σ w_i ℓ_i / B over batch t, training is
//! v ← momentum·v + ∇L_t + l2·θ, θ ← θ − rate·v (as [`crate::train::Sgd`]), and r ← (1 − ρ) r + ρ·moments for the running statistics,
//! with ρ = 0.1. At its end m(θ, r) is measured. Back from ā_θ = ∂m/∂θ, ā_r = ∂m/∂r and ā_v = 0, step by step from the last to the
//! first:
//!
//! - b = ā_v − rate·ā_θ, which is what ∇L_t meets, and ∂m/∂w_i gains ⟨b, ∇ℓ_i⟩ / B;
//! - ā_θ ← ā_θ + (∇²L_t + l2) b + ρ (∂moments/∂θ)ᵀ ā_r, ā_v ← momentum·b, ā_r ← (1 − ρ) ā_r.
//!
//! score(q, i) = −∂m/∂w_i: what leaving the image's loss out of every batch adds to the query's loss, to first order; in nats,
//! positive = helpful. Nothing is inverted or damped, no minimum is assumed, and order, augmentation, schedule and batch norm's moments
//! are those of the run itself. This is reverse-mode differentiation of training (Maclaurin, Duvenaud & Adams 2015), which
//! Ilyas & Engstrom 2025 (MAGIC) use for attribution; with ∇²L_t by written-out layers, for a block of queries at once.
//!
//! An image's share in the moments of its batches stays, as does its place in the order: what is differentiated is its loss's weight.

use super::NetworkOptions;
use super::part::FineTunedPart;
use super::scorer::Scorer;
use super::scoring::{PairScores, ScoringPlan};
use crate::derivative::network::TrainingDerivatives;
use crate::median::median;
use crate::model::{Blocks, MOMENTUM};
use crate::operator::Vectors;
use crate::solve::Report;
use crate::train::Trajectory;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use ndarray::Array2;

#[cfg(test)]
mod tests;

/// The way back through a transfer, computed where `N` is.
pub struct Unrolled<'a, N: FineTunedPart> {
    network: N::InTraining,
    trajectory: &'a Trajectory<'a>,
    at_once: usize,
    place: String,
}

impl<'a, N: FineTunedPart> Unrolled<'a, N> {
    /// Back through `trajectory`, of which `blocks` were trained; `network` is its model in evaluation mode, whose precision is taken.
    ///
    /// # Errors
    /// More blocks than the model has.
    pub fn new(
        trajectory: &'a Trajectory<'a>,
        (network, blocks): (&N, Blocks),
        options: &NetworkOptions,
    ) -> Result<Self> {
        let model = trajectory.model().to_dtype(network.dtype())?;
        Ok(Self {
            network: network.in_training(&model, blocks)?,
            trajectory,
            at_once: network.ways_at_once(options)?,
            place: format!("{}, unrolled: {:?}", network.place(), trajectory.recipe()),
        })
    }

    /// One step back; adds to `scores` `[k, n]`.
    fn step_back(&mut self, index: usize, way: &mut Way, scores: &mut Array2<f64>) -> Result<()> {
        let step = self.trajectory.step(index)?;
        let recipe = self.trajectory.recipe();
        self.network.move_to(&step.parameters)?;
        let b = (&way.velocity - (&way.parameters * step.rate)?)?;
        let statistics = (&way.statistics * MOMENTUM)?;
        let batch = (&step.input, &step.labels[..]);
        let products = self.network.step_products(batch, &b, &statistics)?;
        let share = 1.0 / step.positions.len() as f64;
        for (row, of_images) in products.of_images.iter().enumerate() {
            for (&position, product) in step.positions.iter().zip(of_images) {
                scores[[row, position]] -= share * product;
            }
        }
        way.parameters = ((&way.parameters + products.pulled_back)? + (&b * recipe.l2)?)?;
        way.velocity = (b * recipe.momentum)?;
        way.statistics = (&way.statistics * (1.0 - MOMENTUM))?;
        Ok(())
    }
}

/// What the measurement's derivatives are with respect to the state of training at one moment, a row a query.
struct Way {
    parameters: Tensor,
    velocity: Tensor,
    statistics: Tensor,
}

impl Way {
    /// ‖ā_θ‖ of each query.
    fn lengths(&self) -> Result<Vec<f64>> {
        let squares = self.parameters.to_dtype(DType::F64)?.sqr()?.sum(1)?;
        Ok(squares.sqrt()?.to_vec1()?)
    }
}

/// What a run calls the median of its queries' growth.
pub const WAY_BACK_GROWTH: &str = "way_back_growth";
/// What it calls the largest.
pub const LARGEST_WAY_BACK_GROWTH: &str = "largest_way_back_growth";
/// Growth of the way back from which on training is surely rough: it amplifies small changes, so that seeds disagree about what an image
/// does. Below it training may be rough too: what a first order misses is no matter of length (`analysis/unrolled`).
pub const ROUGH: f64 = 2.0;

/// What a run notes of how the way back grew, over its queries; nothing where there was none.
pub(super) fn told_of_growth(mut growth: Vec<f64>) -> Vec<(&'static str, f64)> {
    let Some(median) = median(&mut growth) else {
        return Vec::new();
    };
    let largest = growth[growth.len() - 1];
    vec![
        (WAY_BACK_GROWTH, median),
        (LARGEST_WAY_BACK_GROWTH, largest),
    ]
}

impl<N: FineTunedPart> Scorer for Unrolled<'_, N> {
    fn at_once(&self) -> usize {
        self.at_once
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    fn solves(&self) -> bool {
        false
    }

    fn plan(&self, _: usize) -> Option<ScoringPlan> {
        None
    }

    fn scores(
        &mut self,
        gradients: Vectors,
        _: &dyn Fn(usize) -> String,
        done: &dyn Fn(f64),
    ) -> Result<(PairScores, Vec<Report>)> {
        let parameters = gradients.tensor().clone();
        let mut way = Way {
            velocity: parameters.zeros_like()?,
            statistics: self.network.statistics_gradients(&parameters)?,
            parameters,
        };
        let steps = self.trajectory.step_count();
        let images = self.trajectory.image_count();
        let mut scores = Array2::zeros((gradients.count(), images));
        let first = way.lengths()?;
        let mut longest = first.clone();
        for index in (0..steps).rev() {
            self.step_back(index, &mut way, &mut scores)?;
            let lengths = way.lengths()?;
            if !lengths.iter().all(|length| length.is_finite()) {
                return Err(Error::diverged(
                    "the way back through training",
                    format!("step {} of {steps}", index + 1),
                    "train with a lower --learning-rate or --head-deviation, or rank by the curvature, without --unrolled",
                ));
            }
            let pairs = longest.iter_mut().zip(lengths);
            pairs.for_each(|(longest, length)| *longest = longest.max(length));
            done((steps - index) as f64 / steps as f64);
        }
        // A query without a gradient goes no way.
        let growth = (longest.iter().zip(first))
            .map(|(longest, first)| if first > 0.0 { longest / first } else { 1.0 })
            .collect();
        Ok((PairScores::of_way_back(scores, growth), Vec::new()))
    }
}
