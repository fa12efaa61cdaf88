//! The Lanczos process: extreme eigenpairs of a symmetric operator from its products alone.
//!
//! Lanczos 1950; Parlett 1998, chapter 13. From a random q_1: w = A q_j, α_j = q_jᵀw, w loses its components along all
//! earlier vectors (twice: full reorthogonalisation), β_j = ‖w‖, q_{j+1} = w / β_j. Then A Q = Q T + β_m q_{m+1} e_mᵀ with T
//! tridiagonal, and an eigenpair (θ, s) of T gives the Ritz pair (θ, u = Q s) with ‖A u − θ u‖ = β_m |s_m|: A has an
//! eigenvalue that near. Where β_j is zero to rounding, the space found so far is invariant, and the process goes on from
//! a new random vector orthogonal to it.
//!
//! Products and vectors are in the precision of the operator, T in f64 on the host; in f32 the residuals above say
//! nothing about the rounding of the products, about 1e-6 of the largest eigenvalue.
//!
//! A residual bound never says that no larger eigenvalue was missed. The random start does (Kuczyński & Woźniakowski
//! 1992): after k steps in n dimensions the largest Ritz value of a positive semidefinite matrix falls short of its
//! largest eigenvalue by more than the share ε with probability at most √(8n/π) / exp((2k − 1) artanh √ε); they have 1.648
//! for √(8/π) = 1.596, and √ε for artanh √ε. With λ_1 = 1 and b the unit start, a Ritz value below 1 − ε means that
//! Σ (λ_i − 1 + ε) p(λ_i)² b_i² < 0 for every polynomial p of degree k − 1, hence
//! ε p(1)² b_1² < max_{0≤x≤1−ε} (1 − ε − x) p(x)² · (1 − b_1²). For y p = T_{2k−1}(y), y² = 1 − x/(1 − ε), the odd Chebyshev
//! polynomial, that is sinh²((2k − 1) artanh √ε) b_1² < 1 − b_1², or |b_1| < 1/cosh((2k − 1) artanh √ε); and |b_1| < s has
//! probability at most √(2n/π) s, since the density of b_1 is nowhere above √(n/2π).

mod basis;

use super::iterated::random_vector;
use crate::descending::descending;
use crate::operator::{LinearOperator, Structure, Vectors};
use crate::{Error, Result};
use basis::Basis;
use candle_core::{DType, Tensor};
use faer::{Mat, Side};
use std::f64::consts::PI;

/// The probability that [`Lanczos::missed_at_most`] is wrong.
const FAILURE: f64 = 1e-6;
/// Most steps of [`largest_eigenvalue`].
const LARGEST_STEPS: usize = 64;

/// A Lanczos process under way.
pub struct Lanczos<'a> {
    operator: &'a dyn LinearOperator,
    seed: u64,
    /// Random vectors drawn so far.
    drawn: u64,
    basis: Basis,
    /// Vectors of the basis that were given, not found.
    locked: usize,
    /// α
    diagonal: Vec<f64>,
    /// β as it stands in T, β_j between j and j + 1: 0 where the process started afresh.
    couplings: Vec<f64>,
    /// ‖w‖ of the last step.
    rest: f64,
    /// The largest |α| or β so far.
    scale: f64,
    /// q_{m+1}; none where the space is exhausted.
    next: Option<Vectors>,
}

/// Why [`Lanczos::run`] came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The caller was content.
    Content,
    /// The basis spans the whole space: all eigenpairs are exact up to rounding.
    Exhausted,
    /// The step limit.
    Limit,
}

/// The Ritz pairs after some steps, largest |θ| first.
#[derive(Debug, Clone)]
pub struct Ritz {
    /// θ
    pub values: Vec<f64>,
    /// ‖A u − θ u‖, in the order of the values.
    pub residuals: Vec<f64>,
    /// s, a column for each value.
    coordinates: Mat<f64>,
}

impl Ritz {
    /// The largest |θ|; 0 where there is none.
    pub fn largest(&self) -> f64 {
        self.values.first().map_or(0.0, |value| value.abs())
    }
}

