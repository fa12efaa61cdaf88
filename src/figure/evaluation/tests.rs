//! What pictures and tables say of their records, and records that cannot be drawn.

use super::*;
use crate::evaluate::{
    Agreement, Bootstrap, ComparedEstimator, Comparison, Difference, GroupLeftOut, GroupsLeftOut,
    Interval, RemovalCurve, RemovalPoint, Side,
};
use crate::figure::{Figure, Format, Style, render, write};
use ndarray::Array2;
use std::collections::BTreeSet;
use std::path::Path;

fn interval(value: f64) -> Interval {
    Interval {
        value,
        low: value - 0.1,
        high: value + 0.1,
    }
}

fn svg(figure: &impl Figure) -> String {
    String::from_utf8(render(figure, Format::Svg, Style::Paper, Path::new("figure.svg")).unwrap())
        .unwrap()
}

fn scatter(predicted: f64) -> LeaveOneOut {
    let point = |at: usize| ScatterPoint {
        query: 0,
        train: at,
        predicted: predicted * at as f64,
        actual: 2e-4 * at as f64,
    };
    LeaveOneOut {
        points: (0..7).map(point).collect(),
        pairs: 7,
        pearson: interval(0.5),
        spearman: interval(0.25),
        slope: interval(0.75),
        unit: "nats".into(),
        of_heads: true,
        losses_alone: false,
        queries: 1,
        images: 7,
    }
}

#[test]
fn the_scatter_says_its_numbers_and_draws_every_point() {
    let drawn = svg(&scatter(1e-4));
    for words in [
        "Pearson 0.500 [0.400, 0.600]",
        "Actual rise of the loss (nats)",
        "7 images fitted again",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    assert_eq!(drawn.matches("<polygon").count(), 7);
    assert!(
        render(
            &scatter(f64::NAN),
            Format::Svg,
            Style::Paper,
            Path::new("x.svg")
        )
        .is_err()
    );
    let empty = LeaveOneOut {
        points: Vec::new(),
        ..scatter(1.0)
    };
    assert!(empty.check().unwrap_err().to_string().contains("nothing"));
}

fn table(figure: &impl Figure) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(figure, folder.path(), "figure", &[], Style::Paper).unwrap();
    std::fs::read_to_string(folder.path().join("figure.csv")).unwrap()
}

#[test]
fn scores_in_another_unit_are_not_drawn_on_a_line_of_equality() {
    let nats = scatter(1e-4);
    let cosine = LeaveOneOut {
        unit: "cosine".into(),
        of_heads: false,
        ..nats.clone()
    };
    let [with, without] = [&nats, &cosine].map(svg);
    for words in ["Predicted (nats)", "Line: equal", "slope of predicted"] {
        assert!(with.contains(words) && !without.contains(words), "{words}");
    }
    let alone = svg(&LeaveOneOut {
        losses_alone: true,
        ..cosine.clone()
    });
    assert!(alone.contains("loss is left out"), "{alone}");
    for words in ["another unit (cosine)", "7 images trained again"] {
        assert!(!with.contains(words) && without.contains(words), "{words}");
    }
    let lines = |svg: &str| svg.matches("<polyline").count();
    assert_eq!(lines(&with), lines(&without) + 1);
    assert!(table(&nats).ends_with(",nats,nats\n"));
    assert!(table(&cosine).ends_with(",nats,cosine\n"));
}

/// Two groups without one another, predicted or not.
fn groups(queries: usize, of_heads: bool, is_predicted: bool) -> GroupEffects {
    let group = |(name, rise): (&str, f64)| GroupLeftOut {
        group: name.into(),
        images: 3,
        predicted: is_predicted
            .then(|| ("run".into(), 0.5 * rise))
            .into_iter()
            .collect(),
        actual: interval(rise),
        correct: None,
        correct_change: None,
    };
    GroupEffects {
        found: GroupsLeftOut {
            queries,
            correct: None,
            of_heads,
            losses_alone: false,
            groups: [("a", 0.25), ("b", -0.5)].map(group).to_vec(),
        },
    }
}

