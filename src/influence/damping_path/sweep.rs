//! The most helpful images of the sampled queries at every damping.
//!
//! With `--solver direct` the curvature is written out once and factorised for each damping, where that takes fewer
//! operations than iterating. Else, with `--solver cg`, and where the matrix would be too large or a factorisation fails,
//! preconditioned conjugate gradients go from the largest damping to the smallest, each from the solutions of the one
//! before, to the tolerance of the run. With D dampings, k queries, n images and p parameters:
//!
//! | way | operations |
//! |---|---|
//! | factors | n·p²/2 + D·(p³/3 + 6k·p²) |
//! | iterations | D·20·4k·n·p: 243 for 13 dampings on the job of `analysis/speed`, 3 at the largest and 75 at 1e-6 |
//!
//! One pass for all dampings is dearer. An eigendecomposition takes as long as 16 factors (OpenBLAS, p = 2,313), and
//! conjugate gradients whose shifted systems share a Krylov space (Frommer 2003) allow no preconditioner: on the same
//! job they take 378 iterations for damping 1e-3 and more than 1,000 below 1e-4.

use super::{DampingPath, PathOptions, TopImages, compare, grid, table};
use crate::data::evenly_spaced;
use crate::influence::job::Sides;
use crate::influence::pass::Pass;
use crate::influence::scores::{diverged_at, not_finite, ranges};
use crate::influence::{
    Examples, Progress, Provenance, ScoreBlock, ScoreHeader, ScoreSink, TopRanks,
};
use crate::operator::{Damped, Dense, LinearOperator, Vectors};
use crate::product::tensor_product;
use crate::solve::{Cg, Direct, Method, Outcome, Report, Solution, Solver};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use ndarray::ArrayView2;
use ndarray_linalg::error::LinalgError;

/// Numbers of a block of queries while it is solved for: 256 MiB in f64.
const BLOCK_ELEMENTS: usize = 1 << 25;
/// Vectors of a query that are alive at once in conjugate gradients.
const VECTORS: usize = 10;
/// Iterations of a solve, the mean over the dampings.
const ITERATIONS: f64 = 20.0;
/// The largest number of parameters that is written out: 512 MiB in f64.
const WRITTEN_OUT: usize = 8192;

impl Pass<'_> {
    /// The path, where the options ask for one; its queries go into `damping_path.parquet`.
    ///
    /// # Errors
    /// A solve that diverged or a score that is not finite, or the file cannot be written.
    pub(in crate::influence) fn damping_path(
        &self,
        progress: &mut dyn Progress,
    ) -> Result<Option<DampingPath>> {
        let options = &self.job.options;
        let Some(path) = options.damping_path else {
            return Ok(None);
        };
        progress.stage("damping path")?;
        let sides = self.exact;
        let dampings = grid(options.damping);
        let hessian = sides.hessian(options.l2)?;
        let sweep = self.sweep(path, sides, &hessian, &dampings);
        let positions = evenly_spaced(sides.test.count(), path.queries);
        let tops = sweep.tops(&positions)?;
        let ids: Vec<usize> = positions.iter().map(|&at| sides.test.ids()[at]).collect();
        let rows = compare(&ids, &dampings, dampings.len() / 2, &tops);
        table::write(
            &self.folder.join("damping_path.parquet"),
            &rows,
            self.provenance,
        )?;
        let ranks = path.ranks.min(sides.train.count());
        Ok(Some(DampingPath::of(
            options.damping,
            ranks,
            ids.len(),
            &rows,
        )))
    }

    fn sweep<'s>(
        &self,
        path: PathOptions,
        sides: &'s Sides,
        operator: &'s dyn LinearOperator,
        dampings: &'s [f64],
    ) -> Sweep<'s> {
        let options = &self.job.options;
        Sweep {
            method: options.solver.method,
            operator,
            solver: Cg {
                tolerance: options.solver.effective_tolerance(options.precision),
                iterations: options.solver.iterations,
                preconditioned: true,
            },
            training: &sides.train,
            queries: &sides.test,
            dampings,
            path,
            gradients: self.job.blocks(&sides.train).gradients,
        }
    }
}

/// What a path is computed with, in f64.
pub(super) struct Sweep<'a> {
    pub(super) method: Method,
    /// H, without damping.
    pub(super) operator: &'a dyn LinearOperator,
    /// Where no factorisation is used.
    pub(super) solver: Cg,
    pub(super) training: &'a Examples,
    pub(super) queries: &'a Examples,
    pub(super) dampings: &'a [f64],
    pub(super) path: PathOptions,
    /// Gradients of training images held at once.
    pub(super) gradients: usize,
}

