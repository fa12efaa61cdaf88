//! Conjugate gradients for many dampings at once: (A + σ_k I) x_k = b with the products of the hardest system alone.
//!
//! A shift leaves the Krylov space of b as it is, and the residual of every shifted system is a multiple ζ of the residual
//! r of the system with the smallest shift (Jegerlehner 1996; Frommer 2003). With α and β of that system's iteration and
//! δ_k = σ_k − min σ,
//!
//! ζ_{n+1} = ζ_n ζ_{n−1} α_{n−1} / (α_n β_{n−1} (ζ_{n−1} − ζ_n) + ζ_{n−1} α_{n−1} (1 + δ α_n)), ζ_{−1} = ζ_0 = 1.
//!
//! We iterate ρ_{n+1} = ζ_{n+1}/ζ_n = 1 / (1 + δ α_n + (α_n β_{n−1}/α_{n−1}) (1 − ρ_n)) instead, whose terms are all
//! positive, and keep the directions e = d/ζ, so that x ← x + α_n ζ_{n+1} e and e ← r + β_n ρ_{n+1} e are one pass each; for
//! δ = 0 this is the plain iteration. ρ ≤ 1: a larger shift is never behind a smaller one. A row of a system whose ζ‖r‖ is
//! small enough stays as it is, and a row leaves the block when its hardest system has ended.
//!
//! A preconditioner would have to shift with A, hence there is none. The true residuals are computed afresh at the end; a
//! row that rounding keeps from the tolerance is not solved again but reported.

mod system;
#[cfg(test)]
mod tests;

use super::{Outcome, Report, Solution, check_size, clear_rows, rows_not_finite, true_residual};
use crate::operator::{Damped, LinearOperator, Structure, Vectors};
use crate::{Error, Result};
use system::{System, Track};

/// The recurrence aims a little below the tolerance, so that the true residual lands below it too.
const AIM: f64 = 0.8;
/// A residual this many times ‖b‖ has diverged.
const DIVERGED: f64 = 1e8;

/// Solves for many shifts by one run of conjugate gradients.
#[derive(Debug, Clone, Copy)]
pub struct ShiftedCg {
    /// Stop where ‖b − (A + σI) x‖ ≤ tolerance · ‖b‖.
    pub tolerance: f64,
    /// Most iterations per right-hand side.
    pub iterations: usize,
}

impl ShiftedCg {
    /// Solves (A + σI) x = b for every σ of `shifts` and every row b of `right_hand_sides` `[k, p]`: one solution a shift,
    /// in their order. The products of the iteration are counted in the first.
    ///
    /// # Errors
    /// A structure it cannot treat, settings or shifts out of range, another size than the operator's, or a tensor
    /// operation failed; a solve that does not succeed is an outcome.
    pub fn solve(
        &self,
        operator: &dyn LinearOperator,
        shifts: &[f64],
        right_hand_sides: &Vectors,
    ) -> Result<Vec<Solution>> {
        self.check(operator)?;
        check_size(operator, right_hand_sides)?;
        let damped = shifts.iter().map(|&shift| Damped::new(operator, shift));
        let damped = damped.collect::<Result<Vec<_>>>()?;
        let Some(smallest) = shifts.iter().copied().reduce(f64::min) else {
            return Ok(Vec::new());
        };
        let hardest = shifts.iter().position(|&shift| shift == smallest);
        let hardest = hardest.unwrap_or(0);
        let beyond = shifts.iter().map(|shift| shift - smallest);
        let mut run = Run::new(right_hand_sides, beyond, hardest)?;
        let mut products = 0;
        run.settle(self)?;
        while !run.rows.is_empty() {
            products += run.rows.len();
            run.advance(&damped[hardest])?;
            run.settle(self)?;
        }
        let norms = run.norms;
        let mut solutions = Vec::with_capacity(shifts.len());
        for (system, operator) in run.systems.into_iter().zip(&damped) {
            let mut solution = self.finish(operator, system, right_hand_sides, &norms)?;
            solution.products += std::mem::take(&mut products);
            solutions.push(solution);
        }
        Ok(solutions)
    }

