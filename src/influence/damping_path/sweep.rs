//! The most helpful images of the sampled queries at every damping, by the systems of [`super::systems`].

use super::systems::Systems;
use super::{DampingPath, TopImages, compare, grid, table};
use crate::data::evenly_spaced;
use crate::influence::pass::Pass;
use crate::influence::scores::{against, check_solved, not_finite, ranges};
use crate::influence::{
    Examples, Progress, Provenance, ScoreBlock, ScoreHeader, ScoreSink, TopRanks,
};
use crate::operator::{Damped, Dense, LinearOperator, Vectors};
use crate::solve::{Cg, Direct, Report, Solution, Solver};
use crate::{Error, Result};
use candle_core::DType;

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
        let (dampings, in_use) = grid(options.damping, options.l2);
        let hessian = sides.hessian(options.l2)?;
        let (images, parameters) = (sides.train.count(), sides.train.parameter_count());
        let sweep = Sweep {
            systems: Systems::plan(
                options.solver.method,
                path.queries.min(sides.test.count()),
                images,
                parameters as f64,
                path.room,
            )?,
            operator: &hessian,
            solver: Cg {
                tolerance: options.solver.effective_tolerance(options.precision),
                iterations: options.solver.iterations,
                preconditioned: true,
            },
            training: &sides.train,
            queries: &sides.test,
            dampings: &dampings,
            ranks: path.ranks,
        };
        let positions = evenly_spaced(sides.test.count(), path.queries);
        let tops = sweep.tops(&positions)?;
        let ids: Vec<usize> = positions.iter().map(|&at| sides.test.ids()[at]).collect();
        let rows = compare(&ids, &dampings, in_use, &tops);
        table::write(
            &self.folder.join("damping_path.parquet"),
            &rows,
            self.provenance,
        )?;
        let ranks = path.ranks.min(sides.train.count());
        Ok(Some(DampingPath::of(options.damping, ranks, &rows, &tops)))
    }
}

/// What a path is computed with, in f64.
pub(super) struct Sweep<'a> {
    pub(super) systems: Systems,
    /// H, without damping.
    pub(super) operator: &'a dyn LinearOperator,
    /// Where no factorisation is used.
    pub(super) solver: Cg,
    pub(super) training: &'a Examples,
    pub(super) queries: &'a Examples,
    pub(super) dampings: &'a [f64],
    /// Helpful images of a query that are kept.
    pub(super) ranks: usize,
}

impl Sweep<'_> {
    /// `[damping][query]` for the queries at `positions`.
    pub(super) fn tops(&self, positions: &[usize]) -> Result<Vec<Vec<TopImages>>> {
        if self.systems.factorised {
            match self.factorised(positions) {
                // Not positive definite in rounded numbers at the smallest damping.
                Err(Error::NoFactor(_)) => {}
                other => return other,
            }
        }
        self.iterated(positions)
    }

    fn factorised(&self, positions: &[usize]) -> Result<Vec<Vec<TopImages>>> {
        let matrix = self.operator.dense(DType::F64)?.to_array()?;
        let matrix = Dense::new(matrix, self.operator.structure())?;
        let mut tops = Vec::with_capacity(self.dampings.len());
        for &damping in self.dampings {
            let damped = Damped::new(&matrix, damping)?;
            let inverse = Direct.prepare(&damped)?;
            let mut found = Vec::with_capacity(positions.len());
            for block in positions.chunks(self.systems.solved) {
                let solution = inverse.solve(&self.sources(block)?)?;
                found.extend(self.images(block, damping, &solution)?);
            }
            tops.push(found);
        }
        Ok(tops)
    }

    fn iterated(&self, positions: &[usize]) -> Result<Vec<Vec<TopImages>>> {
        let mut tops = vec![Vec::with_capacity(positions.len()); self.dampings.len()];
        for block in positions.chunks(self.systems.solved) {
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
        check_solved(&solution.reports, |row| {
            let id = self.queries.ids()[positions[row]];
            format!("query {id} at damping {damping}")
        })?;
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
        let mut ranks = TopRanks::new(self.ranks, 0);
        ranks.begin(&ScoreHeader {
            queries: (0..solutions.count()).collect(),
            training: self.training.ids().to_vec(),
            provenance: Provenance::default(),
        })?;
        for columns in ranges(self.training.count(), self.systems.gradients) {
            let scores = against(solutions, self.training, columns.clone())?;
            if scores.iter().any(|score| !score.is_finite()) {
                return Err(not_finite("the damping path".into()));
            }
            ranks.write(&ScoreBlock {
                queries: 0..solutions.count(),
                training: columns,
                scores: scores.view(),
            })?;
        }
        ranks.finish()?;
        Ok(ranks)
    }
}
