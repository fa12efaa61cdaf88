//! One head on its way to a minimum: L-BFGS that starts from the curvature of all images instead of a multiple of I.
//!
//! The direction is −B∇F with B the inverse BFGS matrix (Nocedal & Wright 2006, algorithm 7.4) whose first matrix is the inverse
//! of the curvature H of the full training set, factorised once. Leaving out an image changes H by a matrix of rank C − 1,
//! which a few updates learn; a step costs one gradient and one application of H⁻¹, where Newton's method would
//! factorise again. The objective is strictly convex, so that every pair has sᵀy > 0 and B stays positive definite.

use std::collections::VecDeque;

/// Pairs remembered.
const MEMORY: usize = 12;
/// The share of the predicted decrease that a step must reach (Armijo).
const SUFFICIENT: f64 = 1e-4;
/// Halvings of one step before the search gives up.
const HALVINGS: usize = 40;

/// s, y and 1/sᵀy.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    reciprocal: f64,
}

/// Where a fit stands.
pub(super) struct Descent {
    /// The best parameters so far.
    pub(super) parameters: Vec<f64>,
    gradient: Vec<f64>,
    value: f64,
    pairs: VecDeque<Pair>,
    /// Coefficients of the first loop, in the order of the pairs.
    coefficients: Vec<f64>,
    direction: Vec<f64>,
    slope: f64,
    length: f64,
    halvings: usize,
    /// Steps taken.
    pub(super) steps: usize,
    /// ‖∇F‖
    pub(super) gradient_norm: f64,
}

/// What became of a trial point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// It is the new point, and a direction from there is needed.
    Accepted,
    /// It was too far; another on the same line is next.
    Halved,
    /// No point on the line is better: rounding has the last word.
    Stuck,
}

impl Descent {
    pub(super) fn new(parameters: Vec<f64>, value: f64, gradient: Vec<f64>) -> Self {
        Self {
            gradient_norm: norm(&gradient),
            direction: Vec::new(),
            coefficients: Vec::new(),
            pairs: VecDeque::new(),
            slope: 0.0,
            length: 1.0,
            halvings: 0,
            steps: 0,
            parameters,
            gradient,
            value,
        }
    }

    /// Forgets the steps before: the next direction is that of Newton's method, where H⁻¹ is of the current point.
    pub(super) fn forget(&mut self) {
        self.pairs.clear();
    }

    /// The first loop: what H⁻¹ is to be applied to.
    pub(super) fn before_inverse(&mut self) -> Vec<f64> {
        let mut q = self.gradient.clone();
        self.coefficients = vec![0.0; self.pairs.len()];
        for (pair, coefficient) in self.pairs.iter().zip(&mut self.coefficients).rev() {
            *coefficient = pair.reciprocal * dot(&pair.step, &q);
            add_scaled(&mut q, -*coefficient, &pair.change);
        }
        q
    }

    /// The second loop: H⁻¹ applied gives the direction.
    pub(super) fn after_inverse(&mut self, mut r: Vec<f64>) {
        for (pair, coefficient) in self.pairs.iter().zip(&self.coefficients) {
            let other = pair.reciprocal * dot(&pair.change, &r);
            add_scaled(&mut r, coefficient - other, &pair.step);
        }
        r.iter_mut().for_each(|value| *value = -*value);
        self.slope = dot(&self.gradient, &r);
        self.direction = r;
        (self.length, self.halvings) = (1.0, 0);
    }

    /// The point to be evaluated next.
    pub(super) fn trial(&self) -> Vec<f64> {
        let mut point = self.parameters.clone();
        add_scaled(&mut point, self.length, &self.direction);
        point
    }

    /// Takes the trial point or not.
    pub(super) fn judge(&mut self, value: f64, gradient: &[f64]) -> Trial {
        // Near the minimum the decrease is lost in rounding; there the gradient decides.
        let rounding = 64.0 * f64::EPSILON * self.value.abs();
        let enough = value <= self.value + SUFFICIENT * self.length * self.slope;
        let gradient_norm = norm(gradient);
        let flat = value <= self.value + rounding && gradient_norm < self.gradient_norm;
        if !value.is_finite() || !(enough || flat) {
            self.halvings += 1;
            self.length *= 0.5;
            return match self.halvings < HALVINGS {
                true => Trial::Halved,
                false => Trial::Stuck,
            };
        }
        let step: Vec<f64> = self.direction.iter().map(|d| d * self.length).collect();
        let change: Vec<f64> = (gradient.iter().zip(&self.gradient))
            .map(|(new, old)| new - old)
            .collect();
        let curvature = dot(&step, &change);
        // Rounding alone can make it smaller than this.
        if curvature > 1e-12 * norm(&step) * norm(&change) {
            if self.pairs.len() == MEMORY {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair {
                reciprocal: curvature.recip(),
                step,
                change,
            });
        }
        self.parameters = self.trial();
        self.gradient.copy_from_slice(gradient);
        self.gradient_norm = gradient_norm;
        self.value = value;
        self.steps += 1;
        Trial::Accepted
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn add_scaled(sum: &mut [f64], factor: f64, other: &[f64]) {
    sum.iter_mut()
        .zip(other)
        .for_each(|(sum, other)| *sum += factor * other);
}
