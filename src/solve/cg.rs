//! Conjugate gradients on all right-hand sides at once.
//!
//! Preconditioned by M: for the head the strongest Kronecker axes written out and the diagonal elsewhere, through blocks a
//! low rank and the damping ([`Preconditioner`]). Where the
//! operator knows no strong axes, up to [`SHARED`] right-hand sides search one Krylov space together ([`block`]: O'Leary
//! 1980; breakdown-free as in Ji & Li 2017). Where it does, where there is one right-hand side alone, or a block meets what
//! it cannot treat, each has its own ([`rows`]: Hestenes & Stiefel 1952), so that it is solved alike in whatever block it
//! comes. Every right-hand side stops on its own, and no product is spent on those that have stopped.
//!
//! Measured on the job of `analysis/speed`: with the diagonal alone ten right-hand sides take 30 iterations together and 45
//! apart; with the strongest axes factorised 8 and 8, and 32 take 11 and 12, which the algebra between them eats up.
//!
//! The recurrences drift away from the true residual. Therefore, when all rows have stopped, b − A x is computed afresh,
//! and rows that miss the tolerance are solved again for the rest (iterative refinement), as long as that helps. A start x
//! is treated the same way: the rest is solved for, to the tolerance that b asks for. What the method lessens is the error in the norm
//! of A, not ‖b − A x‖: of the start and what the rounds came to, the solution is the one with the least.

mod block;
mod rows;

use super::iterated::Finished;
use super::outcome::acceptable;
use super::preconditioner::Preconditioner;
use super::{
    Inverse, Outcome, Report, Solution, Solver, check_size, clear_rows, merged, rows_not_finite,
    true_residual,
};
use crate::operator::{LinearOperator, Vectors};
use crate::{Result, number_range};
use block::Block;
use rows::Rows;

/// The recurrence aims a little below the tolerance, so that the true residual lands below it too.
const AIM: f64 = 0.8;
/// A residual this many times ‖b‖ has diverged.
const DIVERGED: f64 = 1e8;
/// Rounds of refinement after the first.
const REFINEMENTS: usize = 3;
/// Right-hand sides that share one Krylov space: with more, the algebra between them costs what it saves.
const SHARED: usize = 32;

/// Solves by conjugate gradients.
#[derive(Debug, Clone, Copy)]
pub struct Cg {
    /// Stop where ‖b − A x‖ ≤ tolerance · ‖b‖.
    pub tolerance: f64,
    /// Most iterations per right-hand side.
    pub iterations: usize,
    /// Whether M is made of what the operator knows of its large eigenvalues; else it is the identity.
    pub preconditioned: bool,
}

impl Solver for Cg {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        Ok(Box::new(self.prepared(operator)?))
    }
}

/// The same where nobody asked for the tolerance: what rounding leaves above it is accepted, as that of a factorisation is.
pub(super) struct UpToRounding(pub(super) Cg);

impl Solver for UpToRounding {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        Ok(Box::new(Prepared {
            up_to_rounding: true,
            ..self.0.prepared(operator)?
        }))
    }
}

impl Cg {
    fn prepared<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Prepared<'a>> {
        let mut prepared = self.sharing(operator, SHARED)?;
        let preconditioner = prepared.system.preconditioner.as_ref();
        if preconditioner.is_some_and(Preconditioner::knows_axes) {
            prepared.shared = 1;
        }
        Ok(prepared)
    }

    /// At most `shared` right-hand sides in one Krylov space; with 1 each has its own.
    fn sharing<'a>(&self, operator: &'a dyn LinearOperator, shared: usize) -> Result<Prepared<'a>> {
        number_range::between_zero_and_one("tolerance", self.tolerance)?;
        number_range::at_least_one("iterations", self.iterations)?;
        let preconditioner = match self.preconditioned {
            true => Some(Preconditioner::of(operator)?),
            false => None,
        };
        Ok(Prepared {
            system: System {
                operator,
                preconditioner,
                settings: *self,
            },
            shared,
            up_to_rounding: false,
        })
    }
}

struct Prepared<'a> {
    system: System<'a>,
    shared: usize,
    up_to_rounding: bool,
}

/// What an iteration works on.
struct System<'a> {
    operator: &'a dyn LinearOperator,
    preconditioner: Option<Preconditioner>,
    settings: Cg,
}

impl System<'_> {
    fn preconditioned(&self, residual: &Vectors) -> Result<Vectors> {
        match &self.preconditioner {
            Some(preconditioner) => preconditioner.apply(residual),
            None => Ok(residual.clone()),
        }
    }

    /// How a row with squared residual `square` stands; `None` to go on.
    fn verdict(&self, row: &Row, square: f64) -> Option<Outcome> {
        let limit = AIM * self.settings.tolerance * row.norm;
        match square.sqrt() {
            residual if !residual.is_finite() || residual > DIVERGED * row.norm => {
                Some(Outcome::Diverged)
            }
            residual if residual <= limit => Some(Outcome::Converged),
            _ if row.iterations >= self.settings.iterations => Some(Outcome::LimitReached),
            _ => None,
        }
    }
}

/// One right-hand side on its way.
#[derive(Clone)]
struct Row {
    /// ‖b‖
    norm: f64,
    iterations: usize,
    /// How its last round ended.
    outcome: Outcome,
    /// Whether it has left a block that could not go on.
    alone: bool,
}