impl<'a> Lanczos<'a> {
    /// Starts a process for `operator` from a random vector that belongs to `seed`; in the complement of the orthonormal
    /// rows of `locked`, where given.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn new(
        operator: &'a dyn LinearOperator,
        seed: u64,
        locked: Option<&Vectors>,
    ) -> Result<Self> {
        let mut process = Self {
            operator,
            seed,
            drawn: 0,
            basis: Basis::new(operator)?,
            locked: locked.map_or(0, Vectors::count),
            diagonal: Vec::new(),
            couplings: Vec::new(),
            rest: 0.0,
            scale: 0.0,
            next: None,
        };
        if let Some(locked) = locked {
            process.basis.push(locked)?;
        }
        if process.basis.count < operator.size() {
            process.next = Some(process.fresh()?);
        }
        Ok(process)
    }

    /// Steps taken: products with A.
    pub fn steps(&self) -> usize {
        self.diagonal.len()
    }

    /// Takes steps until `content` with the Ritz pairs, at most `limit` in all; looks at the pairs after every eighth of the
    /// steps so far.
    ///
    /// # Errors
    /// A product that is not finite, or a computation failed.
    pub fn run(
        &mut self,
        limit: usize,
        mut content: impl FnMut(&Self, &Ritz) -> bool,
    ) -> Result<(Ritz, Stop)> {
        let mut look = 1;
        loop {
            let going_on = self.steps() < limit && self.advance()?;
            if going_on && self.steps() < look && self.next.is_some() {
                continue;
            }
            let ritz = self.ritz()?;
            if self.next.is_none() {
                return Ok((ritz, Stop::Exhausted));
            }
            if content(self, &ritz) {
                return Ok((ritz, Stop::Content));
            }
            if !going_on {
                return Ok((ritz, Stop::Limit));
            }
            look = self.steps() + (self.steps() / 8).max(1);
        }
    }

    /// One step; false where the space is exhausted and nothing was done.
    fn advance(&mut self) -> Result<bool> {
        let Some(vector) = self.next.take() else {
            return Ok(false);
        };
        self.basis.push(&vector)?;
        let product = self.operator.apply(&vector)?;
        let along = vector.dot(&product)?[0];
        let product = self.basis.orthogonalise(product)?;
        self.rest = product.norms()?[0];
        if !(along.is_finite() && self.rest.is_finite()) {
            let place = format!("product {} of a Lanczos process", self.steps() + 1);
            let remedy = "look for extreme features";
            return Err(Error::non_finite("the curvature", place, remedy));
        }
        self.scale = self.scale.max(along.abs()).max(self.rest);
        self.diagonal.push(along);
        let invariant = self.rest <= negligible(self.operator.dtype()) * self.scale;
        self.couplings.push(if invariant { 0.0 } else { self.rest });
        if self.basis.count < self.operator.size() {
            self.next = Some(match invariant {
                true => self.fresh()?,
                false => product.scaled(&[self.rest.recip()])?,
            });
        }
        Ok(true)
    }

    /// A random vector of length 1 orthogonal to the basis.
    fn fresh(&mut self) -> Result<Vectors> {
        let vector = random_vector(self.operator, self.seed, (0, self.drawn))?;
        self.drawn += 1;
        let vector = self.basis.orthogonalise(vector)?;
        let length = vector.norms()?[0];
        vector.scaled(&[length.recip()])
    }

    /// The Ritz pairs as they stand.
    fn ritz(&self) -> Result<Ritz> {
        let count = self.steps();
        let element = |i: usize, j: usize| match i.abs_diff(j) {
            0 => self.diagonal[i],
            1 => self.couplings[i.min(j)],
            _ => 0.0,
        };
        let eigen = Mat::from_fn(count, count, element)
            .self_adjoint_eigen(Side::Lower)
            .map_err(|reason| {
                let place = format!("its eigenvalues ({reason:?})");
                Error::non_finite("the Lanczos matrix", place, "look for extreme features")
            })?;
        let (values, vectors) = (eigen.S().column_vector(), eigen.U());
        let order = descending(&values.iter().map(|value| value.abs()).collect::<Vec<_>>());
        Ok(Ritz {
            values: order.iter().map(|&i| values[i]).collect(),
            residuals: (order.iter())
                .map(|&i| (self.rest * vectors[(count - 1, i)]).abs())
                .collect(),
            coordinates: Mat::from_fn(count, count, |row, column| vectors[(row, order[column])]),
        })
    }

    /// The Ritz vectors at `positions` of the pairs, orthonormal rows `[k, p]`; at least one.
    ///
    /// # Errors
    /// Pairs of another process, or a tensor operation failed.
    pub fn vectors(&self, ritz: &Ritz, positions: &[usize]) -> Result<Vectors> {
        let count = ritz.values.len();
        let values: Vec<f64> = (positions.iter())
            .flat_map(|&position| (0..count).map(move |row| ritz.coordinates[(row, position)]))
            .collect();
        let rows = Tensor::from_vec(values, (positions.len(), count), &self.operator.device())?;
        let basis = self.basis.rows.narrow(0, self.locked, count)?;
        Vectors::new(rows.to_dtype(self.operator.dtype())?.matmul(&basis)?)
    }

    /// An upper bound of the largest |eigenvalue| outside the locked space, wrong with probability 1e-6 at most over the
    /// seeds; infinite for an operator that may be indefinite after too few steps.
    pub fn missed_at_most(&self, ritz: &Ritz) -> f64 {
        let (high, low) = (ritz.values.iter()).fold((0.0f64, 0.0f64), |(high, low), &value| {
            (high.max(value), low.min(value))
        });
        let share = shortfall(self.operator.size() - self.locked, self.steps());
        let semidefinite = self.operator.structure() >= Structure::PositiveSemidefinite;
        match semidefinite {
            true => high / (1.0 - share),
            false if share < 0.5 => {
                // Both ends fall short by at most ε of the true width, which is at most (high − low) / (1 − 2ε).
                high.max(-low) + share * (high - low) / (1.0 - 2.0 * share)
            }
            _ => f64::INFINITY,
        }
    }

    /// A lower bound of the smallest eigenvalue outside the locked space, wrong with probability 2e-6 at most over the seeds; −∞ after
    /// too few steps.
    pub fn smallest_at_least(&self, ritz: &Ritz) -> f64 {
        let values = || ritz.values.iter().copied();
        let (high, low) = (
            values().fold(f64::NEG_INFINITY, f64::max),
            values().fold(f64::INFINITY, f64::min),
        );
        let share = shortfall(self.operator.size() - self.locked, self.steps());
        // As for an operator that may be indefinite.
        match share < 0.5 {
            true => low - share * (high - low) / (1.0 - 2.0 * share),
            false => f64::NEG_INFINITY,
        }
    }
}