    fn check(&self, operator: &dyn LinearOperator) -> Result<()> {
        if operator.structure() == Structure::General {
            let reason = "conjugate gradients need a symmetric curvature; choose another solver";
            return Err(Error::config("solver", reason));
        }
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            let reason = format!("{} is not between 0 and 1", self.tolerance);
            return Err(Error::config("tolerance", reason));
        }
        if self.iterations == 0 {
            return Err(Error::config("iterations", "at least 1 is needed"));
        }
        Ok(())
    }

    /// How a system of a row stands whose residual is ζ‖r‖; `None` to go on.
    fn verdict(&self, residual: f64, norm: f64, iterations: usize) -> Option<Outcome> {
        if !residual.is_finite() || residual > DIVERGED * norm {
            Some(Outcome::Diverged)
        } else if residual <= AIM * self.tolerance * norm {
            Some(Outcome::Converged)
        } else if iterations >= self.iterations {
            Some(Outcome::LimitReached)
        } else {
            None
        }
    }

    /// The solutions of one system with their true residuals.
    fn finish(
        &self,
        operator: &dyn LinearOperator,
        system: System,
        right_hand_sides: &Vectors,
        norms: &[f64],
    ) -> Result<Solution> {
        let value = system.value()?;
        let (_, residuals) = true_residual(operator, &value, right_hand_sides, norms)?;
        let broken = rows_not_finite(&value)?;
        let reports: Vec<Report> = (system.tracks.iter().zip(&residuals).zip(&broken))
            .map(|((track, &residual), &broken)| self.report(track, residual, broken))
            .collect();
        let diverged = |report: &Report| report.outcome == Outcome::Diverged;
        let value = clear_rows(value, &reports.iter().map(diverged).collect::<Vec<_>>())?;
        Ok(Solution {
            value,
            reports,
            products: norms.len(),
        })
    }

    fn report(&self, track: &Track, residual: f64, broken: bool) -> Report {
        let iterations = track.iterations;
        let outcome = match track.end {
            Some(Outcome::Diverged) => None,
            _ if broken || !residual.is_finite() => None,
            _ if residual <= self.tolerance => Some(Outcome::Converged),
            Some(Outcome::NegativeCurvature) => Some(Outcome::NegativeCurvature),
            _ => Some(Outcome::LimitReached),
        };
        let diverged = Report {
            iterations,
            ..Report::DIVERGED
        };
        outcome.map_or(diverged, |outcome| Report {
            outcome,
            residual,
            iterations,
        })
    }
}

/// The iteration of the system with the smallest shift, and what follows from it for the others.
struct Run {
    systems: Vec<System>,
    /// The system with the smallest shift: its directions are those of the iteration.
    hardest: usize,
    /// ‖b‖ of all rows.
    norms: Vec<f64>,
    /// The rows still running.
    rows: Vec<usize>,
    /// r, `[running, p]`
    residual: Vectors,
    /// rᵀr
    squares: Vec<f64>,
    /// β/α of the step before
    carries: Vec<f64>,
}

impl Run {
    fn new(
        right_hand_sides: &Vectors,
        shifts: impl Iterator<Item = f64>,
        hardest: usize,
    ) -> Result<Self> {
        let squares = right_hand_sides.dot(right_hand_sides)?;
        let rows: Vec<usize> = (0..squares.len()).collect();
        let systems = shifts.map(|shift| System::new(shift, right_hand_sides));
        Ok(Self {
            systems: systems.collect::<Result<_>>()?,
            hardest,
            norms: squares.iter().map(|square| square.sqrt()).collect(),
            residual: right_hand_sides.clone(),
            carries: vec![0.0; squares.len()],
            squares,
            rows,
        })
    }

    /// One iteration of every row. A row that meets no positive curvature takes no step and ends.
    fn advance(&mut self, base: &dyn LinearOperator) -> Result<()> {
        let direction = &self.systems[self.hardest].direction;
        let product = base.apply(direction)?;
        let curvatures = direction.dot(&product)?;
        let mut steps = vec![0.0; self.rows.len()];
        for (slot, &curvature) in curvatures.iter().enumerate() {
            if curvature <= 0.0 {
                let track = &mut self.systems[self.hardest].tracks[self.rows[slot]];
                (track.end, track.iterations) =
                    (Some(Outcome::NegativeCurvature), track.iterations + 1);
            } else {
                steps[slot] = self.squares[slot] / curvature;
            }
        }
        for system in &mut self.systems {
            system.step(&self.rows, &steps, &self.carries)?;
        }
        let back: Vec<f64> = steps.iter().map(|step| -step).collect();
        self.residual = self.residual.add_scaled(&back, &product)?;
        let squares = self.residual.dot(&self.residual)?;
        let turn = |(new, old): (&f64, &f64)| new / old;
        let turns: Vec<f64> = squares.iter().zip(&self.squares).map(turn).collect();
        for system in &mut self.systems {
            system.turn(&self.rows, &self.residual, &turns)?;
        }
        self.carries = turns.iter().zip(&steps).map(turn).collect();
        self.squares = squares;
        Ok(())
    }

    /// Ends what has come to an end, and moves the rows out of the block whose hardest system has.
    fn settle(&mut self, settings: &ShiftedCg) -> Result<()> {
        let (mut leaving, mut staying) = (Vec::new(), Vec::new());
        for (slot, &row) in self.rows.iter().enumerate() {
            let length = self.squares[slot].sqrt();
            for system in &mut self.systems {
                let track = &mut system.tracks[row];
                let residual = track.zeta * length;
                let verdict = || settings.verdict(residual, self.norms[row], track.iterations);
                track.end = track.end.or_else(verdict);
            }
            match self.systems[self.hardest].tracks[row].end {
                Some(_) => leaving.push(slot),
                None => staying.push(slot),
            }
        }
        if leaving.is_empty() {
            return Ok(());
        }
        for system in &mut self.systems {
            system.retire(&self.rows, &leaving, &staying)?;
        }
        let kept = |values: &[f64]| staying.iter().map(|&slot| values[slot]).collect();
        (self.squares, self.carries) = (kept(&self.squares), kept(&self.carries));
        self.rows = staying.iter().map(|&slot| self.rows[slot]).collect();
        if !staying.is_empty() {
            self.residual = self.residual.select(&staying)?;
        }
        Ok(())
    }
}
