//! Runs on a small problem: the sign by hand, what a run leaves on disk, and what it refuses to write.

use super::*;
use crate::data::Rows;
use crate::derivative::head::SoftmaxHead;
use crate::solve::Inverse;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

mod left_on_disk;
mod precision;
mod refusals;
mod sign;
mod taken_up;

fn tensor(values: Vec<f64>, columns: usize) -> Tensor {
    let rows = values.len() / columns;
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn examples(features: Vec<f64>, columns: usize, labels: &[usize], head: &SoftmaxHead) -> Examples {
    let ids: Vec<usize> = (0..labels.len()).map(|row| 100 + row).collect();
    Examples::new(
        &FeatureSet {
            features: &tensor(features, columns).into(),
            labels,
            ids: &ids,
        },
        head,
        DType::F64,
    )
    .unwrap()
}

/// Scores queries against training images in small blocks, solving for either.
fn score(
    inverse: &dyn Inverse,
    (training, queries): (&Examples, &Examples),
    (normalise, by_training): (Normalise, bool),
    scores: &mut ScoreMatrix,
) -> crate::Result<()> {
    let queries = Queries {
        examples: queries,
        sinks: &mut [scores],
    };
    let scoring = Scoring {
        inverse,
        training,
        normalise,
        blocks: BlockSizes {
            solved: 2,
            gradients: 1,
        },
        provenance: &Provenance::default(),
    };
    match by_training {
        true => scoring.by_training(vec![queries])?,
        false => scoring.by_queries(queries)?,
    };
    Ok(())
}

fn wave(length: usize, frequency: f64) -> Vec<f64> {
    (0..length)
        .map(|i| (frequency * (i as f64 + 0.4)).sin())
        .collect()
}

struct Problem {
    head: SoftmaxHead,
    train: Rows,
    train_labels: Vec<usize>,
    train_ids: Vec<usize>,
    test: Rows,
    test_labels: Vec<usize>,
    test_ids: Vec<usize>,
}

fn problem() -> Problem {
    Problem {
        head: SoftmaxHead::from_parameters(&tensor(wave(12, 1.3), 4)).unwrap(),
        train: tensor(wave(30, 0.9), 3).into(),
        train_labels: (0..10).map(|row| row % 3).collect(),
        train_ids: (0..10).map(|row| 50 - 5 * row).collect(),
        test: tensor(wave(12, 2.3), 3).into(),
        test_labels: vec![2, 0, 1, 1],
        test_ids: vec![7, 3, 9, 8],
    }
}

impl Problem {
    fn job(&self, options: RankOptions) -> RankJob<'_> {
        RankJob {
            train: FeatureSet {
                features: &self.train,
                labels: &self.train_labels,
                ids: &self.train_ids,
            },
            test: FeatureSet {
                features: &self.test,
                labels: &self.test_labels,
                ids: &self.test_ids,
            },
            head: &self.head,
            classes: Vec::new(),
            options,
            digests: BTreeMap::from([("train".to_owned(), "abc".to_owned())]),
            device: Device::Cpu,
        }
    }
}

#[derive(Default)]
struct Seen {
    stages: Vec<&'static str>,
    scores: Vec<(String, usize, usize)>,
    notes: Vec<String>,
}

impl Progress for Seen {
    fn stage(&mut self, name: &'static str) -> crate::Result<()> {
        self.stages.push(name);
        Ok(())
    }

    fn scores(&mut self, set: &str, done: usize, total: usize) {
        self.scores.push((set.to_owned(), done, total));
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}

fn options() -> RankOptions {
    let blocks = Some(BlockSizes {
        solved: 4,
        gradients: 3,
    });
    RankOptions {
        l2: 0.01,
        precision: DType::F64,
        top: 3,
        bottom: 2,
        scores: true,
        blocks,
        ..RankOptions::default()
    }
}
