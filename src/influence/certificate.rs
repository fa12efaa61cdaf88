//! Which ranks are proven against the solver's and rounding's errors.
//!
//! Each score comes with a bound e on its distance from the exact (1/n) ∇mᵀA⁻¹∇ℓ. The image at rank k is *certified* there
//! when every image above it is certainly above and every image below it certainly below: with s ± e as intervals,
//! min(s_i − e_i) of those above > s_k + e_k, and s_k − e_k > max(s_j + e_j) of those below, kept or not.
//!
//! Rough scores with wide intervals are enough to tell which images cannot be among the first K: those below the K-th largest
//! lower end. Only the other ones, the *candidates*, are scored again.
//!
//! Images with the same features and label have the same score whatever the solver does. They are *tied*: they get one
//! score, stand in the order of their ids, and are not compared with each other.

use super::checkpoint::Recordable;
use super::sink::StateReader;
use super::{FeatureSet, SinkState};
use crate::Result;
use crate::data::moved;
use candle_core::{DType, Device};
use std::collections::HashMap;
use std::ops::Range;

/// What is known of one rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certificate {
    /// The score is within this of the exact one, in nats.
    pub bound: f64,
    /// Whether the image certainly has this rank.
    pub certified: bool,
    /// Whether other training images equal this one in features and label, so that they share these ranks.
    pub tied: bool,
}

/// A kept image: its position among the training images, its score and its certificate.
pub type Certified = (usize, f64, Certificate);

/// Which training images have the same features, bit by bit, and the same label.
#[derive(Debug, Clone)]
pub struct EqualImages {
    /// For each training image the position of the first one equal to it.
    first: Vec<usize>,
    /// Whether there is another one.
    shared: Vec<bool>,
}

impl EqualImages {
    /// Compares all training images by their features as they were read: in f32 or along other axes, different ones may be equal.
    ///
    /// # Errors
    /// A tensor operation failed, or a mapped file has changed since it was opened.
    pub fn among(training: &FeatureSet) -> Result<Self> {
        let first = first_equal(training)?;
        let mut counts = vec![0usize; first.len()];
        first.iter().for_each(|&image| counts[image] += 1);
        let shared = first.iter().map(|&image| counts[image] > 1).collect();
        Ok(Self { first, shared })
    }
}

/// The `top` most helpful images of every query, each with its certificate.
pub struct CertifiedRanks {
    top: usize,
    ids: Vec<usize>,
    equal: EqualImages,
    queries: Vec<Vec<Certified>>,
}

/// The images that may be among the highest of a query.
pub(super) struct Candidates {
    /// Positions among the training images, in their order; of equal images all or none.
    pub(super) images: Vec<usize>,
    /// The most that any other image may score.
    ceiling: f64,
}

impl CertifiedRanks {
    /// For `top` images of each of `queries` queries; `ids` of the training images decide among equal scores.
    pub(super) fn new(top: usize, queries: usize, ids: &[usize], equal: &EqualImages) -> Self {
        Self {
            top,
            ids: ids.to_vec(),
            equal: equal.clone(),
            queries: vec![Vec::new(); queries],
        }
    }

    /// The images of the query at `position`, most helpful first.
    pub fn ranks(&self, position: usize) -> &[Certified] {
        &self.queries[position]
    }

    /// Whether the first `count` ranks of the query at `position` are all certified.
    pub fn is_certified(&self, position: usize, count: usize) -> bool {
        let mut ranks = self.queries[position].iter().take(count);
        ranks.all(|(_, _, certificate)| certificate.certified)
    }

    /// The first of the images that equal `image`: the one whose score stands for all of them.
    pub(super) fn representative(&self, image: usize) -> usize {
        self.equal.first[image]
    }

