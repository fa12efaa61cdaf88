//! Which damping to use: the smallest on the longest stretch of the grid over which rankings hardly change.

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

impl Suggestion {
    /// The smallest damping on the longest stretch of `points` whose neighbours agree (the first of equally long ones); if
    /// no two agree, the damping that agrees best with its neighbours; `in_use` if there is none. Dampings with solves that
    /// missed their tolerance are not compared.
    pub(super) fn of(in_use: f64, points: &[DampingPoint]) -> Self {
        let overlaps = overlaps(points);
        let agrees = |overlap: &Option<f64>| overlap.is_some_and(|overlap| overlap >= AGREEMENT);
        let steps: Vec<bool> = overlaps.iter().map(agrees).collect();
        let longest = longest_run(&steps);
        if longest.is_empty() {
            return Self::unstable(in_use, points, &overlaps);
        }
        let (first, last) = (points[longest.start].damping, points[longest.end].damping);
        let edge = |is_edge: bool| if is_edge { " (the grid's end)" } else { "" };
        let reason = format!(
            "the smallest on the longest stretch over which neighbouring dampings agree (mean rank-biased overlap of \
             {AGREEMENT} or more), from {}{} to {}{}",
            brief(first),
            edge(longest.start == 0),
            brief(last),
            edge(longest.end + 1 == points.len())
        );
        Self {
            damping: first,
            stretch: Some((first, last)),
            reason,
        }
    }

    /// The damping in two digits, as the option takes it.
    #[must_use]
    pub fn brief(&self) -> String {
        brief(self.damping)
    }

    fn unstable(in_use: f64, points: &[DampingPoint], overlaps: &[Option<f64>]) -> Self {
        let both = |at: usize| {
            let before = at.checked_sub(1).and_then(|before| overlaps[before]);
            let after = overlaps.get(at).copied().flatten();
            super::mean([before, after].into_iter().flatten())
        };
        let mut best: Option<(f64, f64)> = None;
        for (at, point) in points.iter().enumerate() {
            if let Some(overlap) = both(at)
                && best.is_none_or(|(_, highest)| overlap > highest)
            {
                best = Some((point.damping, overlap));
            }
        }
        let (damping, why) = match best {
            Some((damping, overlap)) => {
                let why = format!("this one agrees best with its neighbours, at {overlap:.2}");
                (damping, why)
            }
            None => (
                in_use,
                "solves of no two converged, and this one is in use".into(),
            ),
        };
        let reason = format!(
            "no value is stable: no two neighbouring dampings agree (mean rank-biased overlap of {AGREEMENT} or more); {why}"
        );
        Self {
            damping,
            stretch: None,
            reason,
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

/// The longest run of `true`, the first of equally long ones; empty where there is none.
fn longest_run(steps: &[bool]) -> Range<usize> {
    let (mut longest, mut start) = (0..0, 0);
    for (at, &agrees) in steps.iter().enumerate() {
        if !agrees {
            start = at + 1;
        } else if at + 1 - start > longest.len() {
            longest = start..at + 1;
        }
    }
    longest
}

/// A damping in two digits.
pub(super) fn brief(damping: f64) -> String {
    format!("{damping:.1e}").replace(".0e", "e")
}
