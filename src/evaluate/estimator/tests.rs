//! Baselines against their definitions.

use super::*;
use crate::data::Rows;
use crate::data::random::{Purpose, generator};
use crate::solve::Newton;
use candle_core::Device;
use ndarray_linalg::Inverse;
use rand_distr::{Distribution, StandardNormal};
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

/// An image as the definitions have it.
struct Point {
    /// a: its features and a 1.
    row: Vec<f64>,
    label: usize,
    /// r = π − e_y.
    residual: Vec<f64>,
}

impl Point {
    /// r ⊗ a, class by class.
    fn gradient(&self) -> Vec<f64> {
        let of_class = |residual: &f64| -> Vec<f64> {
            let products = self.row.iter().map(|value| residual * value);
            products.collect()
        };
        self.residual.iter().flat_map(of_class).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn points(head: &SoftmaxHead, set: &FeatureSet) -> Vec<Point> {
    let weights = head.parameters().to_vec2::<f64>().unwrap();
    let rows = set.features.all().unwrap().to_vec2::<f64>().unwrap();
    let point = |(mut row, &label): (Vec<f64>, &usize)| {
        row.push(1.0);
        let terms: Vec<f64> = weights.iter().map(|class| dot(class, &row).exp()).collect();
        let sum: f64 = terms.iter().sum();
        let residual = (terms.iter().enumerate())
            .map(|(class, term)| term / sum - f64::from(u8::from(class == label)))
            .collect();
        Point {
            row,
            label,
            residual,
        }
    };
    rows.into_iter().zip(set.labels).map(point).collect()
}

/// `[query, train]`
fn of_pairs(
    queries: &[Point],
    train: &[Point],
    score: impl Fn(&Point, &Point) -> f64,
) -> Array2<f64> {
    Array2::from_shape_fn((queries.len(), train.len()), |(query, at)| {
        score(&queries[query], &train[at])
    })
}

/// Up to so large a share of the largest score.
fn assert_close(found: &Array2<f64>, expected: &Array2<f64>, share: f64) {
    let largest =
        |values: &Array2<f64>| values.iter().fold(0.0, |most: f64, it| most.max(it.abs()));
    assert_eq!(found.dim(), expected.dim());
    let difference = largest(&(found - expected));
    assert!(
        difference <= share * largest(expected),
        "{difference:e} of {:e}",
        largest(expected)
    );
}

#[test]
fn cosines_are_those_of_a_query_and_a_training_image() {
    with_setting(|setting| {
        let features = |set: &FeatureSet| {
            let rows = set.features.all().unwrap();
            rows.to_vec2::<f64>().unwrap()
        };
        let (queries, train) = (features(&setting.queries), features(&setting.train));
        let cosine = |(query, at): (usize, usize)| {
            let (a, b) = (&queries[query], &train[at]);
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let expected = Array2::from_shape_fn((9, 40), cosine);
        let found = FeatureCosine.estimate(setting).unwrap().scores;
        assert_close(&found, &expected, 1e-12);
        // Nothing but zeros is like nothing.
        let mut blank = images(9, 0.4);
        blank.rows = Tensor::zeros((9, 4), DType::F64, &Device::Cpu)
            .unwrap()
            .into();
        let blank = Setting {
            queries: blank.set(),
            ..*setting
        };
        let found = FeatureCosine.estimate(&blank).unwrap().scores;
        assert_eq!(found, Array2::<f64>::zeros((9, 40)));
    });
}

/// From a neighbour to the next farther one by the theorem's step; all together, the share of right votes.
#[test]
fn votes_fall_from_neighbour_to_neighbour_as_the_theorem_says() {
    with_setting(|setting| {
        let neighbours = 3;
        let knn = NearestNeighbours { neighbours };
        let scores = knn.estimate(setting).unwrap().scores;
        let queries = points(setting.head, &setting.queries);
        let train = points(setting.head, &setting.train);
        let k = neighbours as f64;
        for (query, values) in queries.iter().zip(scores.rows()) {
            let right = |at: usize| f64::from(u8::from(train[at].label == query.label));
            let distance = |at: usize| -> f64 {
                let pairs = query.row.iter().zip(&train[at].row);
                pairs.map(|(a, b)| (a - b).powi(2)).sum()
            };
            let mut order: Vec<usize> = (0..train.len()).collect();
            order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            let votes: f64 = order[..neighbours].iter().map(|&at| right(at)).sum();
            assert!((values.sum() - votes / k).abs() < 1e-12, "{values}");
            for (place, pair) in order.windows(2).enumerate() {
                let place = (place + 1) as f64;
                let step = (right(pair[0]) - right(pair[1])) / k * k.min(place) / place;
                let found = values[pair[0]] - values[pair[1]];
                assert!((found - step).abs() < 1e-12, "{place}: {found} {step}");
            }
        }
    });
}

#[test]
fn representer_values_and_tracin_are_what_their_equations_say() {
    with_setting(|setting| {
        let at = |head: &SoftmaxHead| {
            let [queries, train] = [&setting.queries, &setting.train].map(|set| points(head, set));
            (queries, train)
        };
        let (queries, train) = at(setting.head);
        let scale = -1.0 / (0.05 * 40.0);
        let expected = of_pairs(&queries, &train, |query, point| {
            scale * point.residual[query.label] * dot(&point.row, &query.row)
        });
        let found = RepresenterPoints.estimate(setting).unwrap().scores;
        assert_close(&found, &expected, 1e-10);

        let product = |a: &Point, b: &Point| dot(&a.gradient(), &b.gradient());
        let zeros = SoftmaxHead::zeros(3, 4, DType::F64, &Device::Cpu).unwrap();
        let (first_queries, first_train) = at(&zeros);
        let expected =
            of_pairs(&queries, &train, product) + of_pairs(&first_queries, &first_train, product);
        let checkpoints = vec![zeros, setting.head.clone()];
        let found = TracIn { checkpoints }.estimate(setting).unwrap().scores;
        assert_close(&found, &expected, 1e-10);
    });
}

/// Equations 13 to 17 of the paper in f64, one draw of P; `features` are φ, row by row.
struct Projected {
    features: Array2<f64>,
    /// 1 − p.
    rest: Vec<f64>,
}

impl Projected {
    fn of(points: &[Point], projection: &[Vec<f64>]) -> Self {
        let mut features = Array2::<f64>::zeros((points.len(), projection[0].len()));
        let rest: Vec<f64> = (points.iter())
            .map(|point| -point.residual[point.label])
            .collect();
        for (at, point) in points.iter().enumerate() {
            for (derivative, numbers) in point.gradient().iter().zip(projection) {
                for (column, number) in numbers.iter().enumerate() {
                    features[[at, column]] -= derivative / rest[at] * number;
                }
            }
        }
        Self { features, rest }
    }

    /// Of queries with these training images.
    fn scores(&self, train: &Self) -> Array2<f64> {
        let mut gram = train.features.t().dot(&train.features);
        let ridge = 1e-6 * gram.diag().mean().unwrap();
        gram.diag_mut().iter_mut().for_each(|value| *value += ridge);
        let inverse = gram.inv().unwrap();
        let mut scores = self.features.dot(&inverse).dot(&train.features.t());
        for ((_, at), score) in scores.indexed_iter_mut() {
            *score *= train.rest[at];
        }
        scores
    }
}

/// P `[15, dimensions]` of a draw.
fn drawn_projection(dimensions: usize, seed: u64, draw: u64) -> Vec<Vec<f64>> {
    let row = |row: u64| -> Vec<f64> {
        let mut random = generator(Purpose::Projection, seed, draw, row);
        let number = |_| -> f64 {
            let number: f32 = StandardNormal.sample(&mut random);
            f64::from(number)
        };
        (0..dimensions).map(number).collect()
    };
    (0..15).map(row).collect()
}

/// More queries than are projected at once.
#[test]
fn trak_is_the_mean_of_its_equations_over_the_projections() {
    with_setting(|setting| {
        let many = images(300, 0.4);
        let setting = Setting {
            queries: many.set(),
            ..*setting
        };
        let trak = Trak {
            dimensions: 6,
            projections: 3,
            seed: 5,
        };
        let found = trak.estimate(&setting).unwrap().scores;
        let queries = points(setting.head, &setting.queries);
        let train = points(setting.head, &setting.train);
        let mut expected = Array2::<f64>::zeros((300, 40));
        for draw in 0..3 {
            let projection = drawn_projection(6, 5, draw);
            let [queries, train] =
                [&queries, &train].map(|points| Projected::of(points, &projection));
            expected += &(queries.scores(&train) / 3.0);
        }
        assert_close(&found, &expected, 1e-4);
    });
}

#[test]
fn scores_of_somebody_else_are_taken_as_they_are_if_they_fit() {
    with_setting(|setting| {
        let of = |shape: (usize, usize)| Fixed {
            name: "run".into(),
            unit: "nats",
            scores: Array2::from_shape_fn(shape, |(query, at)| (100 * query + at) as f64),
        };
        let fixed = of((9, 40));
        assert_eq!(fixed.estimate(setting).unwrap().scores, fixed.scores);
        let message = of((40, 9)).estimate(setting).unwrap_err().to_string();
        let expected = "scores [query, train]: expected (9, 40), found (40, 9);";
        assert!(message.contains(expected), "{message}");
    });
}
