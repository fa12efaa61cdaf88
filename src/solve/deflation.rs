//! Eigenpairs by Lanczos processes one after the other, each in the complement of the pairs that are kept of the earlier ones: one
//! Krylov space holds one vector of a multiple eigenvalue.

use super::lanczos::{Lanczos, Ritz, Stop};
use crate::Result;
use crate::operator::{LinearOperator, Vectors};

/// The seed of the first round; every round has its own.
const SEED: u64 = 0;

/// The pairs that are kept.
pub(super) struct Deflation<'a> {
    pub(super) operator: &'a dyn LinearOperator,
    /// θ
    pub(super) values: Vec<f64>,
    /// Their vectors, orthonormal rows in the same order; none where no pair is kept.
    pub(super) vectors: Option<Vectors>,
    /// The largest |θ| seen, kept or not.
    pub(super) largest: f64,
    rounds: u64,
    /// Products with the operator.
    pub(super) steps: usize,
}

impl<'a> Deflation<'a> {
    pub(super) fn new(operator: &'a dyn LinearOperator) -> Self {
        Self {
            operator,
            values: Vec::new(),
            vectors: None,
            largest: 0.0,
            rounds: 0,
            steps: 0,
        }
    }

    /// A process of at most `limit` steps in the complement of what is kept, until `content`.
    pub(super) fn round(
        &mut self,
        limit: usize,
        content: impl Fn(&Self, &Lanczos, &Ritz) -> bool,
    ) -> Result<(Lanczos<'a>, Ritz, Stop)> {
        let seed = SEED + self.rounds;
        let mut process = Lanczos::new(self.operator, seed, self.vectors.as_ref())?;
        let (ritz, stop) = process.run(limit, |process, ritz| content(self, process, ritz))?;
        self.rounds += 1;
        self.steps += process.steps();
        self.largest = self.largest.max(ritz.largest());
        Ok((process, ritz, stop))
    }

    /// Keeps the pairs at `positions` of a round too.
    pub(super) fn keep(
        &mut self,
        process: &Lanczos,
        ritz: &Ritz,
        positions: &[usize],
    ) -> Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let found = positions.iter().map(|&position| ritz.values[position]);
        self.values.extend(found);
        let mut blocks: Vec<Vectors> = self.vectors.take().into_iter().collect();
        blocks.push(process.vectors(ritz, positions)?);
        self.vectors = Some(Vectors::concatenate(&blocks)?);
        Ok(())
    }

    /// Keeps those at `places` alone, in that order.
    pub(super) fn select(&mut self, places: &[usize]) -> Result<()> {
        self.values = places.iter().map(|&place| self.values[place]).collect();
        let vectors = self.vectors.take().map(|vectors| vectors.select(places));
        self.vectors = vectors.transpose()?;
        Ok(())
    }
}
