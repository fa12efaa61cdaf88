//! Which damping to use: the smallest on the longest stretch inside the grid over which rankings hardly change.
//!
//! At both ends of a grid that is long enough rankings are stable for reasons that say nothing: where λ outweighs the
//! curvature they are those of plain gradient products, where the curvature outweighs λ those of the undamped inverse.
//! Hence a stretch that reaches an end of what was compared does not count.

use super::DampingPoint;
use serde::Serialize;
use std::ops::Range;

/// Mean rank-biased overlap from which the rankings at two neighbouring dampings agree.
pub const AGREEMENT: f64 = 0.9;
/// Share of solves that has to reach the tolerance for a damping to be compared.
pub const CONVERGED: f64 = 0.99;

/// A damping, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suggestion {
    /// λ
    pub damping: f64,
    /// The ends of the stretch it stands on; none where no value is stable.
    pub stretch: Option<(f64, f64)>,
    /// One sentence.
    pub reason: String,
}

/// Why stretches at the ends of the grid are not counted.
const ENDS: &str = "stretches at the grid's ends do not count: where λ outweighs the curvature, or the curvature λ, rankings are \
                    stable for that alone";

impl Suggestion {
    /// The smallest damping on the longest stretch of `points` whose neighbours agree (the first of equally long ones), not
    /// counting stretches at the ends of what was compared. Where there is none: `in_use` if all neighbours agree; else
    /// the largest damping up to which rankings are those of the smallest; else `in_use`. Dampings with solves that missed
    /// their tolerance are not compared.
    pub(super) fn of(in_use: f64, points: &[DampingPoint]) -> Self {
        let overlaps = overlaps(points);
        let compared = |overlap: &Option<f64>| overlap.is_some();
        let low = overlaps.iter().position(compared).unwrap_or(0);
        let high = overlaps
            .iter()
            .rposition(compared)
            .map_or(0, |last| last + 1);
        let stable = runs(&overlaps);
        let inside = |run: &&Range<usize>| run.start > low && run.end < high;
        // The first of equally long ones: `max_by_key` would take the last.
        if let Some(run) = stable
            .iter()
            .filter(inside)
            .rev()
            .max_by_key(|run| run.len())
        {
            return Self::inside(points, run);
        }
        let lowest = stable.iter().find(|run| run.start == low);
        let highest = stable.iter().find(|run| run.end == high);
        match (lowest, highest) {
            (Some(run), Some(other)) if run == other => Self::everywhere(in_use, points, run),
            (Some(run), _) => Self::lowest(points, run),
            (None, _) => Self::unstable(in_use),
        }
    }

    fn inside(points: &[DampingPoint], run: &Range<usize>) -> Self {
        let (first, last) = ends(points, run);
        Self {
            damping: first,
            stretch: Some((first, last)),
            reason: format!(
                "the smallest on the longest stretch over which neighbouring dampings agree (mean rank-biased overlap of \
                 {AGREEMENT} or more), from {} to {}; {ENDS}",
                brief(first),
                brief(last),
            ),
        }
    }

    fn everywhere(in_use: f64, points: &[DampingPoint], run: &Range<usize>) -> Self {
        let (first, last) = ends(points, run);
        Self {
            damping: in_use.clamp(first, last),
            stretch: Some((first, last)),
            reason: format!(
                "neighbouring dampings agree all the way from {} to {} (mean rank-biased overlap of {AGREEMENT} or more), so \
                 that stability prefers none, and the one in use is kept",
                brief(first),
                brief(last),
            ),
        }
    }

    fn lowest(points: &[DampingPoint], run: &Range<usize>) -> Self {
        let (first, last) = ends(points, run);
        Self {
            damping: last,
            stretch: Some((first, last)),
            reason: format!(
                "the largest up to which λ hardly changes rankings: from {} on, neighbouring dampings agree (mean rank-biased \
                 overlap of {AGREEMENT} or more). No stretch between the grid's ends is stable; {ENDS}, so that this is where \
                 damping begins to matter, not proof of a good value",
                brief(first),
            ),
        }
    }

    /// The damping in two digits, as the option takes it.
    #[must_use]
    pub fn brief(&self) -> String {
        brief(self.damping)
    }

    /// The damping that agrees best with its neighbours would only be the one nearest to an end.
    fn unstable(in_use: f64) -> Self {
        Self {
            damping: in_use,
            stretch: None,
            reason: format!(
                "no value is stable: no two neighbouring dampings whose solves converged agree (mean rank-biased overlap of \
                 {AGREEMENT} or more) below the grid's upper end, where λ outweighs the curvature and rankings are stable for \
                 that alone; the one in use is kept"
            ),
        }
    }
}

/// The overlap of each damping with the next, where the solves of both converged.
fn overlaps(points: &[DampingPoint]) -> Vec<Option<f64>> {
    let overlap = |pair: &[DampingPoint]| {
        let converged = pair.iter().all(|point| point.converged >= CONVERGED);
        pair[0].rbo_next.filter(|_| converged)
    };
    points.windows(2).map(overlap).collect()
}

/// The stretches over which neighbours agree: steps i of a run are from point i to point i + 1.
fn runs(overlaps: &[Option<f64>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, overlap) in overlaps.iter().enumerate() {
        match (overlap, runs.last_mut()) {
            (Some(overlap), Some(run)) if *overlap >= AGREEMENT && run.end == at => {
                run.end = at + 1
            }
            (Some(overlap), _) if *overlap >= AGREEMENT => runs.push(at..at + 1),
            _ => {}
        }
    }
    runs
}

/// The first and the last damping of a stretch.
fn ends(points: &[DampingPoint], run: &Range<usize>) -> (f64, f64) {
    (points[run.start].damping, points[run.end].damping)
}

/// A damping in two digits.
pub(super) fn brief(damping: f64) -> String {
    format!("{damping:.1e}").replace(".0e", "e")
}