    /// From scores that are within `error` of the exact ones, both by position.
    pub(super) fn candidates(
        &self,
        score: impl Fn(usize) -> f64,
        error: impl Fn(usize) -> f64,
    ) -> Candidates {
        let interval = |image: usize| {
            let first = self.equal.first[image];
            (score(first) - error(first), score(first) + error(first))
        };
        let count = self.ids.len();
        let mut floor = f64::NEG_INFINITY;
        if self.top < count {
            let mut lowest: Vec<f64> = (0..count).map(|image| interval(image).0).collect();
            let place = self.top.saturating_sub(1);
            floor = *(lowest.select_nth_unstable_by(place, |a, b| b.total_cmp(a))).1;
        }
        let mut candidates = Candidates {
            images: Vec::with_capacity(self.top.min(count)),
            ceiling: f64::NEG_INFINITY,
        };
        for image in 0..count {
            let highest = interval(image).1;
            if highest >= floor {
                candidates.images.push(image);
            } else {
                candidates.ceiling = candidates.ceiling.max(highest);
            }
        }
        candidates
    }

    /// Keeps the ranks of the query at `position`.
    pub(super) fn keep(&mut self, position: usize, ranks: Vec<Certified>) {
        self.queries[position] = ranks;
    }

    /// The ranks that `scores` and `errors` of the candidates, in their order, give a query.
    pub(super) fn certify(
        &self,
        candidates: &Candidates,
        scores: &[f64],
        errors: &[f64],
    ) -> Vec<Certified> {
        let row = Row {
            candidates,
            first: &self.equal.first,
            scores,
            errors,
        };
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let better = |a: &usize, b: &usize| {
            let ids = |place: usize| self.ids[candidates.images[place]];
            (scores[*b].total_cmp(&scores[*a])).then_with(|| ids(*a).cmp(&ids(*b)))
        };
        let kept = self.top.min(order.len());
        if kept < order.len() {
            order.select_nth_unstable_by(kept, better);
        }
        order[..kept].sort_unstable_by(better);
        let (kept, rest) = order.split_at(kept);
        let (above, below) = (row.lowest_above(kept), row.highest_below(kept, rest));
        let certify = |(rank, &place): (usize, &usize)| {
            let (score, error) = (scores[place], errors[place]);
            let image = candidates.images[place];
            let certificate = Certificate {
                bound: error,
                certified: above[rank] > score + error && score - error > below[rank],
                tied: self.equal.shared[image],
            };
            (image, score, certificate)
        };
        kept.iter().enumerate().map(certify).collect()
    }
}

/// The scores of one query's candidates with their error bounds, by place among the candidates.
struct Row<'a> {
    candidates: &'a Candidates,
    first: &'a [usize],
    scores: &'a [f64],
    errors: &'a [f64],
}

impl Row<'_> {
    /// Equal images have the same owner.
    fn owner(&self, place: usize) -> usize {
        self.first[self.candidates.images[place]]
    }

    /// For each kept rank the least that any image above may score, those equal to the image itself left out.
    fn lowest_above(&self, kept: &[usize]) -> Vec<f64> {
        let (mut above, mut group) = (f64::INFINITY, f64::INFINITY);
        let mut lowest = Vec::with_capacity(kept.len());
        for (rank, &place) in kept.iter().enumerate() {
            // Equal images stand next to each other.
            if rank > 0 && self.owner(kept[rank - 1]) != self.owner(place) {
                above = above.min(group);
                group = f64::INFINITY;
            }
            group = group.min(self.scores[place] - self.errors[place]);
            lowest.push(above);
        }
        lowest
    }

    /// For each kept rank the most that any image below may score, kept or not, equal ones left out.
    fn highest_below(&self, kept: &[usize], rest: &[usize]) -> Vec<f64> {
        let upper = |place: usize| self.scores[place] + self.errors[place];
        let rest = Highest::of(rest.iter().map(|&place| (upper(place), self.owner(place))));
        let mut highest = vec![f64::NEG_INFINITY; kept.len()];
        // The most of the ranks below the current group of equal images, and of the group.
        let (mut below, mut group) = (self.candidates.ceiling, f64::NEG_INFINITY);
        for rank in (0..kept.len()).rev() {
            let owner = self.owner(kept[rank]);
            if rank + 1 < kept.len() && self.owner(kept[rank + 1]) != owner {
                below = below.max(group);
                group = f64::NEG_INFINITY;
            }
            group = group.max(upper(kept[rank]));
            highest[rank] = below.max(rest.without(owner));
        }
        highest
    }
}

