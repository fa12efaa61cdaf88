//! Conjugate gradients on all right-hand sides at once.
//!
//! Hestenes & Stiefel 1952, preconditioned: with r = b − A x, z = M⁻¹r and d = z, each iteration takes α = rᵀz / dᵀA d,
//! x ← x + α d, r ← r − α A d, d ← z + (r_newᵀz_new / rᵀz) d. M is the diagonal of A, which in the head's Kronecker axes is
//! EK-FAC. Every row has its own α and stops on its own; rows that have stopped leave the block, so that no product is
//! spent on them.
//!
//! The recurrence drifts away from the true residual. Therefore, when all rows have stopped, b − A x is computed afresh,
//! and rows that miss the tolerance are solved again for the rest (iterative refinement), as long as that helps.

use super::diagonal::Reciprocal;
use super::{
    Inverse, Outcome, Report, Solution, Solver, check_size, clear_rows, rows_not_finite,
    true_residual,
};
use crate::operator::{LinearOperator, Structure, Vectors};
use crate::{Error, Result};

/// The recurrence aims a little below the tolerance, so that the true residual lands below it too.
const AIM: f64 = 0.8;
/// A residual this many times ‖b‖ has diverged.
const DIVERGED: f64 = 1e8;
/// Rounds of refinement after the first.
const REFINEMENTS: usize = 3;

/// Solves by conjugate gradients.
#[derive(Debug, Clone, Copy)]
pub struct Cg {
    /// Stop where ‖b − A x‖ ≤ tolerance · ‖b‖.
    pub tolerance: f64,
    /// Most iterations per right-hand side.
    pub iterations: usize,
    /// Whether M is the diagonal of A; else it is the identity.
    pub preconditioned: bool,
}

impl Solver for Cg {
    fn prepare<'a>(&self, operator: &'a dyn LinearOperator) -> Result<Box<dyn Inverse + 'a>> {
        if operator.structure() == Structure::General {
            return Err(Error::config(
                "solver",
                "cg needs a symmetric curvature; choose another solver",
            ));
        }
        if !(self.tolerance > 0.0 && self.tolerance < 1.0) {
            return Err(Error::config(
                "tolerance",
                format!("{} is not between 0 and 1", self.tolerance),
            ));
        }
        if self.iterations == 0 {
            return Err(Error::config("iterations", "at least 1 is needed"));
        }
        let preconditioner = match self.preconditioned {
            true => Some(Reciprocal::of(operator)?),
            false => None,
        };
        Ok(Box::new(Prepared {
            operator,
            settings: *self,
            preconditioner,
        }))
    }
}

struct Prepared<'a> {
    operator: &'a dyn LinearOperator,
    settings: Cg,
    preconditioner: Option<Reciprocal>,
}

/// One right-hand side on its way: its norm, the iterations spent on it, and how its last round ended.
#[derive(Clone)]
struct Row {
    norm: f64,
    iterations: usize,
    outcome: Outcome,
}

impl Row {
    fn new(norm: f64) -> Self {
        Self {
            norm,
            iterations: 0,
            outcome: Outcome::LimitReached,
        }
    }
}

impl Inverse for Prepared<'_> {
    fn solve(&self, right_hand_sides: &Vectors) -> Result<Solution> {
        check_size(self.operator, right_hand_sides)?;
        let norms = right_hand_sides.norms()?;
        let mut rows: Vec<Row> = norms.iter().map(|&norm| Row::new(norm)).collect();
        let (mut value, mut residual) = (right_hand_sides.zeros_like()?, right_hand_sides.clone());
        let mut relative = vec![f64::INFINITY; rows.len()];
        let mut products = 0;
        let mut open: Vec<usize> = (0..rows.len()).collect();
        for _ in 0..=REFINEMENTS {
            let (step, spent) = self.run(&residual, &mut rows, &open)?;
            value = value.add_scaled(&vec![1.0; rows.len()], &step)?;
            let (rest, after) = true_residual(self.operator, &value, right_hand_sides, &norms)?;
            products += spent + rows.len();
            open.retain(|&row| {
                let improved = after[row] < 0.5 * relative[row];
                rows[row].outcome == Outcome::Converged
                    && after[row] > self.settings.tolerance
                    && improved
            });
            (residual, relative) = (rest, after);
            if open.is_empty() {
                break;
            }
        }
        let reports = self.reports(&rows, &relative, &rows_not_finite(&value)?);
        let diverged = |report: &Report| report.outcome == Outcome::Diverged;
        let value = clear_rows(value, &reports.iter().map(diverged).collect::<Vec<_>>())?;
        Ok(Solution {
            value,
            reports,
            products,
        })
    }
}

