//! Predictions held against refits: the loss without the most helpful images, and the fewest images that hold a prediction.
//!
//! **Removal.** The scores of the most helpful images add up to the predicted rise; the head fitted again without them gives
//! the measured one. Both are from the loss at all images, the measured one at the minimum.
//!
//! **Flip.** m = z_y − z_c is the margin of the predicted class over the next one, and (1/n) ∇mᵀA⁻¹∇ℓ_i the predicted rise of m without
//! image i. The images where it is lowest, below 0, hold the prediction; they are taken first, until their sum says that m falls below 0.
//! Then refits decide: more images until the prediction changes, then half-way back to the fewest of that order. The number is
//! measured; that no other set of images is smaller is not claimed (the problem is one of subsets).

use super::fewest_images::Search;
use super::fitted::{Fitted, Refits};
use crate::derivative::head::{HeadInputs, HeadOutputs};
use crate::evaluate::Refit;
use crate::influence::{Prepared, QueryRanking, RankJob, RankedImage};
use crate::report::{Flip, Removal};
use crate::{Error, Result};
use candle_core::DType;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeasureOptions {
    /// Ids of the queries that heads are fitted again for; none: nothing is measured.
    pub queries: BTreeSet<usize>,
    /// Most helpful images that are taken away.
    pub removed: usize,
    /// Whether heads are fitted without the training images, for their losses.
    pub held_out: bool,
    /// Groups of training images that are left out as a whole, at most.
    pub groups: usize,
}

/// What came of it, by the queries' positions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    /// Rises without the most helpful images.
    pub removals: BTreeMap<usize, Removal>,
    /// The fewest images that hold the prediction; training images by position.
    pub flips: BTreeMap<usize, Flip>,
    /// Refits, or trainings, behind both.
    pub refits: usize,
    /// Why nothing was measured by training again, which was asked for.
    pub failed: Option<String>,
}

impl Measured {
    /// How many of the refits did not converge; a search ends with the first that does not.
    pub(super) fn missed(&self) -> usize {
        let removals = self
            .removals
            .values()
            .filter(|removal| removal.converged == Some(false));
        let flips = self.flips.values().filter(|flip| flip.unsettled.is_some());
        removals.count() + flips.count()
    }
}

/// Measures; `None` where nothing is asked for, or the head is not `fitted`. `progress` is told of how many queries, of how many, it is
/// known how few images hold the prediction.
pub(super) fn measure(
    job: &RankJob,
    prepared: &Prepared,
    rankings: &[QueryRanking],
    options: &MeasureOptions,
    (fitted, progress): (Option<&Fitted>, &mut dyn FnMut(usize, usize)),
) -> Result<Option<Measured>> {
    let ids = prepared.queries().ids().iter().enumerate();
    let positions: Vec<usize> = ids
        .filter_map(|(at, id)| options.queries.contains(id).then_some(at))
        .collect();
    let Some(fitted) = fitted.filter(|_| !positions.is_empty()) else {
        return Ok(None);
    };
    let rows: Vec<u32> = positions.iter().map(|&at| at as u32).collect();
    let labels: Vec<usize> = positions.iter().map(|&at| job.test.labels[at]).collect();
    let queries = HeadInputs::new(&job.test.features.select(&rows)?, &labels, DType::F64)?;
    let refits = fitted.refits(&queries)?;
    let removals = removals(prepared, rankings, options, &positions, &refits)?;
    let (flips, searched) = flips(
        prepared,
        &positions,
        &refits,
        (&fitted.outputs(&queries)?, progress),
    )?;
    Ok(Some(Measured {
        refits: removals.len() + searched,
        removals,
        flips,
        failed: None,
    }))
}

fn removals(
    prepared: &Prepared,
    rankings: &[QueryRanking],
    options: &MeasureOptions,
    positions: &[usize],
    refits: &Refits,
) -> Result<BTreeMap<usize, Removal>> {
    let ids = prepared.queries().ids();
    let ids: Vec<usize> = positions.iter().map(|&at| ids[at]).collect();
    let taken = most_helpful(rankings, (&ids, prepared.training().ids()), options.removed)?;
    let sets: Vec<Vec<usize>> = taken.iter().map(|taken| taken.images.clone()).collect();
    let found = refits.without(&sets)?;
    let removal = |(taken, refit): (&Taken, Refit)| {
        let row = taken.query;
        let removal = Removal {
            images: taken.images.len(),
            predicted: taken.predicted,
            measured: refit.losses[row] - refits.full.losses[row],
            converged: Some(refit.converged),
        };
        (positions[row], removal)
    };
    Ok(taken.iter().zip(found).map(removal).collect())
}

