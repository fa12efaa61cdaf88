//! k nearest neighbours: what an image is worth to a classifier that asks the query's neighbours (KNN-Shapley).
//!
//! The Shapley value of training image i for the share of right votes among the k nearest, in closed form (Jia et al. 2019,
//! theorem 1). Neighbours sorted from the nearest, n the farthest: s_n = [y_n = y]/n and
//! s_i = s_{i+1} + ([y_i = y] − [y_{i+1} = y])/k · min(k, i)/i. It knows features and labels, not the head.

use super::{Estimate, Estimator, Setting, array, inputs};
use crate::Result;
use ndarray::{Array2, Axis};
use rayon::prelude::*;

/// KNN-Shapley with Euclidean distances, in votes.
#[derive(Debug, Clone, Copy)]
pub struct NearestNeighbours {
    /// k
    pub neighbours: usize,
}

impl Default for NearestNeighbours {
    fn default() -> Self {
        Self { neighbours: 5 }
    }
}

impl Estimator for NearestNeighbours {
    fn name(&self) -> &str {
        "knn"
    }

    fn unit(&self) -> &'static str {
        "votes"
    }

    fn estimate(&self, setting: &Setting) -> Result<Estimate> {
        let (train, queries) = (inputs(&setting.train)?, inputs(&setting.queries)?);
        let (a, b) = (queries.rows().all()?, train.rows().all()?);
        let squares = b.sqr()?.sum(1)?.to_vec1::<f64>()?;
        // ‖x − x'‖² but for ‖x‖², the same for all neighbours of a query.
        let products = array(&a.matmul(&b.t()?)?)?;
        let mut scores = Array2::zeros(products.dim());
        let rows = scores.axis_iter_mut(Axis(0)).into_par_iter().enumerate();
        rows.for_each(|(query, mut row)| {
            let distance = |at: usize| squares[at] - 2.0 * products[[query, at]];
            let mut order: Vec<usize> = (0..squares.len()).collect();
            order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(a.cmp(&b)));
            let label = setting.queries.labels[query];
            let right: Vec<f64> = (order.iter())
                .map(|&at| f64::from(u8::from(setting.train.labels[at] == label)))
                .collect();
            for (&at, value) in order.iter().zip(shapley(&right, self.neighbours)) {
                row[at] = value;
            }
        });
        Ok(Estimate::plain(scores))
    }
}

/// The values of neighbours, nearest first, whose votes are `right` (1) or not (0).
fn shapley(right: &[f64], neighbours: usize) -> Vec<f64> {
    let (count, k) = (right.len(), neighbours.max(1));
    let mut values = vec![0.0; count];
    let Some(last) = count.checked_sub(1) else {
        return values;
    };
    values[last] = right[last] * k.min(count) as f64 / (k * count) as f64;
    for at in (0..last).rev() {
        let place = at + 1;
        let share = k.min(place) as f64 / (k * place) as f64;
        values[at] = values[at + 1] + (right[at] - right[at + 1]) * share;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the average of marginal contributions over all orders of four images.
    #[test]
    fn values_are_those_of_the_definition() {
        let right = [0.0, 1.0, 1.0, 0.0];
        for k in [1, 2, 3] {
            let vote = |mask: u32| {
                let members = (0..4).filter(|at| mask >> at & 1 == 1).take(k);
                members.map(|at| right[at]).sum::<f64>() / k as f64
            };
            let factorial = [1.0, 1.0, 2.0, 6.0, 24.0];
            let found = shapley(&right, k);
            for at in 0..4 {
                let mut value = 0.0;
                for mask in (0..16u32).filter(|mask| mask >> at & 1 == 0) {
                    let size = mask.count_ones() as usize;
                    let weight = factorial[size] * factorial[3 - size] / factorial[4];
                    value += weight * (vote(mask | 1 << at) - vote(mask));
                }
                assert!(
                    (found[at] - value).abs() < 1e-12,
                    "k {k}, {at}: {found:?} {value}"
                );
            }
        }
    }
}
