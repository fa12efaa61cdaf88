//! How well suspicion finds what was planted: area under the ROC curve and recall at a budget.

use super::bootstrap::{Bootstrap, Interval};
use super::table;
use crate::Result;
use crate::artefact::Columns;
use crate::descending::descending;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Shares of the training images that somebody would look at.
pub const BUDGETS: [f64; 2] = [0.1, 0.2];

/// One ranker's detection of flipped labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// What the training images are ranked by, most suspicious first.
    pub ranker: String,
    /// Chance that a planted image is more suspicious than another one; ties count half.
    pub auc: Interval,
    /// Share of the planted images among the first tenth and the first fifth.
    pub recall: [Interval; 2],
    /// Planted images.
    pub planted: usize,
    /// All of them.
    pub images: usize,
}

impl Detection {
    /// By `suspicion`, higher for more suspicious; intervals over images.
    pub fn of(ranker: &str, suspicion: &[f64], planted: &[bool], bootstrap: &Bootstrap) -> Self {
        let order = descending(suspicion);
        let once = vec![1; suspicion.len()];
        let images = Sorted {
            order: &order,
            suspicion,
            planted,
            times: &once,
        };
        let area = |times: &[u32]| Sorted { times, ..images }.auc();
        let draws = bootstrap.draws(suspicion.len(), 0, |draw| area(&draw.rows));
        let count = planted.iter().filter(|&&planted| planted).count();
        let fewer = count.min(planted.len() - count);
        Self {
            ranker: ranker.to_owned(),
            auc: Interval::of_area(images.auc(), &draws, fewer),
            recall: BUDGETS.map(|budget| Interval::of_share(images.recall(budget), count)),
            planted: count,
            images: planted.len(),
        }
    }

    /// Writes a table of every ranker's suspicion of every image, by id: train, the label given and the one planted instead (null where
    /// that is the same), ranker, suspicion.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_suspicions(
        path: &Path,
        ids: &[usize],
        (given, planted): (&[usize], &[usize]),
        rankers: &[(String, Vec<f64>)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let (images, count) = (ids.len(), rankers.len());
        let rows = (0..count).flat_map(move |ranker| (0..images).map(move |image| (ranker, image)));
        let other = |image: usize| match planted[image] == given[image] {
            true => None,
            false => Some(planted[image] as i64),
        };
        let columns = Columns::of(rows)
            .integers("train", |(_, image)| ids[image] as i64)
            .integers("label", |(_, image)| given[image] as i64)
            .optional_integers("planted", |(_, image)| other(image))
            .words("ranker", |(ranker, _)| &rankers[ranker].0)
            .numbers("suspicion", |(ranker, image)| rankers[ranker].1[image]);
        table::write(path, metadata, columns.done())
    }
}

#[derive(Clone, Copy)]
struct Sorted<'a> {
    order: &'a [usize],
    suspicion: &'a [f64],
    planted: &'a [bool],
    times: &'a [u32],
}

impl Sorted<'_> {
    /// Planted and other images among `positions`, as often as they were drawn.
    fn counts(&self, positions: &[usize]) -> (f64, f64) {
        positions.iter().fold((0.0, 0.0), |(planted, others), &at| {
            let times = f64::from(self.times[at]);
            match self.planted[at] {
                true => (planted + times, others),
                false => (planted, others + times),
            }
        })
    }

    fn auc(&self) -> f64 {
        let (mut before, mut area, mut all) = (0.0, 0.0, 0.0);
        for equal in self
            .order
            .chunk_by(|&a, &b| self.suspicion[a] == self.suspicion[b])
        {
            let (planted, others) = self.counts(equal);
            area += others * (before + 0.5 * planted);
            before += planted;
            all += others;
        }
        if before * all > 0.0 {
            area / (before * all)
        } else {
            0.5
        }
    }

    fn recall(&self, budget: f64) -> f64 {
        let drawn: u32 = self.times.iter().sum();
        let budget = (budget * f64::from(drawn)).round();
        let (total, _) = self.counts(self.order);
        let (mut seen, mut found) = (0.0, 0.0);
        for &at in self.order {
            let times = f64::from(self.times[at]).min(budget - seen);
            if times <= 0.0 && seen >= budget {
                break;
            }
            seen += times;
            found += if self.planted[at] { times } else { 0.0 };
        }
        if total > 0.0 { found / total } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_and_recalls_worked_out_by_hand() {
        let planted = [
            true, false, true, false, false, false, false, false, false, false,
        ];
        let suspicion = [9.0, 8.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        let bootstrap = Bootstrap {
            seed: 0,
            draws: 200,
        };
        let found = Detection::of("loss", &suspicion, &planted, &bootstrap);
        // 15.5 of 16 pairs in order; the first of ten is planted; the tie at 8 keeps the order of ids.
        assert_eq!(found.auc.value, 15.5 / 16.0);
        assert_eq!(found.recall.map(|recall| recall.value), [0.5, 0.5]);
        assert_eq!((found.planted, found.images), (2, 10));
        assert!(found.auc.low <= found.auc.value && found.auc.high <= 1.0);
    }
}