/// The most helpful images of a query, which are taken away.
pub(super) struct Taken {
    /// The query's place among those that were asked for.
    pub(super) query: usize,
    /// Positions among the training images.
    pub(super) images: Vec<usize>,
    /// The sum of their scores.
    pub(super) predicted: f64,
}

/// Up to `count` of the most helpful images, of positive scores, of each query that has such; ids of the queries and of the training
/// images.
pub(super) fn most_helpful(
    rankings: &[QueryRanking],
    (queries, training): (&[usize], &[usize]),
    count: usize,
) -> Result<Vec<Taken>> {
    let places: HashMap<usize, usize> = training.iter().copied().zip(0..).collect();
    let ranked: HashMap<usize, &QueryRanking> = rankings
        .iter()
        .map(|ranking| (ranking.query, ranking))
        .collect();
    let place = |image: &RankedImage| {
        let found = places.get(&image.train).copied();
        found.ok_or_else(|| {
            Error::mismatch(
                "rankings",
                "images of the training set",
                image.train,
                "run ascribe rank again",
            )
        })
    };
    let mut taken = Vec::new();
    for (query, id) in queries.iter().enumerate() {
        let helpful = ranked.get(id).into_iter().flat_map(|query| &query.helpful);
        let helpful = helpful.filter(|image| image.score > 0.0).take(count);
        let predicted = helpful.clone().map(|image| image.score).sum();
        let images = helpful.map(place).collect::<Result<Vec<_>>>()?;
        if !images.is_empty() {
            taken.push(Taken {
                query,
                images,
                predicted,
            });
        }
    }
    Ok(taken)
}

/// What holds each prediction, and how many refits it took.
fn flips(
    prepared: &Prepared,
    positions: &[usize],
    refits: &Refits,
    (outputs, progress): (&HeadOutputs, &mut dyn FnMut(usize, usize)),
) -> Result<(BTreeMap<usize, Flip>, usize)> {
    let probabilities = outputs
        .probabilities
        .to_dtype(DType::F64)?
        .to_vec2::<f64>()?;
    let before = &refits.full.predictions;
    let mut margins = Vec::with_capacity(positions.len());
    for (row, &position) in positions.iter().enumerate() {
        let own = &probabilities[row];
        let others = (0..own.len()).filter(|&class| class != before[row]);
        let next = others
            .max_by(|&a, &b| own[a].total_cmp(&own[b]))
            .unwrap_or_default();
        margins.push((position, before[row], next));
    }
    let scores = prepared.margins(&margins)?;
    let search = |(row, &(_, own, next)): (usize, &(usize, usize, usize))| {
        // A difference of logits is one of log probabilities.
        let margin = (probabilities[row][own] / probabilities[row][next]).ln();
        Search::new(&scores.row(row).to_vec(), margin)
    };
    let mut searches: Vec<Search> = margins.iter().enumerate().map(search).collect();
    let mut made = 0;
    loop {
        let asked: Vec<(usize, usize)> = (searches.iter().enumerate())
            .filter_map(|(row, search)| Some((row, search.next?)))
            .collect();
        progress(searches.len() - asked.len(), searches.len());
        if asked.is_empty() {
            break;
        }
        let sets: Vec<Vec<usize>> = (asked.iter())
            .map(|&(row, count)| searches[row].order[..count].to_vec())
            .collect();
        made += sets.len();
        for (&(row, count), refit) in asked.iter().zip(refits.without(&sets)?) {
            let prediction = refit.predictions[row];
            match refit.converged {
                true => searches[row].learn(count, prediction, prediction != before[row]),
                false => searches[row].stop(count),
            }
        }
    }
    let found = positions.iter().zip(searches).enumerate();
    let found = found.map(|(row, (&position, search))| (position, search.flip(before[row])));
    Ok((found.collect(), made))
}
