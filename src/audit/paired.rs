//! How the second of two runs ranks for the queries that both have.

use super::Subject;
use crate::evaluate::{PairedRankings, Pairing};
use crate::figure::QuerySet;
use crate::report::PairedQueries;

/// Test images, and training images as queries of others where both runs have these; nothing of one run, nor where no ranks were kept.
/// Overlaps are of runs that were trained on the same images.
#[must_use]
pub fn paired(subjects: &[Subject]) -> Vec<PairedQueries> {
    let [first, second] = subjects else {
        return Vec::new();
    };
    let same_images = first.job.train.ids == second.job.train.ids;
    let sets = [
        (QuerySet::Test, [first, second].map(|it| it.rankings)),
        (
            QuerySet::TrainingItselfExcluded,
            [first, second].map(|it| it.train_rankings),
        ),
    ];
    let compared = sets.into_iter().filter_map(|(set, [one, other])| {
        let pairing = Pairing {
            same_images,
            without_itself: set != QuerySet::Test,
        };
        Some(PairedQueries {
            queries: set.description().into(),
            difference: PairedRankings::of(one, other, pairing)?,
        })
    });
    compared.collect()
}