/// The highest value of a set, and the highest of any other owner.
struct Highest {
    first: (f64, usize),
    second: f64,
}

impl Highest {
    fn of(values: impl Iterator<Item = (f64, usize)>) -> Self {
        let mut highest = Self {
            first: (f64::NEG_INFINITY, usize::MAX),
            second: f64::NEG_INFINITY,
        };
        for (value, owner) in values {
            if owner == highest.first.1 {
                highest.first.0 = highest.first.0.max(value);
            } else if value > highest.first.0 {
                highest.second = highest.first.0;
                highest.first = (value, owner);
            } else {
                highest.second = highest.second.max(value);
            }
        }
        highest
    }

    fn without(&self, owner: usize) -> f64 {
        if self.first.1 == owner {
            self.second
        } else {
            self.first.0
        }
    }
}

impl Recordable for CertifiedRanks {
    fn save(&mut self) -> Result<Option<Vec<SinkState>>> {
        let mut state = SinkState::default();
        for ranks in &self.queries {
            state.integers.push(ranks.len() as u64);
            for (position, score, certificate) in ranks {
                let (certified, tied) = (certificate.certified, certificate.tied);
                let flags = u64::from(certified) + 2 * u64::from(tied);
                state.integers.extend([*position as u64, flags]);
                state.numbers.extend([*score, certificate.bound]);
            }
        }
        Ok(Some(vec![state]))
    }

    fn restore(&mut self, states: &mut std::slice::Iter<SinkState>) -> Result<bool> {
        let Some(state) = states.next() else {
            return Ok(false);
        };
        let mut reader = state.reader();
        let mut restored = Vec::with_capacity(self.queries.len());
        for _ in 0..self.queries.len() {
            let kept = reader.position(self.ids.len() + 1).unwrap_or_default();
            let ranks = (0..kept).map(|_| restored_rank(&mut reader, self.ids.len()));
            let Some(ranks) = ranks.collect() else {
                return Ok(false);
            };
            restored.push(ranks);
        }
        self.queries = restored;
        Ok(reader.is_at_end())
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.queries.iter_mut().for_each(Vec::clear);
        Ok(())
    }
}

/// One rank as [`CertifiedRanks`] saves it.
fn restored_rank(reader: &mut StateReader, count: usize) -> Option<Certified> {
    let (position, flags) = (reader.position(count)?, reader.position(4)?);
    let (score, bound) = (reader.number()?, reader.number()?);
    let certificate = Certificate {
        bound,
        certified: flags % 2 == 1,
        tied: flags / 2 == 1,
    };
    Some((position, score, certificate))
}

/// For each image the position of the first one with the same features and label, bit by bit.
fn first_equal(training: &FeatureSet) -> Result<Vec<usize>> {
    let rows = training.features;
    let values = |range: Range<usize>| -> Result<Vec<f64>> {
        let chunk = moved(&rows.chunk(range)?, &Device::Cpu)?.to_dtype(DType::F64)?;
        Ok(chunk.flatten_all()?.to_vec1()?)
    };
    let mut seen: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut first = Vec::with_capacity(rows.count());
    for step in rows.steps() {
        let chunk = values(step.clone())?;
        for (image, row) in step.zip(chunk.chunks_exact(rows.columns())) {
            let label = training.labels[image];
            let candidates = seen.entry((label, digest(row))).or_default();
            let mut equal = None;
            for &other in &*candidates {
                if values(other..other + 1)? == row {
                    equal = Some(other);
                    break;
                }
            }
            if equal.is_none() {
                candidates.push(image);
            }
            first.push(equal.unwrap_or(image));
        }
    }
    Ok(first)
}

fn digest(row: &[f64]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    row.iter()
        .for_each(|value| hasher.write_u64((value + 0.0).to_bits()));
    hasher.finish()
}
