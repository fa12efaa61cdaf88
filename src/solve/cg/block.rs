//! Conjugate gradients in one Krylov space for a block of right-hand sides (O'Leary 1980).
//!
//! Rows are vectors: R `[k, p]` residuals, Z = R M⁻¹, D `[s, p]` search directions with s ≤ k. Each iteration takes
//! K = D A Dᵀ, X ← X + (K⁻¹ D Rᵀ)ᵀ D, R ← R − (K⁻¹ D Rᵀ)ᵀ D A: the error of every row becomes the least in the norm of A that
//! *all* directions allow. Then D ← Z_S − (K⁻¹ D A Z_Sᵀ)ᵀ D.
//!
//! Breakdown: where residuals are dependent (equal right-hand sides, sums of others, rows nearly solved) K would be
//! singular. Ji & Li 2017 keep an orthonormal basis of the directions. We choose the rows S among the residuals instead,
//! by a pivoted Cholesky factorisation of R M⁻¹ Rᵀ, scaled to unit diagonal: what rows outside of S search for lies in the
//! span of Z_S. R is orthogonal to D, so that the directions of S are as independent as Z_S are, and no vector has to be
//! orthogonalised. A row that has converged leaves; the minimum over the directions is still taken, only with fewer of
//! them.
//!
//! Where K is not positive definite, some direction has no positive curvature, or rounding has the say: the block cannot
//! tell which row that is, and sends all of them on alone. Inner products and the algebra between rows are f64.

use super::{Finished, Row, System};
use crate::Result;
use crate::operator::Vectors;
use candle_core::DType;
use faer::linalg::solvers::{Llt, Solve};
use faer::{Mat, Side};

/// The rows still running.
pub(super) struct Block<'a> {
    system: &'a System<'a>,
    positions: Vec<usize>,
    /// `[running, p]`, as is the residual.
    value: Vectors,
    residual: Vectors,
    /// D, `[s, p]`
    directions: Vectors,
    /// rᵀr
    squares: Vec<f64>,
}

impl<'a> Block<'a> {
    /// Runs the rows at `positions` of `start` from x = 0 to their ends, or until they are marked to go on alone; returns
    /// the number of products.
    pub(super) fn run(
        system: &'a System<'a>,
        start: &Vectors,
        rows: &mut [Row],
        positions: &[usize],
        finished: &mut Finished,
    ) -> Result<usize> {
        let residual = start.select(positions)?;
        let mut block = Self {
            system,
            positions: positions.to_vec(),
            value: residual.zeros_like()?,
            squares: residual.dot(&residual)?,
            directions: residual.clone(),
            residual,
        };
        let mut products = 0;
        block.retire(finished, rows)?;
        let mut curvature = None;
        while !block.positions.is_empty() {
            let usable = block.turn(curvature.take())?;
            products += block.directions.count();
            curvature = match usable {
                true => block.step(rows)?,
                false => None,
            };
            if curvature.is_none() {
                block.send_away(finished, rows)?;
            }
            block.retire(finished, rows)?;
        }
        Ok(products)
    }

    /// New directions from the residuals, conjugate to those before; whether there are any.
    fn turn(&mut self, before: Option<Curvature>) -> Result<bool> {
        let searched = self.system.preconditioned(&self.residual)?;
        let independent = independent_rows(
            &self.residual.products(&searched)?,
            tolerance(searched.tensor().dtype()),
        );
        if independent.is_empty() {
            return Ok(false);
        }
        let searched = match independent.len() == searched.count() {
            true => searched,
            false => searched.select(&independent)?,
        };
        self.directions = match before {
            None => searched,
            Some(Curvature { factor, product }) => {
                let back = factor.solve(product.products(&searched)?);
                let shared = self.directions.combined(back.transpose())?;
                searched.add_scaled(&vec![-1.0; searched.count()], &shared)?
            }
        };
        // Equal lengths keep K well scaled however far each row has come.
        let lengths = self.directions.norms()?;
        let factors: Vec<f64> = lengths.iter().map(|length| length.recip()).collect();
        self.directions = self.directions.scaled(&factors)?;
        Ok(true)
    }

