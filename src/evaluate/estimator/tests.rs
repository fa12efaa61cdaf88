//! Baselines against their definitions.

use super::*;
use crate::data::Rows;
use crate::solve::Newton;
use candle_core::Device;
use std::path::PathBuf;

struct Images {
    rows: Rows,
    labels: Vec<usize>,
    ids: Vec<usize>,
}

fn images(count: usize, phase: f64) -> Images {
    let labels: Vec<usize> = (0..count).map(|row| (row * row + row / 3) % 3).collect();
    let values: Vec<f64> = (0..count * 4)
        .map(|at| {
            let (row, column) = (at / 4, (at % 4) as f64);
            (1.3 * labels[row] as f64 * (column + 1.0)).cos()
                + (12.9898 * (row as f64 + phase) + 78.233 * column).sin()
        })
        .collect();
    Images {
        rows: Tensor::from_vec(values, (count, 4), &Device::Cpu)
            .unwrap()
            .into(),
        ids: (0..count).collect(),
        labels,
    }
}

impl Images {
    fn set(&self) -> FeatureSet<'_> {
        FeatureSet {
            features: &self.rows,
            labels: &self.labels,
            ids: &self.ids,
        }
    }
}

fn with_setting<R>(check: impl FnOnce(&Setting) -> R) -> R {
    let (train, queries) = (images(40, 0.0), images(9, 0.4));
    let zeros = SoftmaxHead::zeros(3, 4, DType::F64, &Device::Cpu).unwrap();
    let head = Newton::new(0.05)
        .fit(&inputs(&train.set()).unwrap(), zeros)
        .unwrap()
        .head;
    let scratch = PathBuf::from(".");
    check(&Setting {
        train: train.set(),
        queries: queries.set(),
        head: &head,
        l2: 0.05,
        scratch: &scratch,
    })
}

/// The theorem: the values of all training images add up to the logit.
#[test]
fn representer_values_add_up_to_the_logit() {
    with_setting(|setting| {
        let scores = RepresenterPoints.estimate(setting).unwrap().scores;
        let queries = inputs(&setting.queries).unwrap();
        let parameters = setting.head.parameters().t().unwrap();
        let logits = queries.rows().all().unwrap().matmul(&parameters).unwrap();
        let logits = logits.to_vec2::<f64>().unwrap();
        for (query, row) in scores.rows().into_iter().enumerate() {
            let logit = logits[query][setting.queries.labels[query]];
            assert!(
                (row.sum() - logit).abs() < 1e-8,
                "{query}: {} {logit}",
                row.sum()
            );
        }
        let none = Setting {
            l2: 0.0,
            ..*setting
        };
        assert!(RepresenterPoints.estimate(&none).is_err());
    });
}

#[test]
fn cosines_and_votes_are_those_of_the_features() {
    with_setting(|setting| {
        let own = Setting {
            queries: setting.train,
            ..*setting
        };
        let cosines = FeatureCosine.estimate(&own).unwrap().scores;
        let votes = NearestNeighbours { neighbours: 3 }
            .estimate(&own)
            .unwrap()
            .scores;
        for at in 0..40 {
            assert!((cosines[[at, at]] - 1.0).abs() < 1e-12);
            assert!((cosines[[at, 7]] - cosines[[7, at]]).abs() < 1e-12);
            // The share of right votes among the three nearest, itself one of them, is what all values add up to.
            let total = votes.row(at).sum();
            assert!(
                ((3.0 * total).round() - 3.0 * total).abs() < 1e-9 && total > 0.3,
                "{total}"
            );
        }
    });
}

/// One checkpoint is a gradient dot product; two are the sum of both.
#[test]
fn tracin_adds_gradient_products() {
    with_setting(|setting| {
        let zeros = SoftmaxHead::zeros(3, 4, DType::F64, &Device::Cpu).unwrap();
        let of = |checkpoints: Vec<SoftmaxHead>| {
            TracIn { checkpoints }.estimate(setting).unwrap().scores
        };
        let sum = of(vec![setting.head.clone()]) + of(vec![zeros.clone()]);
        let both = of(vec![zeros, setting.head.clone()]);
        assert!(
            (sum - both)
                .iter()
                .all(|difference| difference.abs() < 1e-12)
        );
        assert!(TracIn::default().estimate(setting).is_err());
    });
}

#[test]
fn trak_is_the_same_for_a_seed_and_steadier_for_more_projections() {
    with_setting(|setting| {
        let of = |projections: usize, seed: u64| {
            let trak = Trak {
                dimensions: 8,
                projections,
                seed,
            };
            trak.estimate(setting).unwrap().scores
        };
        assert_eq!(of(2, 3), of(2, 3));
        let spread = |projections: usize| {
            let difference = of(projections, 3) - of(projections, 4);
            difference.iter().map(|value| value * value).sum::<f64>()
        };
        assert!(spread(40) < 0.5 * spread(1), "{} {}", spread(40), spread(1));
    });
}
