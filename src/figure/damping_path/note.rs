//! The note below the panels.

use crate::influence::{AGREEMENT, DampingPath};

/// What is drawn, in words.
pub(super) fn note(path: &DampingPath) -> String {
    let shaded = match path.suggestion.stretch {
        Some(_) => {
            "Shaded: the stretch that the suggestion rests on, whose rankings reach it with those at its smallest damping."
        }
        None => {
            "Below the grid’s upper end no neighbours reach it with converged solves: no value is stable."
        }
    };
    format!(
        "Means over {} test queries. (a) Overlap of each query’s {} most helpful training images with those at the next \
         larger damping of the grid (set halfway between the two), at the damping in use, and at the smallest. Dotted: {AGREEMENT}. \
         {shaded} (b) Median size of the score of a query’s most helpful image, in nats. A stable ranking need not be \
         right: where λ outweighs the curvature it is that of plain gradient products, where the curvature \
         outweighs λ that of the undamped inverse.{}{}",
        path.query_count,
        path.ranks,
        undamped(path),
        missed(path)
    )
}

/// Where the damping in use is drawn, if it has no place.
fn undamped(path: &DampingPath) -> &'static str {
    match path.damping == 0.0 {
        true => {
            " In use, and the smallest, is 0: marked at the left end, for the axis has no place for it."
        }
        false => "",
    }
}

/// How far the solves went, where some missed their tolerance.
fn missed(path: &DampingPath) -> String {
    let lowest = path.points.iter().map(|point| point.converged);
    match lowest.fold(1.0, f64::min) {
        1.0 => String::new(),
        share => format!(
            " Solves that reached the tolerance: {:.0} % at the worst damping.",
            100.0 * share
        ),
    }
}
