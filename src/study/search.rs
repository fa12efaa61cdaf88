//! The hyperparameter search: which candidate a cell takes, judged on images held back from training.
//!
//! For every source, target set, number of images, blocks and epochs the candidate with the best mean validation accuracy
//! over the seeds is taken (among equals the lower mean loss, then the first), and trained on all images. Test images are
//! measured after that alone. A candidate whose loss stopped being finite for a seed counts as wrong everywhere there.

use super::{Cell, Job, Outcome, Spec};
use serde_json::Value;
use std::collections::BTreeMap;

/// One judged candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRow {
    /// The run.
    pub job: Job,
    /// The candidate's options.
    pub options: BTreeMap<String, Value>,
    /// On the images held back; none where the loss stopped being finite.
    pub accuracy: Option<f64>,
    /// Likewise, in nats.
    pub loss: Option<f64>,
    /// Whether the cell took it.
    pub chosen: bool,
}

/// A cell without its seed.
type Group = (usize, usize, usize, String, usize);

fn group(cell: &Cell) -> Group {
    let Cell {
        source,
        target,
        images,
        blocks,
        epochs,
        ..
    } = cell;
    (*source, *target, *images, blocks.to_string(), *epochs)
}

/// What was found, and which candidate each group takes.
pub(super) struct Found {
    pub(super) rows: Vec<SearchRow>,
    chosen: BTreeMap<Group, usize>,
}

impl Found {
    /// From the judging runs and what came of them.
    pub(super) fn of(spec: &Spec, runs: Vec<(Job, Outcome)>) -> Self {
        let candidates = spec.search.as_ref().map_or(&[][..], |it| &it.candidates);
        let row = |(job, outcome): (Job, Outcome)| {
            let last = outcome.history.last();
            SearchRow {
                options: candidates[job.candidate.unwrap_or(0)].clone(),
                accuracy: last.and_then(|epoch| epoch.test_accuracy),
                loss: last.and_then(|epoch| epoch.test_loss),
                chosen: false,
                job,
            }
        };
        let mut rows: Vec<SearchRow> = runs.into_iter().map(row).collect();
        let mut sums: BTreeMap<Group, Vec<(f64, f64)>> = BTreeMap::new();
        for row in &rows {
            let all = sums.entry(group(&row.job.cell)).or_default();
            all.resize(candidates.len(), (0.0, 0.0));
            let sum = &mut all[row.job.candidate.unwrap_or(0)];
            sum.0 += row.accuracy.unwrap_or(0.0);
            sum.1 += row.loss.unwrap_or(f64::INFINITY);
        }
        // Every candidate of a group has the same seeds, so that sums do for means.
        let best = |sums: &Vec<(f64, f64)>| {
            let better = |&a: &usize, &b: &usize| {
                let (a, b) = (sums[a], sums[b]);
                b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1))
            };
            (0..sums.len()).min_by(better).unwrap_or(0)
        };
        let chosen: BTreeMap<Group, usize> = (sums.iter())
            .map(|(group, sums)| (group.clone(), best(sums)))
            .collect();
        for row in &mut rows {
            row.chosen = row.job.candidate == chosen.get(&group(&row.job.cell)).copied();
        }
        Self { rows, chosen }
    }

    /// The options that a cell takes; none without a search.
    pub(super) fn options(&self, spec: &Spec, cell: &Cell) -> BTreeMap<String, Value> {
        let candidates = spec.search.as_ref().map(|search| &search.candidates);
        let chosen = self.chosen.get(&group(cell));
        let options = candidates.zip(chosen).and_then(|(all, &at)| all.get(at));
        options.cloned().unwrap_or_default()
    }
}