    /// The step to the minimum over the directions; `None`, and nothing done, where K is not positive definite.
    fn step(&mut self, rows: &mut [Row]) -> Result<Option<Curvature>> {
        let product = self.system.operator.apply(&self.directions)?;
        for &position in &self.positions {
            rows[position].iterations += 1;
        }
        let matrix = self.directions.products(&product)?;
        let Some(factor) = definite(&matrix) else {
            return Ok(None);
        };
        let lengths = factor.solve(self.directions.products(&self.residual)?);
        let finite =
            |column: usize| (0..lengths.nrows()).all(|row| lengths[(row, column)].is_finite());
        if !(0..lengths.ncols()).all(finite) {
            return Ok(None);
        }
        let ones = vec![1.0; self.positions.len()];
        let minus = vec![-1.0; self.positions.len()];
        let step = self.directions.combined(lengths.transpose())?;
        self.value = self.value.add_scaled(&ones, &step)?;
        let step = product.combined(lengths.transpose())?;
        self.residual = self.residual.add_scaled(&minus, &step)?;
        self.squares = self.residual.dot(&self.residual)?;
        Ok(Some(Curvature { factor, product }))
    }

    /// Ends the rows as they are, to go on alone.
    fn send_away(&mut self, finished: &mut Finished, rows: &mut [Row]) -> Result<()> {
        for &position in &self.positions {
            rows[position].alone = true;
        }
        let all: Vec<usize> = (0..self.positions.len()).collect();
        finished.take(&self.value, &self.positions, &all)?;
        self.positions.clear();
        Ok(())
    }

    /// Moves the rows that have come to an end out of the block.
    fn retire(&mut self, finished: &mut Finished, rows: &mut [Row]) -> Result<()> {
        let (mut leaving, mut staying) = (Vec::new(), Vec::new());
        for (slot, &position) in self.positions.iter().enumerate() {
            match self.system.verdict(&rows[position], self.squares[slot]) {
                Some(outcome) => {
                    rows[position].outcome = outcome;
                    leaving.push(slot);
                }
                None => staying.push(slot),
            }
        }
        if leaving.is_empty() {
            return Ok(());
        }
        finished.take(&self.value, &self.positions, &leaving)?;
        self.positions = staying.iter().map(|&slot| self.positions[slot]).collect();
        self.squares = staying.iter().map(|&slot| self.squares[slot]).collect();
        if !staying.is_empty() {
            self.value = self.value.select(&staying)?;
            self.residual = self.residual.select(&staying)?;
        }
        Ok(())
    }
}

/// The Cholesky factor of K, and D A.
struct Curvature {
    factor: Llt<f64>,
    product: Vectors,
}

/// The factor of a matrix that is symmetric but for rounding.
fn definite(matrix: &Mat<f64>) -> Option<Llt<f64>> {
    let size = matrix.nrows();
    let symmetric = Mat::from_fn(size, size, |i, j| 0.5 * (matrix[(i, j)] + matrix[(j, i)]));
    symmetric.llt(Side::Lower).ok()
}

/// The share of a residual's square that must be its own, for it to be searched along.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-12,
        _ => 1e-6,
    }
}

/// Positions of rows whose scaled Gram matrix has pivots above `tolerance`, in their order: a pivoted Cholesky
/// factorisation that stops where the rest is dependent.
pub(super) fn independent_rows(gram: &Mat<f64>, tolerance: f64) -> Vec<usize> {
    let size = gram.nrows();
    let scale: Vec<f64> = (0..size)
        .map(|i| match gram[(i, i)] {
            square if square > 0.0 && square.is_finite() => square.sqrt().recip(),
            _ => 0.0,
        })
        .collect();
    let scaled = |i: usize, j: usize| 0.5 * (gram[(i, j)] + gram[(j, i)]) * scale[i] * scale[j];
    let mut rest: Vec<f64> = (0..size).map(|i| scaled(i, i)).collect();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < size {
        let free = (0..size).rev().filter(|i| !chosen.contains(i));
        let Some(pivot) = free.max_by(|&a, &b| rest[a].total_cmp(&rest[b])) else {
            break;
        };
        if rest[pivot].is_nan() || rest[pivot] <= tolerance {
            break;
        }
        let root = rest[pivot].sqrt();
        let known =
            |i: usize| -> f64 { columns.iter().map(|column| column[i] * column[pivot]).sum() };
        let column: Vec<f64> = (0..size)
            .map(|i| (scaled(i, pivot) - known(i)) / root)
            .collect();
        for (left, value) in rest.iter_mut().zip(&column) {
            *left -= value * value;
        }
        columns.push(column);
        chosen.push(pivot);
    }
    chosen.sort_unstable();
    chosen
}
