//! A record of every figure, of plain arithmetic, with as many curves, words and pictures as are usual.

use ascribe::evaluate::{
    GroupLeftOut, GroupsLeftOut, Interval, PairedRankings, RemovalCurve, RemovalPoint, Side,
};
use ascribe::figure::{
    ClassMatch, Curve, GroupEffects, HelpfulExample, HelpfulExamples, InfluenceMatrix, LeaveOneOut,
    LossSensitivity, MatrixPanel, MatrixQueries, ModelExamples, ModelSensitivity, Pair, Panel,
    Picture, PlacedEstimator, Point, QualityAndCost, QueryExample, QuerySet, RemovalCurves,
    ScatterPoint, SensitivityMap, TransferAccuracy,
};
use ascribe::influence::{DampingPath, DampingPoint, Suggestion};
use ascribe::study::{self, Summary, Variable};

const MODELS: [&str; 2] = ["natural", "robust"];
const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

fn around(value: f64, room: f64) -> Interval {
    Interval {
        value,
        low: value - room,
        high: value + room,
    }
}

/// Eight by eight, different for each `seed`.
fn picture(seed: usize) -> Picture {
    let pixel = |at: usize| ((at * 37 + seed * 11 + at / 8 * seed) % 256) as u8;
    Picture {
        channels: 3,
        height: 8,
        width: 8,
        pixels: (0..192).map(pixel).collect(),
    }
}

fn queries() -> Vec<QueryExample> {
    let query = |class: usize| QueryExample {
        query: 7 * class,
        class,
        label: CLASSES[class].into(),
        picture: picture(class),
    };
    (0..10).map(query).collect()
}

pub fn transfer_accuracy() -> TransferAccuracy {
    let curve = |target: &str, source: &str, start: f64, slope: f64| {
        let point = |place: usize| study::Point {
            place: 100.0 * (1 << place) as f64,
            label: (100 * (1 << place)).to_string(),
            seeds: 5,
            value: around(start + slope * place as f64, 1.25),
        };
        study::Curve {
            target: target.into(),
            source: source.into(),
            points: (0..6).map(point).collect(),
        }
    };
    let targets = ["cifar10", "cifar100", "svhn"]
        .into_iter()
        .zip([30.0, 15.0, 20.0]);
    let accuracy = targets.clone().flat_map(|(target, start)| {
        [
            curve(target, "natural", start, 6.0),
            curve(target, "robust", start + 5.0, 5.5),
        ]
    });
    let difference = targets.map(|(target, start)| curve(target, "robust", 0.2 * start, -0.5));
    TransferAccuracy {
        summary: Summary {
            variable: Variable::Images,
            fixed: vec![
                ("epochs".into(), "30".into()),
                ("blocks".into(), "3".into()),
            ],
            natural: Some("natural".into()),
            against: None,
            apart: Vec::new(),
            accuracy: accuracy.collect(),
            difference: difference.collect(),
            diverged: 0,
        },
        share: None,
    }
}

pub fn class_match() -> ClassMatch {
    let curve = |queries: usize, model: usize| {
        let point = |rank: usize| {
            let percent = 90.0 - 0.5 * rank as f64 - 15.0 * model as f64;
            Point {
                rank,
                match_percent: percent,
                low_percent: percent - 2.0,
                high_percent: percent + 1.5,
            }
        };
        Curve {
            model: MODELS[model].into(),
            predicted: false,
            query_count: queries,
            chance_percent: 10.0,
            three_of_top_five_percent: Some(88.0),
            points: (1..=100).map(point).collect(),
        }
    };
    let interval = |value: f64| Interval {
        value,
        low: value - 0.0125,
        high: value + 0.0125,
    };
    let pair = Pair {
        model: MODELS[1].into(),
        first: MODELS[0].into(),
        difference: PairedRankings {
            query_count: 3200,
            ranks: 10,
            first_match: interval(-0.15),
            ranks_match: interval(-0.125),
            shared: Some(interval(0.25)),
            rank_biased_overlap: Some(interval(0.1875)),
        },
    };
    let panel = |queries: QuerySet| Panel {
        queries,
        curves: (0..2).map(|model| curve(3200, model)).collect(),
        pairs: vec![pair.clone()],
    };
    ClassMatch {
        panels: QuerySet::ALL.map(panel).to_vec(),
    }
}

pub fn helpful_examples() -> HelpfulExamples {
    let image = |model: usize, class: usize| {
        let shown = if (class + model).is_multiple_of(3) {
            (class + 1) % 10
        } else {
            class
        };
        HelpfulExample {
            train: 100 * model + class,
            class: shown,
            label: CLASSES[shown].into(),
            score: 0.004 / (1 + class + 9 * model) as f64,
            picture: picture(20 + 10 * model + class),
        }
    };
    let model = |model: usize| ModelExamples {
        model: MODELS[model].into(),
        unit: "nats".into(),
        predicted: false,
        helpful: (0..10).map(|class| image(model, class)).collect(),
    };
    HelpfulExamples {
        named: false,
        queries: queries(),
        models: (0..2).map(model).collect(),
    }
}

pub fn loss_sensitivity() -> LossSensitivity {
    let map = |model: usize, at: usize| SensitivityMap {
        loss: 0.5 * at as f64,
        limit: 0.25,
        picture: picture(50 + 10 * model + at),
    };
    let model = |model: usize| ModelSensitivity {
        model: MODELS[model].into(),
        predicted: false,
        maps: (0..10).map(|at| map(model, at)).collect(),
    };
    LossSensitivity {
        queries: queries(),
        models: (0..2).map(model).collect(),
    }
}

