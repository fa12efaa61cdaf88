//! How rankings and scores change with the damping λ.
//!
//! For a sample of the test queries, evenly spaced, and dampings from 1e-3 to 1e3 times the one in use, two a decade (where that
//! is 0: it, and dampings about the L2 term), the scores against all training images give each query's most helpful images at
//! every damping ([`sweep`]: one writing-out of the curvature, or one run of conjugate gradients, serves them all). Two lists are
//! compared by the Jaccard index and by rank-biased overlap ([`overlap`]), each list with that of the next larger damping, with that of
//! the damping in use, and with that of the smallest. The means over the queries are a [`DampingPath`], which suggests a damping ([`suggestion`]);
//! `damping_path.parquet` has the values of each query.
//!
//! All is computed in f64, so that a change is the damping's and not rounding's. That rankings are stable does not say
//! that they are right: where λ outweighs the curvature they are those of plain gradient products, where the curvature
//! outweighs λ those of the undamped inverse, so that a grid long enough is stable at both of its ends.

mod overlap;
mod suggestion;
mod sweep;
mod systems;
mod table;
#[cfg(test)]
mod tests;

pub use overlap::{PERSISTENCE, jaccard, rank_biased_overlap};
pub use suggestion::{AGREEMENT, CONVERGED, Suggestion};
pub(super) use systems::Systems;

use super::{Normalise, RankOptions};
use crate::influence::Correction;
use crate::median::median;
use crate::{Error, Result};
use overlap::mean;
use serde::Serialize;
use suggestion::overlaps;

/// Dampings in a decade of the grid.
const PER_DECADE: i32 = 2;
/// Decades of the grid on either side of the damping in use.
const DECADES: i32 = 3;
/// Dampings of the grid, without 0.
const DAMPINGS: i32 = 2 * DECADES * PER_DECADE + 1;

/// How a damping path is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathOptions {
    /// Test queries in the sample; all where there are fewer.
    pub queries: usize,
    /// Helpful images of a query that are compared, `k`.
    pub ranks: usize,
    /// Bytes that its solves may take; as many as they like where not given.
    pub room: Option<f64>,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self {
            queries: 100,
            ranks: 10,
            room: None,
        }
    }
}

impl PathOptions {
    /// Refuses what does not go together with the rest of a run's options.
    ///
    /// # Errors
    /// Names the option.
    pub fn check(&self, options: &RankOptions) -> Result<()> {
        if self.queries == 0 {
            let reason = "0 queries have no path; give 1 or more";
            return Err(Error::config("path-queries", reason));
        }
        let reason = if options.damping == 0.0 && options.l2 == 0.0 {
            "varies the damping, or the L2 term, by factors: give a --damping above 0"
        } else if !options.solver.method.is_exact() {
            "is of exact scores: choose --solver direct or cg"
        } else if options.normalise != Normalise::None || options.correction != Correction::None {
            "is of plain scores: leave --normalise and --correction out"
        } else {
            return Ok(());
        };
        Err(Error::config("damping-path", reason))
    }
}

/// Dampings that are compared, smallest first, and the place of the one in use among them: λ · 10^(i/2), i from −6 to 6; where λ is 0,
/// it and the same of the L2 term.
pub(super) fn grid(damping: f64, l2: f64) -> (Vec<f64>, usize) {
    let steps = DECADES * PER_DECADE;
    let factor = |step: i32| 10f64.powf(f64::from(step) / f64::from(PER_DECADE));
    let about = |centre: f64| (-steps..=steps).map(move |step| centre * factor(step));
    match damping == 0.0 {
        true => (std::iter::once(0.0).chain(about(l2)).collect(), 0),
        false => (about(damping).collect(), steps as usize),
    }
}

/// A query's most helpful images at one damping, and how its solve ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TopImages {
    /// Ids, most helpful first.
    pub(super) ids: Vec<usize>,
    /// Score of the first, in nats.
    pub(super) score: f64,
    pub(super) converged: bool,
    pub(super) iterations: usize,
}

/// One query at one damping: a row of `damping_path.parquet`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct QueryPoint {
    pub(super) query: usize,
    pub(super) damping: f64,
    pub(super) jaccard_next: Option<f64>,
    pub(super) rbo_next: Option<f64>,
    pub(super) jaccard_chosen: f64,
    pub(super) rbo_chosen: f64,
    pub(super) rbo_smallest: f64,
    pub(super) top_train: Option<usize>,
    pub(super) top_score: f64,
    pub(super) converged: bool,
    pub(super) iterations: usize,
}

