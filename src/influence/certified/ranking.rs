//! From rough scores and their bounds to certified ranks: which images may be among those wanted, their exact scores, and what these
//! prove.

use super::scorer::{Precision, Rough, Scorer};
use crate::Result;
use crate::influence::certificate::{Candidates, Certified};
use crate::influence::{CertifiedRanks, Examples};
use rayon::prelude::*;

/// Solved for the training images: the ranks of the queries at `positions`, whose gradients meet all solutions.
pub(super) fn rank_gradients(
    scorer: &Scorer,
    queries: &Examples,
    positions: &[u32],
    rough: &Rough,
    ranks: &CertifiedRanks,
) -> Result<Vec<Vec<Certified>>> {
    let columns = rough.scores.len() / positions.len();
    let error = |row: usize, image: usize, precision| {
        scorer.error((&rough.gradients, row), image, precision)
    };
    let candidates = candidates(ranks, &rough.scores, columns, error);
    // From the images of each query to the queries of each image, and back.
    let mut lists: Vec<Vec<u32>> = vec![Vec::new(); columns];
    for (row, candidates) in candidates.iter().enumerate() {
        for image in representatives(ranks, candidates) {
            lists[image].push(positions[row]);
        }
    }
    let by_image = scorer.exact(queries, &lists)?;
    let mut next = vec![0; columns];
    let mut by_query = vec![Vec::new(); positions.len()];
    for (row, candidates) in candidates.iter().enumerate() {
        for image in representatives(ranks, candidates) {
            by_query[row].push(by_image[image][next[image]]);
            next[image] += 1;
        }
    }
    Ok(certify(ranks, &candidates, &by_query, error))
}

/// Solved for the queries: the ranks of all solutions, which meet the gradients of all training images.
pub(super) fn rank_solutions(
    scorer: &Scorer,
    training: &Examples,
    rough: &Rough,
    ranks: &CertifiedRanks,
) -> Result<Vec<Vec<Certified>>> {
    let error = |row: usize, image: usize, precision| {
        scorer.error((&rough.gradients, image), row, precision)
    };
    let candidates = candidates(ranks, &rough.scores, training.count(), error);
    let lists: Vec<Vec<u32>> = (candidates.iter())
        .map(|candidates| {
            representatives(ranks, candidates)
                .map(|image| image as u32)
                .collect()
        })
        .collect();
    let by_query = scorer.exact(training, &lists)?;
    Ok(certify(ranks, &candidates, &by_query, error))
}

/// Of each query, from its row of `scores`.
fn candidates(
    ranks: &CertifiedRanks,
    scores: &[f64],
    columns: usize,
    error: impl Fn(usize, usize, Precision) -> f64 + Sync,
) -> Vec<Candidates> {
    (scores.par_chunks_exact(columns).enumerate())
        .map(|(row, scores)| {
            let error = |image| error(row, image, Precision::Rough);
            ranks.candidates(|image| scores[image], error)
        })
        .collect()
}

/// The images whose scores stand for the candidates', each once and in order.
fn representatives<'a>(
    ranks: &'a CertifiedRanks,
    candidates: &'a Candidates,
) -> impl Iterator<Item = usize> + 'a {
    let images = candidates.images.iter().copied();
    images.filter(|&image| ranks.representative(image) == image)
}

/// The ranks of each query from the exact `scores` of its representatives.
fn certify(
    ranks: &CertifiedRanks,
    candidates: &[Candidates],
    scores: &[Vec<f64>],
    error: impl Fn(usize, usize, Precision) -> f64 + Sync,
) -> Vec<Vec<Certified>> {
    (candidates.par_iter().zip(scores).enumerate())
        .map(|(row, (candidates, scores))| {
            let own: Vec<usize> = representatives(ranks, candidates).collect();
            let place = |image: &usize| {
                let first = ranks.representative(*image);
                own.partition_point(|&other| other < first)
            };
            let places: Vec<usize> = candidates.images.iter().map(place).collect();
            let all: Vec<f64> = places.iter().map(|&place| scores[place]).collect();
            let errors: Vec<f64> = (places.iter())
                .map(|&place| error(row, own[place], Precision::Exact))
                .collect();
            ranks.certify(candidates, &all, &errors)
        })
        .collect()
}

/// Whether the first `count` ranks are.
pub(super) fn certified(ranks: &[Certified], count: usize) -> bool {
    (ranks.iter().take(count)).all(|(_, _, certificate)| certificate.certified)
}
