//! Predictions held against refits: the loss without the most helpful images, and the fewest images that hold a prediction.
//!
//! **Removal.** The scores of the most helpful images add up to the predicted rise; the head fitted again without them gives
//! the measured one. Both are from the loss at all images, the measured one at the minimum.
//!
//! **Flip.** m = z_y − z_c is the margin of the predicted class over the next one. Its scores (removal raises m where positive is
//! wanted to fall: (1/n) ∇mᵀA⁻¹∇ℓ_i) order the training images, and the sum of the lowest says how many should be enough. Then
//! refits decide: more images until the prediction changes, then half-way back to the fewest of that order. The number is
//! measured; that no other set of images is smaller is not claimed (the problem is one of subsets).

use crate::data::Rows;
use crate::derivative::head::{HeadInputs, HeadOutputs};
use crate::evaluate::{FullFit, HeldOut, Kept, Refit, RefitOptions, Refitting, Work};
use crate::influence::{FeatureSet, Prepared, QueryRanking, RankJob};
use crate::report::{Flip, Removal};
use crate::{Error, Result};
use candle_core::DType;
use std::collections::{BTreeMap, BTreeSet};

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MeasureOptions {
    /// Ids of the queries; none: nothing is measured.
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
    /// Refits behind both.
    pub refits: usize,
}

