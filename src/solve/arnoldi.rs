//! Inversion on the eigenvectors of the largest curvature, found by a Krylov process (Schioppa et al. 2022).
//!
//! x = Σ_k u_k (u_kᵀ b) / θ_k over the `rank` Ritz pairs of largest |θ|; everything outside their span is dropped,
//! the directions of low curvature before all. Schioppa et al. run Arnoldi's process and symmetrise what it gives; for
//! a symmetric operator it *is* the Lanczos process, which is what runs here. They keep whatever a fixed number of steps
//! gives; we keep a pair only where its residual is small, and say so where too few were.
//!
//! One Krylov space holds one vector of a multiple eigenvalue, and is slow to tell near ones apart. Hence the process is repeated in
//! the complement of the pairs found until it finds none above the smallest of them, with the certainty that
//! [`Lanczos::missed_at_most`] gives. Eigenvalues nearer to that smallest one than the tolerance count as it; where one lies so close
//! below it that this would take very many steps, its own convergence is enough.
//!
//! An approximation by design: the outcome is [`Outcome::Approximate`], with the true residual.

use super::deflation::Deflation;
use super::diagonal::Approximation;
use super::lanczos::negligible;
use super::spectral::Spectral;
use super::{Inverse, Lanczos, Outcome, Ritz, Solution, Solver, Stop, zero_curvature};
use crate::descending::descending;
use crate::operator::{LinearOperator, Vectors};
use crate::{Error, Result, number_range};

/// Inverts on the `rank` eigenvectors of largest |eigenvalue|.
#[derive(Debug, Clone, Copy)]
pub struct Arnoldi {
    /// Eigenpairs to keep; all where the operator has fewer.
    pub rank: usize,
    /// Most products with the operator in a round.
    pub steps: usize,
    /// A pair is kept where ‖A u − θ u‖ ≤ tolerance · |θ|.
    pub tolerance: f64,
}

impl Default for Arnoldi {
    /// 50 pairs, 500 steps, 1e-3.
    fn default() -> Self {
        Self {
            rank: 50,
            steps: 500,
            tolerance: 1e-3,
        }
    }
}

impl Solver for Arnoldi {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        number_range::between_zero_and_one("tolerance", self.tolerance)?;
        number_range::at_least_one("rank", self.rank)?;
        let rank = self.rank.min(operator.size());
        if self.steps < rank {
            let reason = format!("{} cannot give {rank} eigenpairs; raise it", self.steps);
            return Err(Error::config("steps", reason));
        }
        let mut search = Search {
            asked: Self { rank, ..*self },
            pairs: Deflation::new(operator),
        };
        let mut complete = search.first()?;
        while complete && search.pairs.values.len() < operator.size() {
            match search.beyond()? {
                Beyond::Nothing => break,
                Beyond::Found => (),
                Beyond::Unknown => complete = false,
            }
        }
        let values = search.divisors(negligible(operator.dtype()))?;
        Ok(Box::new(Prepared {
            operator,
            spectral: Spectral::new(search.pairs.vectors, &values),
            complete,
            notes: vec![
                ("eigenpairs kept", values.len() as f64),
                ("Lanczos steps", search.pairs.steps as f64),
            ],
        }))
    }
}

/// Whether there are pairs of larger |θ| than the smallest that is kept.
enum Beyond {
    Nothing,
    /// They are kept now.
    Found,
    /// The steps did not suffice to say.
    Unknown,
}

/// The pairs of largest |θ| as far as they are known, largest first.
struct Search<'a> {
    asked: Arnoldi,
    pairs: Deflation<'a>,
}