impl Sweep<'_> {
    /// `[damping][query]` for the queries at `positions`.
    pub(super) fn tops(&self, positions: &[usize]) -> Result<Vec<Vec<TopImages>>> {
        if self.method == Method::Direct && self.is_factorised(positions.len()) {
            match self.factorised(positions) {
                // Not positive definite in rounded numbers at the smallest damping.
                Err(Error::Config { .. }) => {}
                other => return other,
            }
        }
        self.iterated(positions)
    }

    /// Whether factors are possible and cheaper than iterations.
    pub(super) fn is_factorised(&self, queries: usize) -> bool {
        let (size, images) = (
            self.operator.size() as f64,
            self.operator.image_count() as f64,
        );
        let (queries, dampings) = (queries as f64, self.dampings.len() as f64);
        let factor = size.powi(3) / 3.0 + 6.0 * queries * size * size;
        let factors = images * size * size / 2.0 + dampings * factor;
        let iterations = dampings * ITERATIONS * 4.0 * queries * images * size;
        self.operator.size() <= WRITTEN_OUT && factors <= iterations
    }

    fn factorised(&self, positions: &[usize]) -> Result<Vec<Vec<TopImages>>> {
        let matrix = self.operator.dense(DType::F64)?.to_array()?;
        let matrix = Dense::new(matrix, self.operator.structure())?;
        let gradients = self.sources(positions)?;
        let mut tops = Vec::with_capacity(self.dampings.len());
        for &damping in self.dampings {
            let damped = Damped::new(&matrix, damping)?;
            let solution = Direct.prepare(&damped)?.solve(&gradients)?;
            tops.push(self.images(positions, damping, &solution)?);
        }
        Ok(tops)
    }

    fn iterated(&self, positions: &[usize]) -> Result<Vec<Vec<TopImages>>> {
        let block = BLOCK_ELEMENTS / (VECTORS * self.training.parameter_count());
        let mut tops = vec![Vec::with_capacity(positions.len()); self.dampings.len()];
        for block in positions.chunks(block.max(1)) {
            let gradients = self.sources(block)?;
            let mut before: Option<Vectors> = None;
            for (at, &damping) in self.dampings.iter().enumerate().rev() {
                let damped = Damped::new(self.operator, damping)?;
                let inverse = self.solver.prepare(&damped)?;
                let solution = match &before {
                    Some(start) => inverse.solve_from(&gradients, start)?,
                    None => inverse.solve(&gradients)?,
                };
                tops[at].extend(self.images(block, damping, &solution)?);
                before = Some(solution.value);
            }
        }
        Ok(tops)
    }

    /// ∇m of the queries at `positions`, `[positions.len(), p]`.
    fn sources(&self, positions: &[usize]) -> Result<Vectors> {
        let places: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
        Vectors::new(self.queries.gradients_at(&places)?)
    }

    /// The best training images for the queries at `positions`, solved for at one damping.
    fn images(
        &self,
        positions: &[usize],
        damping: f64,
        solution: &Solution,
    ) -> Result<Vec<TopImages>> {
        let diverged = |report: &Report| report.outcome == Outcome::Diverged;
        if let Some(row) = solution.reports.iter().position(diverged) {
            let id = self.queries.ids()[positions[row]];
            let place = format!("the solve of query {id} at damping {damping}");
            return Err(diverged_at(place));
        }
        let ranks = self.rank(&solution.value)?;
        let images = |(place, report): (usize, &Report)| {
            let best = ranks.helpful(place);
            TopImages {
                ids: (best.iter())
                    .map(|&(at, _)| self.training.ids()[at])
                    .collect(),
                score: best.first().map_or(0.0, |&(_, score)| score),
                converged: report.outcome.is_success(),
                iterations: report.iterations,
            }
        };
        Ok(solution.reports.iter().enumerate().map(images).collect())
    }

    /// The best training images for every row of `solutions`.
    fn rank(&self, solutions: &Vectors) -> Result<TopRanks> {
        let mut ranks = TopRanks::new(self.path.ranks, 0);
        ranks.begin(&ScoreHeader {
            queries: (0..solutions.count()).collect(),
            training: self.training.ids().to_vec(),
            provenance: Provenance::default(),
        })?;
        for columns in ranges(self.training.count(), self.gradients) {
            let scores = self.scores(solutions, &self.training.gradients(columns.clone())?)?;
            let scores = ArrayView2::from_shape((solutions.count(), columns.len()), &scores)
                .map_err(LinalgError::from)?;
            ranks.write(&ScoreBlock {
                queries: 0..solutions.count(),
                training: columns,
                scores,
            })?;
        }
        ranks.finish()?;
        Ok(ranks)
    }

    fn scores(&self, solutions: &Vectors, gradients: &Tensor) -> Result<Vec<f64>> {
        let products = tensor_product(solutions.tensor(), &gradients.t()?)?;
        let scores = (products / self.training.count() as f64)?;
        let scores = scores.flatten_all()?.to_vec1::<f64>()?;
        if scores.iter().all(|score| score.is_finite()) {
            return Ok(scores);
        }
        Err(not_finite("the damping path".into()))
    }
}