impl Prepared<'_> {
    fn reports(&self, rows: &[Row], residuals: &[f64], broken: &[bool]) -> Vec<Report> {
        (rows.iter().zip(residuals).zip(broken))
            .map(|((row, &residual), &broken)| self.report(row, residual, broken))
            .collect()
    }

    fn report(&self, row: &Row, residual: f64, broken: bool) -> Report {
        let iterations = row.iterations;
        let outcome = match row.outcome {
            Outcome::Diverged => {
                return Report {
                    iterations,
                    ..Report::DIVERGED
                };
            }
            _ if broken || !residual.is_finite() => {
                return Report {
                    iterations,
                    ..Report::DIVERGED
                };
            }
            Outcome::Converged | Outcome::LimitReached if residual <= self.settings.tolerance => {
                Outcome::Converged
            }
            Outcome::Converged => Outcome::LimitReached,
            other => other,
        };
        Report {
            outcome,
            residual,
            iterations,
        }
    }

    /// One round from x = 0 for the rows in `open`; returns the steps of all rows (zero where not open) and the number
    /// of products.
    fn run(&self, start: &Vectors, rows: &mut [Row], open: &[usize]) -> Result<(Vectors, usize)> {
        let preconditioner = self.preconditioner.as_ref();
        let mut state = State::new(start.select(open)?, open.to_vec(), preconditioner)?;
        let mut finished = Finished {
            blocks: vec![start.zeros_like()?],
            places: (0..rows.len()).collect(),
        };
        let mut products = 0;
        state.retire(&mut finished, rows, |row, square| self.verdict(row, square))?;
        while !state.positions.is_empty() {
            products += state.positions.len();
            state.advance(self.operator, rows)?;
            state.retire(&mut finished, rows, |row, square| self.verdict(row, square))?;
        }
        let all = Vectors::concatenate(&finished.blocks)?;
        Ok((all.select(&finished.places)?, products))
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

/// Solutions of the rows that have stopped: `places[row]` is the row's position in the concatenated blocks.
struct Finished {
    blocks: Vec<Vectors>,
    places: Vec<usize>,
}

/// The rows still running; all vectors `[running, p]`.
struct State<'a> {
    preconditioner: Option<&'a Reciprocal>,
    positions: Vec<usize>,
    value: Vectors,
    residual: Vectors,
    direction: Vectors,
    /// rᵀz
    products: Vec<f64>,
    /// rᵀr
    squares: Vec<f64>,
    stopped: Vec<bool>,
}

impl<'a> State<'a> {
    fn new(
        residual: Vectors,
        positions: Vec<usize>,
        preconditioner: Option<&'a Reciprocal>,
    ) -> Result<Self> {
        let direction = preconditioned(preconditioner, &residual)?;
        Ok(Self {
            preconditioner,
            value: residual.zeros_like()?,
            products: residual.dot(&direction)?,
            squares: residual.dot(&residual)?,
            stopped: vec![false; positions.len()],
            direction,
            residual,
            positions,
        })
    }

    /// One iteration of every row. A row that meets no positive curvature takes no step and is marked as stopped.
    fn advance(&mut self, operator: &dyn LinearOperator, rows: &mut [Row]) -> Result<()> {
        let product = operator.apply(&self.direction)?;
        let curvatures = self.direction.dot(&product)?;
        let mut steps = Vec::with_capacity(curvatures.len());
        for (slot, (&along, curvature)) in self.products.iter().zip(curvatures).enumerate() {
            let row = &mut rows[self.positions[slot]];
            row.iterations += 1;
            if curvature <= 0.0 {
                (row.outcome, self.stopped[slot]) = (Outcome::NegativeCurvature, true);
            }
            steps.push(if curvature <= 0.0 {
                0.0
            } else {
                along / curvature
            });
        }
        self.value = self.value.add_scaled(&steps, &self.direction)?;
        let back: Vec<f64> = steps.iter().map(|step| -step).collect();
        self.residual = self.residual.add_scaled(&back, &product)?;
        let next = preconditioned(self.preconditioner, &self.residual)?;
        let products = self.residual.dot(&next)?;
        let ratio = |(new, old): (&f64, &f64)| new / old;
        let ratios: Vec<f64> = products.iter().zip(&self.products).map(ratio).collect();
        self.direction = next.add_scaled(&ratios, &self.direction)?;
        self.squares = self.residual.dot(&self.residual)?;
        self.products = products;
        Ok(())
    }

    /// Moves the rows that have come to an end out of the block.
    fn retire(
        &mut self,
        finished: &mut Finished,
        rows: &mut [Row],
        verdict: impl Fn(&Row, f64) -> Option<Outcome>,
    ) -> Result<()> {
        let (mut leaving, mut staying) = (Vec::new(), Vec::new());
        for slot in 0..self.positions.len() {
            let row = &mut rows[self.positions[slot]];
            match verdict(row, self.squares[slot]) {
                _ if self.stopped[slot] => leaving.push(slot),
                Some(outcome) => {
                    row.outcome = outcome;
                    leaving.push(slot);
                }
                None => staying.push(slot),
            }
        }
        if leaving.is_empty() {
            return Ok(());
        }
        let offset: usize = finished.blocks.iter().map(Vectors::count).sum();
        for (position, &slot) in leaving.iter().enumerate() {
            finished.places[self.positions[slot]] = offset + position;
        }
        finished.blocks.push(self.value.select(&leaving)?);
        self.keep(&staying)
    }

    fn keep(&mut self, staying: &[usize]) -> Result<()> {
        self.positions = staying.iter().map(|&slot| self.positions[slot]).collect();
        self.squares = staying.iter().map(|&slot| self.squares[slot]).collect();
        self.products = staying.iter().map(|&slot| self.products[slot]).collect();
        self.stopped = vec![false; staying.len()];
        if !staying.is_empty() {
            self.value = self.value.select(staying)?;
            self.residual = self.residual.select(staying)?;
            self.direction = self.direction.select(staying)?;
        }
        Ok(())
    }
}

fn preconditioned(preconditioner: Option<&Reciprocal>, residual: &Vectors) -> Result<Vectors> {
    match preconditioner {
        Some(reciprocal) => reciprocal.apply(residual),
        None => Ok(residual.clone()),
    }
}
