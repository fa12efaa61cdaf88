//! Which damping to use: the smallest of a stretch over which rankings hardly change.
//!
//! A stretch is of dampings whose rankings agree with those at its smallest. That neighbours agree is not enough: small drifts add up.
//! Three kinds are told apart:
//!
//! | stretch | its rankings | suggested |
//! |---|---|---|
//! | from the smallest damping on | those of the undamped inverse | the smallest |
//! | between the ends | those of a plateau | the smallest on the longest one |
//! | up to the largest damping | those of plain gradient products: λ outweighs the curvature | nothing |
//!
//! Where the undamped inverse is reached, more damping only takes scores further from what leaving an image out does (`docs/solvers.md`
//! has measurements).

use super::overlap::{mean, rank_biased_overlap};
use super::{DampingPoint, TopImages};
use serde::Serialize;

/// Mean rank-biased overlap from which the rankings at two dampings agree.
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
    /// The smallest damping, where rankings agree from there on; else the smallest on the longest plateau between the ends (the first
    /// of equally long ones); else `in_use`, as where rankings agree over the whole grid. `overlaps[i][j]` are those of `points[i]` with
    /// `points[j]`. Dampings with solves that missed their tolerance are not compared.
    pub(super) fn of(in_use: f64, points: &[DampingPoint], overlaps: &[Vec<f64>]) -> Self {
        let compared: Vec<bool> = (points.iter())
            .map(|point| point.converged >= CONVERGED)
            .collect();
        let low = compared.iter().position(|&it| it);
        let high = compared.iter().rposition(|&it| it);
        let (Some(low), Some(high)) = (low, high) else {
            return Self::unstable(in_use);
        };
        let agree = |one: usize, other: usize| {
            compared[one] && compared[other] && overlaps[one][other] >= AGREEMENT
        };
        let reach = |first: usize| {
            (first..=high)
                .take_while(|&at| at == first || agree(first, at))
                .last()
        };
        let undamped = reach(low).unwrap_or(low);
        if undamped == high && low < high {
            return Self::everywhere(in_use, (points[low].damping, points[high].damping));
        }
        if undamped > low {
            return Self::undamped((points[low].damping, points[undamped].damping));
        }
        let outweighed = (low..=high).rev();
        let outweighed = outweighed.take_while(|&at| at == high || agree(high, at));
        let inside = low + 1..outweighed.last().unwrap_or(high);
        let plateau = |first: usize| {
            let last = reach(first)?.min(inside.end - 1);
            (last > first).then_some((first, last))
        };
        // The first of equally long ones: `max_by_key` would take the last.
        let plateaus = inside.clone().rev().filter_map(plateau);
        match plateaus.max_by_key(|(first, last)| last - first) {
            Some((first, last)) => Self::plateau((points[first].damping, points[last].damping)),
            None => Self::unstable(in_use),
        }
    }

    fn undamped((first, last): (f64, f64)) -> Self {
        let (from, to) = (brief(first), brief(last));
        Self {
            damping: first,
            stretch: Some((first, last)),
            reason: format!(
                "from {from} to {to} rankings are those of the undamped inverse (mean rank-biased overlap of {AGREEMENT} or more with \
                 those at {from}), so that none is needed to steady them, and with more of it scores say less of what leaving an image \
                 out does"
            ),
        }
    }

    fn plateau((first, last): (f64, f64)) -> Self {
        Self {
            damping: first,
            stretch: Some((first, last)),
            reason: format!(
                "the smallest on the longest stretch over which rankings stay those at its smallest (mean rank-biased overlap of \
                 {AGREEMENT} or more), to {}; a stretch up to the largest damping does not count: where λ outweighs the curvature, \
                 rankings are stable for that alone",
                brief(last),
            ),
        }
    }

    fn everywhere(in_use: f64, (first, last): (f64, f64)) -> Self {
        let (from, to) = (brief(first), brief(last));
        Self {
            damping: in_use.clamp(first, last),
            stretch: Some((first, last)),
            reason: format!(
                "rankings stay the same all the way from {from} to {to} (mean rank-biased overlap of {AGREEMENT} or more with those at \
                 {from}), so that stability prefers none, and the one in use is kept"
            ),
        }
    }

    /// The damping in two digits, as the option takes it.
    #[must_use]
    pub fn brief(&self) -> String {
        brief(self.damping)
    }

    /// The damping that agrees best with others would only be the one nearest to an end.
    fn unstable(in_use: f64) -> Self {
        Self {
            damping: in_use,
            stretch: None,
            reason: format!(
                "no value is stable: rankings change from each damping whose solves converged to the next (mean rank-biased overlap \
                 below {AGREEMENT}) until λ outweighs the curvature, where they are stable for that alone; the one in use is kept"
            ),
        }
    }
}

/// The mean over the queries of the rank-biased overlap at each two dampings; `tops[damping][query]`.
pub(super) fn overlaps(tops: &[Vec<TopImages>]) -> Vec<Vec<f64>> {
    let overlap = |one: &[TopImages], other: &[TopImages]| {
        let pairs = one.iter().zip(other);
        mean(pairs.map(|(one, other)| rank_biased_overlap(&one.ids, &other.ids)))
            .unwrap_or(f64::NAN)
    };
    let with_all = |one: &Vec<TopImages>| tops.iter().map(|other| overlap(one, other)).collect();
    tops.iter().map(with_all).collect()
}

/// A damping in two digits.
pub(super) fn brief(damping: f64) -> String {
    match damping == 0.0 {
        true => "0".into(),
        false => format!("{damping:.1e}").replace(".0e", "e"),
    }
}
