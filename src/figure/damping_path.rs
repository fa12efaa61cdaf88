//! How rankings and scores change with the damping λ: the picture of `ascribe rank --damping-path`.
//!
//! | panel | against λ |
//! |---|---|
//! | (a) | mean overlap of each query's top k with those at the next larger damping, at the damping in use, and at the smallest |
//! | (b) | median size of the score of a query's most helpful image |
//!
//! Rank-biased overlap has markers, the Jaccard index none. A comparison of two neighbours stands halfway between them. A damping of 0
//! has no place on the axis: it is marked at the left end, and curves begin at the next.
//! The damping in use and the suggested one are marked, and the stretch on which the suggestion rests is shaded. The
//! record is [`DampingPath`].

mod drawing;
mod note;
#[cfg(test)]
mod tests;

use super::{Drawn, Figure, Sheet, Style};
use crate::influence::{DampingPath, DampingPoint};
use crate::{Error, Result};

impl Figure for DampingPath {
    fn title(&self) -> String {
        "How rankings and scores change with the damping".into()
    }

    fn caption(&self) -> String {
        format!(
            "{} In use: {}. Suggested: {}, {}.",
            note::note(self),
            in_use(self.damping),
            self.suggestion.brief(),
            self.suggestion.reason
        )
    }

    fn check(&self) -> Result<()> {
        let damped = self.points.iter().filter(|point| point.damping > 0.0);
        let damped = damped.count();
        if damped < 2 || self.query_count == 0 {
            let found = format!("{damped} of {} queries", self.query_count);
            let remedy = "rank with --damping-path and at least one query";
            return Err(Error::mismatch(
                "damping path",
                "two dampings above 0",
                found,
                remedy,
            ));
        }
        match self.points.iter().find(|point| !is_sound(point)) {
            None => Ok(()),
            Some(point) => Err(Error::non_finite(
                "damping path",
                format!("damping {}", point.damping),
                "make the record again",
            )),
        }
    }

    fn size(&self, style: Style) -> (f64, f64) {
        drawing::size(self, style)
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        drawing::draw(self, sheet)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        self.points
            .iter()
            .try_for_each(|point| rows.serialize(point))
    }
}

fn is_sound(point: &DampingPoint) -> bool {
    let always = [
        point.jaccard_chosen,
        point.rbo_chosen,
        point.rbo_smallest,
        point.median_top_score,
        point.converged,
        point.iterations,
    ];
    let mut known = always
        .into_iter()
        .chain(point.jaccard_next)
        .chain(point.rbo_next);
    point.damping.is_finite() && point.damping >= 0.0 && known.all(f64::is_finite)
}

/// The damping in use, as the option takes it.
fn in_use(damping: f64) -> String {
    match damping == 0.0 {
        true => "0".into(),
        false => format!("{damping:e}"),
    }
}