impl Search<'_> {
    /// The pairs of one Krylov space; whether these are as many as were asked for, and the first ones.
    fn first(&mut self) -> Result<bool> {
        let asked = self.asked;
        let (process, ritz, _) = self.pairs.round(asked.steps, |_, _, ritz| {
            ritz.values.len() >= asked.rank && asked.accepted(ritz, asked.rank).eq(0..asked.rank)
        })?;
        let accepted = asked.accepted(&ritz, ritz.values.len());
        let found: Vec<usize> = accepted.take(asked.rank).collect();
        self.pairs.keep(&process, &ritz, &found)?;
        Ok(found.into_iter().eq(0..asked.rank))
    }

    /// Pairs that it left out, from the complement of what is kept.
    fn beyond(&mut self) -> Result<Beyond> {
        let asked = self.asked;
        let (process, ritz, stop) = self.pairs.round(asked.steps, |pairs, process, ritz| {
            asked.above(pairs, process, ritz).is_some()
        })?;
        let above = match stop {
            Stop::Exhausted => Some(asked.count_above(&self.pairs, &ritz)),
            _ => asked.above(&self.pairs, &process, &ritz),
        };
        match above {
            None => Ok(Beyond::Unknown),
            Some(0) => Ok(Beyond::Nothing),
            Some(above) => {
                let found: Vec<usize> = (0..above).collect();
                self.pairs.keep(&process, &ritz, &found)?;
                let sizes = self.pairs.values.iter().map(|value| value.abs());
                let mut order = descending(&sizes.collect::<Vec<_>>());
                order.truncate(asked.rank);
                self.pairs.select(&order)?;
                Ok(Beyond::Found)
            }
        }
    }

    /// θ of the pairs kept; `negligible` is the share of the largest that is rounding.
    fn divisors(&self, negligible: f64) -> Result<Vec<f64>> {
        let Deflation {
            values, largest, ..
        } = &self.pairs;
        if *largest == 0.0 {
            return Err(zero_curvature());
        }
        let small = |value: &f64| value.abs() <= negligible * largest;
        if let Some(position) = values.iter().position(small) {
            let reason = format!(
                "eigenvalue {} of the curvature is {:e} with it, so that it cannot be divided by; raise it or lower --rank",
                position + 1,
                values[position]
            );
            return Err(Error::config("damping", reason));
        }
        Ok(values.clone())
    }
}

impl Arnoldi {
    /// Positions of the pairs whose residual is small enough, among the first `count`. Small beside its own θ: next to the mean of
    /// features, the strongest axis by far, the residual of any vector is small.
    fn accepted<'r>(&'r self, ritz: &'r Ritz, count: usize) -> impl Iterator<Item = usize> + 'r {
        let limit = move |position: usize| self.tolerance * ritz.values[position].abs();
        (0..count).filter(move |&position| ritz.residuals[position] <= limit(position))
    }

    /// What |θ| has to be above for its pair to belong among those kept, and to be more than rounding.
    fn bar(&self, pairs: &Deflation) -> f64 {
        let least = pairs.values.last().map_or(0.0, |value| value.abs());
        let rounding = negligible(pairs.operator.dtype()) * pairs.largest;
        rounding.max(least * (1.0 + self.tolerance))
    }

    fn count_above(&self, pairs: &Deflation, ritz: &Ritz) -> usize {
        let bar = self.bar(pairs);
        ritz.values.iter().filter(|value| value.abs() > bar).count()
    }

    /// How many pairs of a round are above, once it is known: when they have converged, or when none can have been missed.
    fn above(&self, pairs: &Deflation, process: &Lanczos, ritz: &Ritz) -> Option<usize> {
        let above = self.count_above(pairs, ritz);
        if above > 0 {
            return self.accepted(ritz, above).eq(0..above).then_some(above);
        }
        let missed = process.missed_at_most(ritz);
        let converged = self.accepted(ritz, 1).eq(0..1);
        let none = missed <= self.bar(pairs) || (converged && missed <= 2.0 * ritz.largest());
        none.then_some(0)
    }
}

struct Prepared<'a> {
    operator: &'a dyn LinearOperator,
    spectral: Spectral,
    /// Whether the pairs asked for were found, and not others in their place.
    complete: bool,
    notes: Vec<(&'static str, f64)>,
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        let approximation = Approximation {
            operator: self.operator,
            apply: |block: &Vectors| self.spectral.apply(block),
            notes: Vec::new(),
        };
        let mut solution = approximation.solve(right_hand_sides)?;
        for report in &mut solution.reports {
            if !self.complete && report.outcome == Outcome::Approximate {
                report.outcome = Outcome::LimitReached;
            }
        }
        Ok(solution)
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        self.notes.clone()
    }
}

#[cfg(test)]
mod tests;