impl Row {
    fn new(norm: f64) -> Self {
        Self {
            norm,
            iterations: 0,
            outcome: Outcome::LimitReached,
            alone: false,
        }
    }
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        self.refined(right_hand_sides, None)
    }

    fn notes(&self) -> Vec<(&'static str, f64)> {
        let preconditioner = self.system.preconditioner.as_ref();
        preconditioner.map_or_else(Vec::new, Preconditioner::notes)
    }

    fn solve_from(&self, right_hand_sides: &Vectors, start: &Vectors) -> Result<Solution> {
        self.refined(right_hand_sides, Some(start))
    }
}

impl Prepared<'_> {
    /// Rounds from x = `start`, or from 0.
    fn refined(&self, right_hand_sides: &Vectors, start: Option<&Vectors>) -> Result<Solution> {
        let operator = self.system.operator;
        check_size(operator, right_hand_sides)?;
        let norms = right_hand_sides.norms()?;
        let (mut value, mut residual, mut least, mut products) = match start {
            None => {
                let relative = |norm: &f64| f64::from(*norm > 0.0);
                let least: Vec<f64> = norms.iter().map(relative).collect();
                let zero = right_hand_sides.zeros_like()?;
                (zero, right_hand_sides.clone(), least, 0)
            }
            Some(start) => {
                let (residual, least) = true_residual(operator, start, right_hand_sides, &norms)?;
                (start.clone(), residual, least, norms.len())
            }
        };
        let mut best = value.clone();
        let mut rows: Vec<Row> = norms.iter().map(|&norm| Row::new(norm)).collect();
        let mut relative = vec![f64::INFINITY; rows.len()];
        let mut open: Vec<usize> = (0..rows.len()).collect();
        let mut rounds = 0;
        while rounds <= REFINEMENTS && !open.is_empty() {
            let before: Vec<bool> = rows.iter().map(|row| row.alone).collect();
            let (step, spent) = self.round(&residual, &mut rows, &open)?;
            value = value.add_scaled(&vec![1.0; rows.len()], &step)?;
            let (rest, after) = true_residual(operator, &value, right_hand_sides, &norms)?;
            products += spent + rows.len();
            let mut sent_away = false;
            open.retain(|&row| {
                let leaves_block = rows[row].alone && !before[row];
                sent_away |= leaves_block;
                let worth = after[row] < 0.5 * relative[row];
                let missed = after[row] > self.system.settings.tolerance;
                leaves_block || (rows[row].outcome == Outcome::Converged && missed && worth)
            });
            // What is no number is no solution, and is to be seen as none.
            let nearer = |(after, least): (&f64, &f64)| !after.is_finite() || after < least;
            let nearer: Vec<bool> = after.iter().zip(&least).map(nearer).collect();
            best = merged(best, value.clone(), &nearer)?;
            for (row, &nearer) in nearer.iter().enumerate() {
                if nearer {
                    least[row] = after[row];
                }
            }
            (residual, relative) = (rest, after);
            rounds += usize::from(!sent_away);
        }
        let reports = self.reports(&rows, &least, &best)?;
        let diverged = |report: &Report| report.outcome == Outcome::Diverged;
        let value = clear_rows(best, &reports.iter().map(diverged).collect::<Vec<_>>())?;
        Ok(Solution {
            value,
            reports,
            products,
        })
    }

    /// One round from x = 0 for the rows in `open`; returns the steps of all rows (zero where not open) and the number
    /// of products.
    fn round(&self, start: &Vectors, rows: &mut [Row], open: &[usize]) -> Result<(Vectors, usize)> {
        let mut finished = Finished::new(rows.len(), Some(start.zeros_like()?));
        let by_itself = |&row: &usize| self.shared < 2 || rows[row].alone;
        let (mut alone, together): (Vec<usize>, Vec<usize>) =
            open.iter().copied().partition(by_itself);
        let mut products = 0;
        for group in together.chunks(self.shared.max(1)) {
            match group {
                [row] => alone.push(*row),
                _ => products += Block::run(&self.system, start, rows, group, &mut finished)?,
            }
        }
        if !alone.is_empty() {
            products += Rows::run(&self.system, start, rows, &alone, &mut finished)?;
        }
        Ok((finished.rows()?, products))
    }

    fn reports(&self, rows: &[Row], residuals: &[f64], value: &Vectors) -> Result<Vec<Report>> {
        let accepted = match self.up_to_rounding {
            true => acceptable(value.tensor().dtype()),
            false => 0.0,
        };
        let broken = rows_not_finite(value)?;
        Ok((rows.iter().zip(residuals).zip(broken))
            .map(|((row, &residual), broken)| self.report(row, (residual, accepted), broken))
            .collect())
    }

    fn report(&self, row: &Row, (residual, accepted): (f64, f64), broken: bool) -> Report {
        let iterations = row.iterations;
        if broken || !residual.is_finite() || row.outcome == Outcome::Diverged {
            return Report {
                iterations,
                ..Report::DIVERGED
            };
        }
        let outcome = match row.outcome {
            Outcome::NegativeCurvature => Outcome::NegativeCurvature,
            _ if residual <= self.system.settings.tolerance => Outcome::Converged,
            // By the recurrence, and nothing was won by going on from the true residual.
            Outcome::Converged if residual <= accepted => Outcome::AtRounding,
            Outcome::Converged => Outcome::Stalled,
            _ => Outcome::LimitReached,
        };
        Report {
            outcome,
            residual,
            iterations,
        }
    }
}

#[cfg(test)]
mod tests;