/// What the rankings of the sampled queries are like at one damping.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DampingPoint {
    /// λ
    pub damping: f64,
    /// Mean Jaccard index of the top k with those at the next larger damping; none at the largest.
    pub jaccard_next: Option<f64>,
    /// Mean rank-biased overlap with them.
    pub rbo_next: Option<f64>,
    /// Mean Jaccard index of the top k with those at the damping in use.
    pub jaccard_chosen: f64,
    /// Mean rank-biased overlap with them.
    pub rbo_chosen: f64,
    /// Mean rank-biased overlap of the top k with those at the smallest damping.
    pub rbo_smallest: f64,
    /// Median over the queries of the size of the most helpful image's score, in nats.
    #[serde(rename = "median_top_score_nats")]
    pub median_top_score: f64,
    /// Share of the solves that reached the tolerance.
    pub converged: f64,
    /// Mean iterations of a solve; 0 where it was a factorisation.
    pub iterations: f64,
}

/// How rankings and scores change with the damping: the record of `damping_path.csv` and of the picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DampingPath {
    /// The damping in use.
    pub damping: f64,
    /// Queries in the sample.
    pub query_count: usize,
    /// Ranks that are compared, k.
    pub ranks: usize,
    /// Smallest damping first.
    pub points: Vec<DampingPoint>,
    /// A damping to use, and why.
    pub suggestion: Suggestion,
}

/// Compares the lists `tops[damping][query]` with those of the next damping, those at position `chosen` and those of the first; rows
/// damping by damping.
pub(super) fn compare(
    queries: &[usize],
    dampings: &[f64],
    chosen: usize,
    tops: &[Vec<TopImages>],
) -> Vec<QueryPoint> {
    let mut rows = Vec::with_capacity(queries.len() * dampings.len());
    for (at, &damping) in dampings.iter().enumerate() {
        for (place, &query) in queries.iter().enumerate() {
            let top = &tops[at][place];
            let next = tops.get(at + 1).map(|next| &next[place].ids);
            let [in_use, smallest] = [chosen, 0].map(|at| &tops[at][place].ids);
            rows.push(QueryPoint {
                query,
                damping,
                jaccard_next: next.map(|next| jaccard(&top.ids, next)),
                rbo_next: next.map(|next| rank_biased_overlap(&top.ids, next)),
                jaccard_chosen: jaccard(&top.ids, in_use),
                rbo_chosen: rank_biased_overlap(&top.ids, in_use),
                rbo_smallest: rank_biased_overlap(&top.ids, smallest),
                top_train: top.ids.first().copied(),
                top_score: top.score,
                converged: top.converged,
                iterations: top.iterations,
            });
        }
    }
    rows
}

impl DampingPath {
    /// The means over the queries of `rows`, which stand damping by damping and compare `tops`, at the damping in use and of `ranks`
    /// each.
    pub(super) fn of(
        damping: f64,
        ranks: usize,
        rows: &[QueryPoint],
        tops: &[Vec<TopImages>],
    ) -> Self {
        let query_count = tops.first().map_or(0, Vec::len);
        let points: Vec<DampingPoint> = rows.chunks(query_count.max(1)).map(point).collect();
        Self {
            damping,
            query_count,
            ranks,
            suggestion: Suggestion::of(damping, &points, &overlaps(tops)),
            points,
        }
    }
}

/// The means over one damping's rows.
fn point(rows: &[QueryPoint]) -> DampingPoint {
    let over = |value: fn(&QueryPoint) -> f64| mean(rows.iter().map(value)).unwrap_or(f64::NAN);
    let mut sizes: Vec<f64> = rows.iter().map(|row| row.top_score.abs()).collect();
    DampingPoint {
        damping: rows[0].damping,
        jaccard_next: mean(rows.iter().filter_map(|row| row.jaccard_next)),
        rbo_next: mean(rows.iter().filter_map(|row| row.rbo_next)),
        jaccard_chosen: over(|row| row.jaccard_chosen),
        rbo_chosen: over(|row| row.rbo_chosen),
        rbo_smallest: over(|row| row.rbo_smallest),
        median_top_score: median(&mut sizes).unwrap_or(f64::NAN),
        converged: over(|row| f64::from(u8::from(row.converged))),
        iterations: over(|row| row.iterations as f64),
    }
}
