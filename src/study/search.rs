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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Blocks;
    use crate::train::{Epoch, TransferOptions};

    const SPEC: &str = r#"
images = 20
blocks = 0
epochs = 2

[search]
learning-rate = [0.1, 0.01, 0.001]

[source.natural]
model = "builtin:natural"

[target.digits]
train = "builtin:digits-train"
test = "builtin:digits-test"
"#;

    const CELL: Cell = Cell {
        source: 0,
        target: 0,
        images: 20,
        blocks: Blocks::Last(0),
        epochs: 2,
        seed: 0,
    };

    /// Accuracy and loss on the images held back; none where the loss stopped being finite.
    type Judged = Option<(f64, f64)>;

    fn spec() -> Spec {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spec.toml");
        std::fs::write(&file, SPEC).unwrap();
        Spec::read(&file).unwrap()
    }

    fn outcome(judged: Judged) -> Outcome {
        let epoch = |epoch: usize, judged: Judged| Epoch {
            epoch,
            learning_rate: 0.1,
            train_loss: 0.5,
            train_accuracy: 0.5,
            test_loss: judged.map(|it| it.1),
            test_accuracy: judged.map(|it| it.0),
            seconds: 1.0,
        };
        match judged {
            Some(_) => Outcome {
                history: vec![epoch(1, None), epoch(2, judged)],
                diverged: None,
                seconds: 2.0,
            },
            None => Outcome {
                history: Vec::new(),
                diverged: Some("epoch 1".into()),
                seconds: 2.0,
            },
        }
    }

    /// The runs of a cell, by candidate and then by seed.
    fn runs(cell: &Cell, candidates: &[&[Judged]]) -> Vec<(Job, Outcome)> {
        let mut runs = Vec::new();
        for (candidate, seeds) in candidates.iter().enumerate() {
            for (seed, &judged) in seeds.iter().enumerate() {
                let job = Job {
                    cell: Cell {
                        seed: seed as u64,
                        ..cell.clone()
                    },
                    candidate: Some(candidate),
                    options: TransferOptions::with_defaults(2).unwrap(),
                    digest: String::new(),
                };
                runs.push((job, outcome(judged)));
            }
        }
        runs
    }

    fn found(candidates: &[&[Judged]]) -> Found {
        Found::of(&spec(), runs(&CELL, candidates))
    }

    /// The candidates of the rows that say they were chosen.
    fn chosen(found: &Found) -> Vec<usize> {
        let rows = found.rows.iter().filter(|row| row.chosen);
        rows.filter_map(|row| row.job.candidate).collect()
    }

    #[test]
    fn the_best_mean_accuracy_is_taken_wherever_it_stands() {
        let found = found(&[
            &[Some((0.9, 0.1)), Some((0.3, 0.1))],
            &[Some((0.7, 0.8)), Some((0.8, 0.9))],
            &[Some((0.8, 0.2)), Some((0.6, 0.2))],
        ]);
        assert_eq!(chosen(&found), [1, 1]);
        let spec = spec();
        let candidates = &spec.search.as_ref().unwrap().candidates;
        assert_eq!(found.options(&spec, &CELL), candidates[1]);
        for row in &found.rows {
            assert_eq!(row.options, candidates[row.job.candidate.unwrap()]);
        }
        let last = &found.rows[5];
        assert_eq!((last.accuracy, last.loss), (Some(0.6), Some(0.2)));
    }

    #[test]
    fn among_equals_the_lower_mean_loss_is_taken_and_then_the_first() {
        let equal: &[Judged] = &[Some((0.5, 1.0)), Some((0.75, 1.0))];
        let surer: &[Judged] = &[Some((0.75, 1.25)), Some((0.5, 0.5))];
        assert_eq!(chosen(&found(&[equal, equal, surer])), [2, 2]);
        assert_eq!(chosen(&found(&[equal, surer, surer])), [1, 1]);
        assert_eq!(chosen(&found(&[equal, equal, equal])), [0, 0]);
    }

    #[test]
    fn a_candidate_whose_loss_stopped_being_finite_is_wrong_there() {
        let half: &[Judged] = &[Some((0.9, 0.1)), None];
        let poor: &[Judged] = &[Some((0.5, 2.0)), Some((0.5, 2.0))];
        let found_poor = found(&[half, poor, half]);
        assert_eq!(chosen(&found_poor), [1, 1]);
        let diverged = &found_poor.rows[1];
        assert_eq!((diverged.accuracy, diverged.loss), (None, None));
        // Right nowhere, but finite.
        let wrong: &[Judged] = &[Some((0.0, 9.0)), Some((0.0, 9.0))];
        let none: &[Judged] = &[None, None];
        assert_eq!(chosen(&found(&[none, wrong, none])), [1, 1]);
    }

    #[test]
    fn each_cell_takes_its_own_candidate_whatever_the_seed() {
        let spec = spec();
        let candidates = &spec.search.as_ref().unwrap().candidates;
        let others = [
            Cell { source: 1, ..CELL },
            Cell { target: 1, ..CELL },
            Cell { images: 40, ..CELL },
            Cell {
                blocks: Blocks::All,
                ..CELL
            },
            Cell { epochs: 3, ..CELL },
        ];
        for other in others {
            let mut both = runs(&CELL, &[&[Some((0.6, 1.0))], &[Some((0.5, 1.0))]]);
            both.extend(runs(&other, &[&[Some((0.1, 1.0))], &[Some((0.9, 1.0))]]));
            let found = Found::of(&spec, both);
            assert_eq!(chosen(&found), [0, 1], "{other:?}");
            assert_eq!(found.options(&spec, &CELL), candidates[0], "{other:?}");
            assert_eq!(found.options(&spec, &other), candidates[1], "{other:?}");
            let seeded = Cell { seed: 7, ..other };
            assert_eq!(found.options(&spec, &seeded), candidates[1]);
        }
    }
}
