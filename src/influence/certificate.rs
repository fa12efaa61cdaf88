//! Which ranks are proven against the solver's and rounding's errors.
//!
//! Each score comes with a bound e on its distance from the exact (1/n) ∇mᵀA⁻¹∇ℓ. The image at rank k is *certified* there
//! when every image above it is certainly above and every image below it certainly below: with s ± e as intervals,
//! min(s_i − e_i) of those above > s_k + e_k, and s_k − e_k > max(s_j + e_j) of those below, kept or not.
//!
//! Images with the same features and label have the same score whatever the solver does. They are *tied*: they get one
//! score, stand in the order of their ids, and are not compared with each other.

use super::{Examples, ScoreBlock, ScoreHeader, ScoreSink};
use crate::Result;
use ndarray::ArrayView1;
use ndarray::Axis;
use ndarray::parallel::prelude::*;
use std::collections::HashMap;

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

/// Keeps the `top` most helpful images of every query, each with its certificate. Blocks must hold whole rows and error
/// bounds.
pub struct CertifiedRanks {
    top: usize,
    ids: Vec<usize>,
    /// For each training image the position of the first one equal to it.
    first_equal: Vec<usize>,
    shared: Vec<bool>,
    queries: Vec<Vec<Certified>>,
}

impl CertifiedRanks {
    /// For rankings of `training`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn new(top: usize, training: &Examples) -> Result<Self> {
        let first_equal = first_equal(training)?;
        let mut counts = vec![0usize; first_equal.len()];
        first_equal.iter().for_each(|&first| counts[first] += 1);
        let shared = first_equal.iter().map(|&first| counts[first] > 1).collect();
        Ok(Self {
            top,
            ids: Vec::new(),
            first_equal,
            shared,
            queries: Vec::new(),
        })
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
        let score = |image: usize| scores[self.first_equal[image]] + 0.0;
        let bound = |image: usize| query_error * errors[self.first_equal[image]];
        let mut order: Vec<usize> = (0..scores.len()).collect();
        let better = |a: &usize, b: &usize| {
            (score(*b).total_cmp(&score(*a))).then_with(|| self.ids[*a].cmp(&self.ids[*b]))
        };
        let kept = self.top.min(order.len());
        if kept < order.len() {
            order.select_nth_unstable_by(kept, better);
        }
        order[..kept].sort_unstable_by(better);
        // The images that are not kept matter by the highest their scores may be; those equal to a kept one, not to it.
        let rest = order[kept..]
            .iter()
            .map(|&image| (score(image) + bound(image), image));
        let (mut highest, mut second) = (None, f64::NEG_INFINITY);
        for (upper, image) in rest {
            let group = self.first_equal[image];
            match highest {
                Some((best, owner)) if upper <= best => {
                    if owner != group {
                        second = second.max(upper);
                    }
                }
                Some((best, owner)) => {
                    if owner != group {
                        second = second.max(best);
                    }
                    highest = Some((upper, group));
                }
                None => highest = Some((upper, group)),
            }
        }
        let below_all = |group: usize| match highest {
            Some((best, owner)) if owner != group => best,
            Some(_) => second,
            None => f64::NEG_INFINITY,
        };
        let mut below = vec![f64::NEG_INFINITY; kept];
        for rank in (0..kept).rev() {
            let group = self.first_equal[order[rank]];
            let mut highest = below_all(group);
            // Equal images stand next to each other: pass over them.
            if let Some(next) = (rank + 1..kept).find(|&r| self.first_equal[order[r]] != group) {
                let image = order[next];
                highest = highest.max(score(image) + bound(image)).max(below[next]);
            }
            below[rank] = highest;
        }
        let mut ranked = Vec::with_capacity(kept);
        // The lowest that the images above may be: of all before the current group of equal ones, and of the group.
        let (mut above, mut group_low) = (f64::INFINITY, f64::INFINITY);
        for (rank, &image) in order[..kept].iter().enumerate() {
            let (score, error) = (score(image), bound(image));
            if rank > 0 && self.first_equal[order[rank - 1]] != self.first_equal[image] {
                above = above.min(group_low);
                group_low = f64::INFINITY;
            }
            group_low = group_low.min(score - error);
            let certificate = Certificate {
                bound: error,
                certified: above > score + error && score - error > below[rank],
                tied: self.shared[image],
            };
            ranked.push((image, score, certificate));
        }
        ranked
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

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// For each image the position of the first one with the same features and label, bit by bit.
fn first_equal(examples: &Examples) -> Result<Vec<usize>> {
    let rows = examples.inputs().rows().to_dtype(candle_core::DType::F64)?;
    let columns = rows.dims()[1];
    let values = rows.flatten_all()?.to_vec1::<f64>()?;
    let row = |image: usize| &values[image * columns..][..columns];
    let mut seen: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut first = Vec::with_capacity(examples.count());
    for (image, &label) in examples.labels().iter().enumerate() {
        let candidates = seen.entry((label, digest(row(image)))).or_default();
        let equal = candidates.iter().find(|&&other| row(other) == row(image));
        match equal {
            Some(&other) => first.push(other),
            None => {
                candidates.push(image);
                first.push(image);
            }
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