impl Measured {
    /// How many of the refits did not converge; a search ends with the first that does not.
    pub(super) fn missed(&self) -> usize {
        let removals = self.removals.values().filter(|removal| !removal.converged);
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
    let Some(Fitted { training, fit }) = fitted.filter(|_| !positions.is_empty()) else {
        return Ok(None);
    };
    let queries = inputs_at(&job.test, &positions)?;
    let refits = Refits {
        block: fit.block(),
        refitting: fit.refitting(&queries)?,
        full: fit.measured(&queries)?,
        count: training.count(),
    };
    let removals = removals(prepared, rankings, options, &positions, &refits)?;
    let (flips, searched) = flips(
        prepared,
        &positions,
        &refits,
        (&fit.head.outputs(&queries)?, progress),
    )?;
    Ok(Some(Measured {
        refits: removals.len() + searched,
        removals,
        flips,
    }))
}

/// The head at its minimum, where all fits without some images begin, and the training images in f64.
pub(super) struct Fitted {
    training: HeadInputs,
    fit: FullFit,
}

impl Fitted {
    /// `None` where nothing is asked for, for a head without an L2 term, which has no minimum, or with one so small that it is not reached.
    pub(super) fn of(job: &RankJob, options: &MeasureOptions) -> Result<Option<Self>> {
        let is_asked_for = options.held_out || options.groups > 0 || !options.queries.is_empty();
        if !is_asked_for || job.options.l2 <= 0.0 {
            return Ok(None);
        }
        let training = HeadInputs::new(job.train.features, job.train.labels, DType::F64)?;
        let (head, options) = (job.head.clone(), RefitOptions::default());
        match FullFit::new(&training, head, job.options.l2, options) {
            Ok(fit) => Ok(Some(Self { training, fit })),
            Err(Error::Config { option: "l2", .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Heads fitted to each of `kept`, and what they say of `queries`.
    pub(super) fn without(
        &self,
        queries: &HeadInputs,
        kept: &[Kept],
    ) -> Result<(Vec<Refit>, Work)> {
        in_blocks(&self.fit.refitting(queries)?, self.fit.block(), kept)
    }

    /// What the head fitted to all images says of `queries`.
    pub(super) fn full(&self, queries: &HeadInputs) -> Result<Refit> {
        self.fit.measured(queries)
    }

    /// The loss of each training image by a head fitted without it.
    pub(super) fn held_out(&self) -> Result<HeldOut> {
        HeldOut::of(&self.fit, &self.training)
    }
}

fn inputs_at(set: &FeatureSet, positions: &[usize]) -> Result<HeadInputs> {
    let rows: Vec<u32> = positions.iter().map(|&at| at as u32).collect();
    let labels: Vec<usize> = positions.iter().map(|&at| set.labels[at]).collect();
    HeadInputs::new(
        &Rows::from(set.features.select(&rows)?),
        &labels,
        DType::F64,
    )
}

struct Refits<'a> {
    refitting: Refitting<'a>,
    /// At all images.
    full: Refit,
    block: usize,
    count: usize,
}

impl Refits<'_> {
    /// A refit without each of these sets.
    fn without(&self, sets: &[Vec<usize>]) -> Result<Vec<Refit>> {
        let kept = sets.iter().map(|set| Kept::without(self.count, set));
        let kept: Vec<Kept> = kept.collect();
        Ok(in_blocks(&self.refitting, self.block, &kept)?.0)
    }
}

/// Heads fitted to each of `kept`, so many at a time.
fn in_blocks(refitting: &Refitting, block: usize, kept: &[Kept]) -> Result<(Vec<Refit>, Work)> {
    let (mut refits, mut work) = (Vec::with_capacity(kept.len()), Work::default());
    for part in kept.chunks(block) {
        let (found, more) = refitting.refit(part)?;
        refits.extend(found);
        work = work.and(more);
    }
    Ok((refits, work))
}

fn removals(
    prepared: &Prepared,
    rankings: &[QueryRanking],
    options: &MeasureOptions,
    positions: &[usize],
    refits: &Refits,
) -> Result<BTreeMap<usize, Removal>> {
    let ids = prepared.queries().ids();
    let places: BTreeMap<usize, usize> =
        (prepared.training().ids().iter().copied().zip(0..)).collect();
    let ranked: BTreeMap<usize, &QueryRanking> = rankings
        .iter()
        .map(|ranking| (ranking.query, ranking))
        .collect();
    let mut asked = Vec::new();
    for (row, &position) in positions.iter().enumerate() {
        let Some(ranking) = ranked.get(&ids[position]) else {
            continue;
        };
        let helpful = ranking.helpful.iter().filter(|image| image.score > 0.0);
        let taken: Vec<_> = helpful.take(options.removed).collect();
        let predicted = taken.iter().map(|image| image.score).sum::<f64>();
        let place = |image: usize| {
            let found = places.get(&image).copied();
            found.ok_or_else(|| {
                Error::mismatch(
                    "rankings",
                    "images of the training set",
                    image,
                    "run ascribe rank again",
                )
            })
        };
        let set = taken
            .iter()
            .map(|image| place(image.train))
            .collect::<Result<Vec<_>>>()?;
        if !set.is_empty() {
            asked.push((row, position, predicted, set));
        }
    }
    let sets: Vec<Vec<usize>> = asked.iter().map(|(_, _, _, set)| set.clone()).collect();
    let found = refits.without(&sets)?;
    let removal =
        |((row, position, predicted, set), refit): ((usize, usize, f64, Vec<usize>), Refit)| {
            let removal = Removal {
                images: set.len(),
                predicted,
                measured: refit.losses[row] - refits.full.losses[row],
                converged: refit.converged,
            };
            (position, removal)
        };
    Ok(asked.into_iter().zip(found).map(removal).collect())
}

/// One query's search for the fewest images.
struct Search {
    /// Images that lower the margin most when they leave, first.
    order: Vec<usize>,
    /// Without so many the prediction stays.
    stays: usize,
    /// Without so many it changes, to this class.
    changes: Option<(usize, usize)>,
    /// The fit without so many did not converge.
    unsettled: Option<usize>,
    next: Option<usize>,
}

impl Search {
    /// From the change of the margin without each image, and the margin.
    fn new(changes: &[f64], margin: f64) -> Self {
        let mut order: Vec<usize> = (0..changes.len()).filter(|&at| changes[at] < 0.0).collect();
        order.sort_by(|&a, &b| changes[a].total_cmp(&changes[b]));
        order.truncate((changes.len() / 4).max(1));
        let mut left = margin;
        let enough = order.iter().position(|&image| {
            left += changes[image];
            left < 0.0
        });
        let first = enough.map_or(order.len(), |at| at + 1);
        Self {
            next: (first > 0).then_some(first),
            order,
            stays: 0,
            changes: None,
            unsettled: None,
        }
    }

    /// The refit without the first `count` images did not converge: what it predicts says nothing, nor would one without more.
    fn stop(&mut self, count: usize) {
        self.unsettled = Some(count);
        self.next = None;
    }

    /// What a refit without the first `count` images predicts, and whether that is another class.
    fn learn(&mut self, count: usize, prediction: usize, is_another: bool) {
        match is_another {
            true => self.changes = Some((count, prediction)),
            false => self.stays = self.stays.max(count),
        }
        self.next = match self.changes {
            Some((most, _)) if most - self.stays <= 1.max(most / 20) => None,
            Some((most, _)) => Some((most + self.stays) / 2),
            None if count >= self.order.len() => None,
            None => Some((count + 1).max(count * 3 / 2).min(self.order.len())),
        };
    }

    fn flip(self, before: usize) -> Flip {
        let (count, prediction) = self.changes.unwrap_or((0, before));
        Flip {
            tried: self.stays.max(count),
            images: self.order[..count].to_vec(),
            before,
            prediction,
            unsettled: self.unsettled,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search against a prediction that changes from `threshold` images on.
    fn searched(changes: &[f64], margin: f64, threshold: usize) -> (Flip, usize) {
        let mut search = Search::new(changes, margin);
        let mut refits = 0;
        while let Some(count) = search.next {
            refits += 1;
            search.learn(count, 7, count >= threshold);
        }
        (search.flip(3), refits)
    }

    #[test]
    fn a_search_finds_the_fewest_images_of_its_order() {
        let changes: Vec<f64> = (0..400).map(|at| -1.0 / (1.0 + f64::from(at))).collect();
        for threshold in [1, 2, 3, 7, 19] {
            let (flip, refits) = searched(&changes, 2.0, threshold);
            assert_eq!((flip.images.len(), flip.prediction), (threshold, 7));
            assert_eq!(flip.images, (0..threshold).collect::<Vec<_>>());
            assert!(refits <= 10, "{refits}");
        }
        // Beyond twenty the last twentieth is not worth a refit.
        let (flip, _) = searched(&changes, 2.0, 80);
        assert!(
            (80..=84).contains(&flip.images.len()),
            "{}",
            flip.images.len()
        );
    }

    #[test]
    fn a_prediction_that_nothing_changes_is_said_to_stay() {
        let changes: Vec<f64> = (0..40).map(|_| -1e-3).collect();
        let (flip, _) = searched(&changes, 5.0, usize::MAX);
        assert_eq!((flip.images.len(), flip.prediction, flip.tried), (0, 3, 10));
        assert_eq!(flip.unsettled, None);
        let (flip, refits) = searched(&[1.0, 2.0], 5.0, 1);
        assert_eq!((flip.images.len(), flip.tried, refits), (0, 0, 0));
    }

    #[test]
    fn a_fit_that_does_not_converge_ends_the_search_and_is_no_evidence() {
        let changes: Vec<f64> = (0..400).map(|at| -1.0 / (1.0 + f64::from(at))).collect();
        let mut search = Search::new(&changes, 2.0);
        let first = search.next.unwrap();
        search.stop(first);
        assert_eq!(search.next, None);
        let flip = search.flip(3);
        assert_eq!((flip.tried, flip.unsettled), (0, Some(first)));
        assert!(flip.images.is_empty());
        // What was found before stands.
        let mut search = Search::new(&changes, 2.0);
        search.learn(first, 7, true);
        let second = search.next.unwrap();
        search.stop(second);
        let flip = search.flip(3);
        assert_eq!((flip.images.len(), flip.prediction), (first, 7));
        assert_eq!((flip.tried, flip.unsettled), (first, Some(second)));
    }
}
