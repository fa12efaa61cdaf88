//! Scores of any measurement that is linear in a few test images' logits: groups of losses, margins.
//!
//! score[m, train] = (1/n) ∇mᵀ A⁻¹ ∇ℓ(train): the predicted rise of m if the training image had been left out, in the unit
//! of m, positive = m rises. m may be the mean loss of some queries, or a margin z_a − z_b of one of them.

use super::job::Sides;
use super::scores::{against, check_solved, not_finite, ranges};
use super::{Examples, RankJob};
use crate::Result;
use crate::operator::Vectors;
use crate::solve::{Inverse, Report};
use candle_core::Tensor;
use ndarray::{Array2, s};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Both sides of a job and A⁻¹, ready to score.
pub struct Prepared<'a> {
    sides: &'a Sides,
    /// The training images as those that are left out.
    left_out: &'a Examples,
    inverse: &'a dyn Inverse,
    block: usize,
    /// Solves that missed their tolerance.
    missed: AtomicUsize,
}

impl RankJob<'_> {
    /// The training images and the queries with what the head says of them; nothing is prepared to be solved.
    ///
    /// # Errors
    /// Input that does not fit.
    pub fn outputs(&self) -> Result<(Examples, Examples)> {
        let side = |set| self.examples(set, self.options.precision);
        Ok((side(&self.train)?, side(&self.test)?))
    }

    /// Prepares A⁻¹ with the job's solver and hands it to `body`; `folder` takes what memory does not hold.
    ///
    /// # Errors
    /// Input that does not fit, a curvature that cannot be inverted, or what `body` gives.
    pub fn prepared<R>(
        &self,
        folder: &Path,
        body: impl FnOnce(&Prepared) -> Result<R>,
    ) -> Result<R> {
        let sides = self.sides(self.options.precision, folder)?;
        self.with_inverse(&sides, |hessian, inverse| {
            let (left_out, solves) = self.left_out(&sides, hessian, inverse)?.unzip();
            body(&Prepared {
                block: self.blocks(&sides.train).gradients,
                missed: AtomicUsize::new(solves.map_or(0, |solves| missed(&solves.reports))),
                left_out: left_out.as_ref().unwrap_or(&sides.train),
                inverse,
                sides: &sides,
            })
        })
    }
}

impl Prepared<'_> {
    /// The training images.
    pub fn training(&self) -> &Examples {
        &self.sides.train
    }

    /// The queries.
    pub fn queries(&self) -> &Examples {
        &self.sides.test
    }

    /// How many of the solves so far missed their tolerance; their scores were given all the same.
    pub fn missed(&self) -> usize {
        self.missed.load(Ordering::Relaxed)
    }

    /// Of the mean loss of each group of queries, by position: `[groups, n]` in nats.
    ///
    /// # Errors
    /// An empty group, a solve that diverged, or a tensor operation failed.
    pub fn mean_losses(&self, groups: &[Vec<usize>]) -> Result<Array2<f64>> {
        let gradient = |group: &Vec<usize>| self.queries().mean_gradient(group);
        let rows = groups.iter().map(gradient).collect::<Result<Vec<_>>>()?;
        self.scores(&rows)
    }

    /// Of the margin z_a − z_b of one query each, `(query, a, b)`: `[margins, n]` in logits.
    ///
    /// # Errors
    /// As for [`Prepared::mean_losses`].
    pub fn margins(&self, margins: &[(usize, usize, usize)]) -> Result<Array2<f64>> {
        let classes = self.sides.coordinates.classes();
        let gradient = |&(query, a, b): &(usize, usize, usize)| {
            let direction = (classes.get(a)? - classes.get(b)?)?;
            let queries = self.queries();
            let direction = direction.to_device(queries.residuals().device())?;
            let direction = direction.to_dtype(queries.residuals().dtype())?;
            let input = queries.axes_inputs().select(&[query as u32])?;
            Ok(direction.unsqueeze(1)?.matmul(&input)?.flatten_all()?)
        };
        let rows = margins.iter().map(gradient).collect::<Result<Vec<_>>>()?;
        self.scores(&rows)
    }

    /// Of the gradients ∇m, each `[p]`.
    fn scores(&self, gradients: &[Tensor]) -> Result<Array2<f64>> {
        let mut scores = Array2::zeros((gradients.len(), self.left_out.count()));
        for rows in ranges(gradients.len(), self.block) {
            let block = Tensor::stack(&gradients[rows.clone()], 0)?;
            let solution = self.inverse.solve(&Vectors::new(block)?)?;
            check_solved(&solution.reports, |_| "a measurement".into())?;
            (self.missed).fetch_add(missed(&solution.reports), Ordering::Relaxed);
            for columns in ranges(self.left_out.count(), self.block) {
                let part = against(&solution.value, self.left_out, columns.clone())?;
                scores.slice_mut(s![rows.clone(), columns]).assign(&part);
            }
        }
        match scores.iter().all(|score| score.is_finite()) {
            true => Ok(scores),
            false => Err(not_finite("a measurement".into())),
        }
    }
}

fn missed(reports: &[Report]) -> usize {
    let missed = |report: &&Report| !report.outcome.is_success();
    reports.iter().filter(missed).count()
}