#[test]
fn groups_say_what_was_done_and_only_what_is_known() {
    let usual = groups(2, true, true);
    let drawn = svg(&usual);
    let (weight, predicted) = ("the others keeping their weight", "scores predicts");
    let interval = "95 % bootstrap interval";
    for words in [
        weight,
        predicted,
        interval,
        "a (3 images): 0.250 [0.150, 0.350], predicted 0.125",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    assert!(table(&usual).contains("\na,3,0.125,0.25,0.15,0.35,,,nats\n"));
    let trained = svg(&groups(2, false, true));
    assert!(!trained.contains(weight) && trained.contains(predicted));
    let cosine = groups(2, true, false);
    assert!(!svg(&cosine).contains("predict"), "{}", svg(&cosine));
    assert!(table(&cosine).contains("\na,3,,0.25,0.15,0.35,,,nats\n"));
    let single = groups(1, true, true);
    let drawn = svg(&single);
    assert!(!drawn.contains(interval) && drawn.contains("a (3 images): 0.250, predicted 0.125"));
    assert!(table(&single).contains("\na,3,0.125,0.25,,,,,nats\n"));
}

#[test]
fn a_scatter_of_many_pairs_draws_some_of_every_image_and_query() {
    let rises = Array2::from_shape_fn((200, 100), |(query, image)| (query * image) as f64);
    let bootstrap = Bootstrap { seed: 0, draws: 20 };
    let agreement = Agreement::of(&rises, &rises, &bootstrap).unwrap();
    let ids: Vec<usize> = (0..200).collect();
    let figure = LeaveOneOut::of(&rises, &rises, (&ids, &ids[..100]), &agreement);
    assert!(figure.points.len() < figure.pairs && figure.points.len() > 1000);
    let images: BTreeSet<usize> = figure.points.iter().map(|point| point.train).collect();
    let queries: BTreeSet<usize> = figure.points.iter().map(|point| point.query).collect();
    assert_eq!((images.len(), queries.len()), (100, 200));
    let pairs: BTreeSet<(usize, usize)> = (figure.points.iter())
        .map(|point| (point.query, point.train))
        .collect();
    assert_eq!(pairs.len(), figure.points.len());
}

/// Predicted and actual rises of four queries without each of six images; neither is a multiple of the other.
fn rises() -> (Array2<f64>, Array2<f64>) {
    let at = |(query, image): (usize, usize)| (6 * query + image) as f64;
    (
        Array2::from_shape_fn((4, 6), |pair| (1.7 * at(pair)).sin()),
        Array2::from_shape_fn((4, 6), |pair| (1.7 * at(pair)).sin().exp() - 3.0),
    )
}

fn agreement() -> Agreement {
    let (predicted, actual) = rises();
    Agreement::of(&predicted, &actual, &Bootstrap { seed: 0, draws: 20 }).unwrap()
}

#[test]
fn a_point_of_the_scatter_is_a_query_an_image_and_its_two_rises() {
    let ((predicted, actual), agreement) = (rises(), agreement());
    let ids = (&[30, 10, 20, 0][..], &[7, 5, 3, 1, 9, 8][..]);
    let figure = LeaveOneOut::of(&predicted, &actual, ids, &agreement);
    let pairs = (0..4).flat_map(|query| (0..6).map(move |image| (query, image)));
    let expected: Vec<ScatterPoint> = pairs
        .map(|(query, image)| ScatterPoint {
            query: ids.0[query],
            train: ids.1[image],
            predicted: predicted[[query, image]],
            actual: actual[[query, image]],
        })
        .collect();
    assert_eq!(figure.points, expected);
    assert_eq!((figure.pairs, figure.queries, figure.images), (24, 4, 6));
    let found = [figure.pearson, figure.spearman, figure.slope];
    assert_eq!(
        found,
        [agreement.pearson, agreement.spearman, agreement.slope]
    );
    assert!(found[0] != found[1] && found[1] != found[2] && found[2] != found[0]);
}

#[test]
fn an_estimator_is_placed_by_its_rank_correlation_and_its_cost() {
    let compared = |name: &str, spearman: f64, minus_first: Option<Difference>| {
        let mut agreement = agreement();
        agreement.spearman = Interval {
            value: spearman,
            low: spearman - 0.25,
            high: spearman + 0.125,
        };
        ComparedEstimator {
            name: name.into(),
            unit: "nats".into(),
            agreement,
            minus_first,
            seconds: 2.0 * spearman,
            bytes: minus_first.map(|_| 12),
            certified: minus_first.map(|_| 0.75),
            failures: 1,
        }
    };
    let difference = Difference {
        spearman: interval(0.5),
        p: 0.0625,
    };
    let comparison = Comparison {
        retrainings: 6,
        queries: 4,
        rows: vec![
            compared("run", 0.5, None),
            compared("identity", 0.25, Some(difference)),
        ],
    };
    let run = PlacedEstimator {
        name: "run".into(),
        spearman: 0.5,
        low: 0.25,
        high: 0.625,
        seconds: 1.0,
        bytes: None,
        certified: None,
        p_to_first: None,
    };
    let identity = PlacedEstimator {
        name: "identity".into(),
        spearman: 0.25,
        low: 0.0,
        high: 0.375,
        seconds: 0.5,
        bytes: Some(12),
        certified: Some(0.75),
        p_to_first: Some(0.0625),
    };
    let expected = QualityAndCost {
        lds: true,
        retrainings: 6,
        queries: 4,
        estimators: vec![run, identity],
    };
    assert_eq!(QualityAndCost::of(&comparison, true), expected);
    assert!(!QualityAndCost::of(&comparison, false).lds);
}

#[test]
fn quality_and_removal_name_their_methods_and_tabulate_every_point() {
    let placed = |name: &str, spearman: f64| PlacedEstimator {
        name: name.into(),
        spearman,
        low: spearman - 0.05,
        high: spearman + 0.05,
        seconds: spearman + 0.1,
        bytes: None,
        certified: None,
        p_to_first: None,
    };
    let quality = QualityAndCost {
        lds: true,
        retrainings: 50,
        queries: 20,
        estimators: vec![placed("direct", 0.9), placed("identity", 0.3)],
    };
    let drawn = svg(&quality);
    for words in [
        "LDS (mean Spearman)",
        "direct: 0.900 [0.850, 0.950] in 1.00 s",
        "50 random subsets",
        "identity",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    let point = |images: usize| RemovalPoint {
        images,
        rise: interval(images as f64),
        correct: interval(0.5),
    };
    let curve = |side: Side| RemovalCurve {
        method: "random".into(),
        side,
        queries: 9,
        points: vec![point(1), point(10)],
        flipped: (side == Side::Removal).then(|| interval(0.25)),
        median_flip: None,
    };
    let removal = RemovalCurves {
        curves: vec![curve(Side::Removal), curve(Side::Support)],
    };
    let drawn = svg(&removal);
    for words in [
        "(a) taken away",
        "Means over 9 queries",
        "random: 0.25 of predictions flip",
    ] {
        assert!(drawn.contains(words), "{words}");
    }
    // The mean of one query has no interval.
    let single = RemovalCurves {
        curves: [Side::Removal, Side::Support]
            .map(|side| RemovalCurve {
                queries: 1,
                ..curve(side)
            })
            .to_vec(),
    };
    assert!(drawn.contains("bars: 95 %") && !svg(&single).contains("bars"));
    assert!(table(&single).contains("\nrandom,removal,1,1,1.0,,,0.5,0.4,0.6,nats\n"));
    let folder = tempfile::tempdir().unwrap();
    write(
        &removal,
        folder.path(),
        "removal",
        &[Format::Png],
        Style::Paper,
    )
    .unwrap();
    let table = std::fs::read_to_string(folder.path().join("removal.csv")).unwrap();
    assert_eq!(table.lines().count(), 5);
    assert!(
        table.contains("random,removal,9,10,10.0,9.9,10.1")
            && table
                .lines()
                .all(|line| line.ends_with(",unit") || line.ends_with(",nats")),
        "{table}"
    );
}