/// ε, by which a Ritz value falls short with probability [`FAILURE`] at most.
fn shortfall(size: usize, steps: usize) -> f64 {
    shortfall_for(size, steps, FAILURE)
}

fn shortfall_for(size: usize, steps: usize, failure: f64) -> f64 {
    let logarithm = ((8.0 * size as f64 / PI).sqrt() / failure).ln();
    (logarithm / (2.0 * steps as f64 - 1.0).max(1.0))
        .tanh()
        .powi(2)
}

/// The rounding unit of a precision.
pub(super) fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        _ => f64::from(f32::EPSILON),
    }
}

/// The share of the largest number below which another one is rounding and no more.
pub(super) fn negligible(dtype: DType) -> f64 {
    16.0 * unit(dtype)
}

/// The largest |eigenvalue| of an operator, as a few products show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LargestEigenvalue {
    /// The largest |Ritz value|, never above the truth.
    pub value: f64,
    /// An upper bound: the value and its residual where the Krylov space is exhausted or the operator may be indefinite,
    /// else wrong with probability 1e-6 at most over the seeds.
    pub upper: f64,
    /// Products.
    pub steps: usize,
}

/// A cheap estimate, as a rule to 1 %, and a bound, as a rule within 10 %: enough for the scale of a Neumann series.
///
/// # Errors
/// An operator that is not finite, or a computation failed.
pub fn largest_eigenvalue(operator: &dyn LinearOperator, seed: u64) -> Result<LargestEigenvalue> {
    let mut process = Lanczos::new(operator, seed, None)?;
    let (ritz, stop) = process.run(LARGEST_STEPS, |process, ritz| {
        ritz.residuals[0] <= 0.01 * ritz.largest()
            && process.missed_at_most(ritz) <= 1.1 * ritz.largest()
    })?;
    let value = ritz.largest();
    let near = value + ritz.residuals.first().copied().unwrap_or(0.0);
    let missed = process.missed_at_most(&ritz);
    Ok(LargestEigenvalue {
        value,
        upper: match stop {
            Stop::Exhausted => near,
            _ if missed.is_infinite() => near,
            _ => near.max(missed),
        },
        steps: process.steps(),
    })
}

#[cfg(test)]
mod tests;