pub fn influence_matrix() -> InfluenceMatrix {
    let parts = 4;
    let cell = |row: usize, column: usize| match row / parts == column / parts {
        true => 2.0 + 0.125 * ((row * column) % 8) as f64,
        false => 0.25 * ((row * 7 + column * 3) % 5) as f64 - 0.5,
    };
    let row = |row: usize| (0..10 * parts).map(|column| cell(row, column)).collect();
    let panel = |(model, queries): (&str, MatrixQueries)| MatrixPanel {
        model: model.into(),
        queries,
        predicted: false,
        root_mean_square: 1e-3,
        unit: "nats".into(),
        cells: (0..10 * parts).map(row).collect(),
    };
    let both = |model| [MatrixQueries::Test, MatrixQueries::Train].map(|queries| (model, queries));
    InfluenceMatrix {
        classes: CLASSES.map(String::from).to_vec(),
        parts,
        panels: MODELS.into_iter().flat_map(both).map(panel).collect(),
    }
}

pub fn groups_left_out() -> GroupEffects {
    let group = |at: usize| {
        let actual = 0.0625 * (at as f64 - 3.0);
        GroupLeftOut {
            group: format!("{} of laboratory {}", CLASSES[at % 10], at / 4),
            images: 20 + at,
            predicted: [("run".to_owned(), 0.5 * actual)].into(),
            actual: around(actual, 0.03125),
            correct: Some(around(0.875, 0.03125)),
            correct_change: Some(around(-0.125, 0.0625)),
        }
    };
    GroupEffects {
        found: GroupsLeftOut {
            queries: 200,
            correct: Some(around(0.9375, 0.03125)),
            groups: (0..12).map(group).collect(),
            of_heads: true,
            losses_alone: false,
        },
    }
}

pub fn leave_one_out() -> LeaveOneOut {
    let point = |at: usize| {
        let actual = 1e-4 * ((at * 53) % 200) as f64 - 0.005;
        ScatterPoint {
            query: at / 50,
            train: at % 50,
            predicted: 0.75 * actual + 1e-5 * ((at * 17) % 90) as f64,
            actual,
        }
    };
    LeaveOneOut {
        points: (0..500).map(point).collect(),
        pairs: 500,
        pearson: around(0.875, 0.03125),
        spearman: around(0.75, 0.0625),
        slope: around(0.8125, 0.0625),
        queries: 10,
        images: 50,
        unit: "nats".into(),
        of_heads: true,
        losses_alone: false,
    }
}

pub fn removal_curves() -> RemovalCurves {
    let methods = [
        "run: direct",
        "ekfac",
        "identity",
        "feature-cosine",
        "random",
    ];
    let curve = |side: Side, method: usize| {
        let point = |power: usize| {
            let size = (1 + 4 * power) as f64 / (1 + method) as f64;
            RemovalPoint {
                images: 10usize.pow(power as u32),
                rise: around(
                    if side == Side::Removal {
                        size
                    } else {
                        3.0 - 0.25 * size
                    },
                    0.25,
                ),
                correct: around(0.5, 0.125),
            }
        };
        RemovalCurve {
            method: methods[method].into(),
            side,
            queries: 50,
            points: (0..4).map(point).collect(),
            flipped: (side == Side::Removal).then(|| around(0.25, 0.125)),
            median_flip: None,
        }
    };
    let sides = [Side::Removal, Side::Support];
    let curves = sides
        .into_iter()
        .flat_map(|side| (0..5).map(move |method| (side, method)));
    RemovalCurves {
        curves: curves.map(|(side, method)| curve(side, method)).collect(),
    }
}

pub fn quality_and_cost() -> QualityAndCost {
    let names = ["run: direct", "ekfac", "pinv", "identity", "feature-cosine"];
    let estimator = |(at, name): (usize, &str)| {
        let Interval { value, low, high } = around(0.75 - 0.125 * at as f64, 0.0625);
        PlacedEstimator {
            name: name.into(),
            spearman: value,
            low,
            high,
            seconds: 4.0 / (1 << (2 * at)) as f64,
            bytes: Some(1 << 20),
            certified: None,
            p_to_first: None,
        }
    };
    QualityAndCost {
        lds: true,
        retrainings: 50,
        queries: 200,
        estimators: names.into_iter().enumerate().map(estimator).collect(),
    }
}

pub fn damping_path() -> DampingPath {
    const DAMPINGS: [f64; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
    let point = |at: usize| DampingPoint {
        damping: DAMPINGS[at],
        jaccard_next: (at < 6).then_some(0.125 * at as f64),
        rbo_next: (at < 6).then_some(0.15625 * at as f64),
        jaccard_chosen: 1.0 - 0.25 * at.abs_diff(3) as f64,
        rbo_chosen: 1.0 - 0.1875 * at.abs_diff(3) as f64,
        rbo_smallest: 1.0 - 0.125 * at as f64,
        median_top_score: DAMPINGS[6 - at],
        converged: 1.0,
        iterations: 12.0,
    };
    DampingPath {
        damping: 1e-3,
        query_count: 100,
        ranks: 100,
        points: (0..7).map(point).collect(),
        suggestion: Suggestion {
            damping: 1e-2,
            stretch: Some((1e-2, 1.0)),
            reason: "the smallest of its stretch".into(),
        },
    }
}
