//! Which ranks are proven against the solver's and rounding's errors.
//!
//! Each score comes with a bound e on its distance from the exact (1/n) ∇mᵀA⁻¹∇ℓ. The image at rank k is *certified* there
//! when every image above it is certainly above and every image below it certainly below: with s ± e as intervals,
//! min(s_i − e_i) of those above > s_k + e_k, and s_k − e_k > max(s_j + e_j) of those below, kept or not.
//!
//! Images with the same features and label have the same score whatever the solver does. They are *tied*: they get one
//! score, stand in the order of their ids, and are not compared with each other.

use super::sink::StateReader;
use super::{Examples, ScoreBlock, ScoreHeader, ScoreSink, SinkState};
use crate::Result;
use candle_core::DType;
use ndarray::ArrayView1;
use ndarray::Axis;
use ndarray::parallel::prelude::*;
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
    /// Compares all training images.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn among(training: &Examples) -> Result<Self> {
        let first = first_equal(training)?;
        let mut counts = vec![0usize; first.len()];
        first.iter().for_each(|&image| counts[image] += 1);
        let shared = first.iter().map(|&image| counts[image] > 1).collect();
        Ok(Self { first, shared })
    }
}

/// Keeps the `top` most helpful images of every query, each with its certificate. Blocks must hold whole rows and error
/// bounds.
pub struct CertifiedRanks {
    top: usize,
    ids: Vec<usize>,
    equal: EqualImages,
    queries: Vec<Vec<Certified>>,
}

impl CertifiedRanks {
    /// A sink for `top` images a query.
    pub fn new(top: usize, equal: &EqualImages) -> Self {
        Self {
            top,
            ids: Vec::new(),
            equal: equal.clone(),
            queries: Vec::new(),
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

    fn rank(&self, scores: ArrayView1<f64>, query_error: f64, errors: &[f64]) -> Vec<Certified> {
        let first = &self.equal.first;
        let row = Row {
            first,
            score: |image: usize| scores[first[image]] + 0.0,
            error: |image: usize| query_error * errors[first[image]],
        };
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let better = |a: &usize, b: &usize| {
            let (a_score, b_score) = ((row.score)(*a), (row.score)(*b));
            (b_score.total_cmp(&a_score)).then_with(|| self.ids[*a].cmp(&self.ids[*b]))
        };
        let kept = self.top.min(order.len());
        if kept < order.len() {
            order.select_nth_unstable_by(kept, better);
        }
        order[..kept].sort_unstable_by(better);
        let (kept, rest) = order.split_at(kept);
        let (above, below) = (row.lowest_above(kept), row.highest_below(kept, rest));
        let certify = |(rank, &image): (usize, &usize)| {
            let (score, error) = ((row.score)(image), (row.error)(image));
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

/// The scores of one query with their error bounds; equal images have those of the first of them.
struct Row<'a, S, E> {
    first: &'a [usize],
    score: S,
    error: E,
}

impl<S: Fn(usize) -> f64, E: Fn(usize) -> f64> Row<'_, S, E> {
    /// For each kept rank the least that any image above may score, those equal to the image itself left out.
    fn lowest_above(&self, kept: &[usize]) -> Vec<f64> {
        let (mut above, mut group) = (f64::INFINITY, f64::INFINITY);
        let mut lowest = Vec::with_capacity(kept.len());
        for (rank, &image) in kept.iter().enumerate() {
            // Equal images stand next to each other.
            if rank > 0 && self.first[kept[rank - 1]] != self.first[image] {
                above = above.min(group);
                group = f64::INFINITY;
            }
            group = group.min((self.score)(image) - (self.error)(image));
            lowest.push(above);
        }
        lowest
    }

    /// For each kept rank the most that any image below may score, kept or in `rest`, equal ones left out.
    fn highest_below(&self, kept: &[usize], rest: &[usize]) -> Vec<f64> {
        let upper = |image: usize| (self.score)(image) + (self.error)(image);
        let rest = Highest::of(rest.iter().map(|&image| (upper(image), self.first[image])));
        let mut highest = vec![f64::NEG_INFINITY; kept.len()];
        // The most of the ranks below the current group of equal images, and of the group.
        let (mut below, mut group) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for rank in (0..kept.len()).rev() {
            let owner = self.first[kept[rank]];
            if rank + 1 < kept.len() && self.first[kept[rank + 1]] != owner {
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

impl ScoreSink for CertifiedRanks {
    fn begin(&mut self, header: &ScoreHeader) -> Result<()> {
        self.ids = header.training.clone();
        self.queries = vec![Vec::new(); header.queries.len()];
        Ok(())
    }

    fn write(&mut self, block: &ScoreBlock) -> Result<()> {
        let Some(errors) = block.errors else {
            return Ok(());
        };
        let mut queries = std::mem::take(&mut self.queries);
        queries[block.queries.clone()]
            .par_iter_mut()
            .zip(block.scores.axis_iter(Axis(0)).into_par_iter())
            .zip(errors.queries.par_iter())
            .for_each(|((kept, row), error)| *kept = self.rank(row, *error, errors.training));
        self.queries = queries;
        Ok(())
    }

    fn save(&mut self) -> Result<Option<SinkState>> {
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
        Ok(Some(state))
    }

    fn restore(&mut self, state: &SinkState) -> Result<bool> {
        let mut reader = state.reader();
        let queries = self.queries.iter().map(|_| {
            let kept = reader.position(self.top + 1)?;
            (0..kept)
                .map(|_| restored(&mut reader, self.ids.len()))
                .collect()
        });
        let queries: Option<Vec<Vec<Certified>>> = queries.collect();
        let fits = queries.is_some() && reader.is_at_end();
        self.queries = queries.unwrap_or_default();
        Ok(fits)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// One rank as [`CertifiedRanks`] saves it.
fn restored(reader: &mut StateReader, count: usize) -> Option<Certified> {
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
fn first_equal(examples: &Examples) -> Result<Vec<usize>> {
    let rows = examples.inputs().rows();
    let values = |range: Range<usize>| -> Result<Vec<f64>> {
        let chunk = rows.chunk(range)?.to_dtype(DType::F64)?;
        Ok(chunk.flatten_all()?.to_vec1()?)
    };
    let mut seen: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut first = Vec::with_capacity(examples.count());
    for step in rows.steps() {
        let chunk = values(step.clone())?;
        for (image, row) in step.zip(chunk.chunks_exact(rows.columns())) {
            let label = examples.labels()[image];
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
