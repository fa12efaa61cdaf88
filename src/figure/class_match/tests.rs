use super::*;
use crate::influence::RankedImage;
use proptest::prelude::*;
use serde_json::json;

/// One query; `ranked` are (id, label), most helpful first.
fn ranking(query: usize, query_label: usize, ranked: &[(usize, usize)]) -> QueryRanking {
    let images = ranked.iter().zip(0..).map(|(&(train, train_label), rank)| {
        let score = 1.0 - 0.01 * f64::from(rank);
        RankedImage {
            train,
            train_label,
            score,
            certificate: None,
        }
    });
    QueryRanking {
        query,
        query_label,
        query_prediction: 0,
        helpful: images.collect(),
        harmful: Vec::new(),
    }
}

/// Training images 0, 1 of class 0 and 2, 3, 4 of class 1, each ranking all five.
fn train() -> Vec<QueryRanking> {
    vec![
        ranking(0, 0, &[(0, 0), (2, 1), (1, 0), (3, 1), (4, 1)]),
        ranking(1, 0, &[(2, 1), (1, 0), (0, 0), (3, 1), (4, 1)]),
        ranking(2, 1, &[(2, 1), (3, 1), (4, 1), (0, 0), (1, 0)]),
        ranking(3, 1, &[(3, 1), (0, 0), (2, 1), (4, 1), (1, 0)]),
        ranking(4, 1, &[(0, 0), (1, 0), (2, 1), (3, 1), (4, 1)]),
    ]
}

fn test() -> Vec<QueryRanking> {
    vec![
        ranking(70, 1, &[(2, 1), (3, 1), (0, 0), (4, 1), (1, 0)]),
        ranking(71, 1, &[(0, 0), (3, 1), (1, 0), (2, 1), (4, 1)]),
        ranking(72, 0, &[(0, 0), (3, 1), (4, 1), (2, 1), (1, 0)]),
        ranking(73, 1, &[(3, 1), (2, 1), (1, 0), (0, 0), (4, 1)]),
    ]
}

fn curve(train: &[QueryRanking], test: &[QueryRanking], queries: QuerySet) -> Result<Curve> {
    let model = "natural";
    let labels: Vec<usize> = train.iter().map(|query| query.query_label).collect();
    let rankings = ModelRankings {
        predicted: false,
        model,
        train,
        test,
        labels: &labels,
        images: None,
    };
    Curve::of(&rankings, queries)
}

fn percents(curve: &Curve) -> Vec<f64> {
    curve
        .points
        .iter()
        .map(|point| point.match_percent.round())
        .collect()
}

#[test]
fn test_queries_match_as_counted_by_hand() {
    let curve = curve(&train(), &test(), QuerySet::Test).unwrap();
    // Matches by query: 11010, 01011, 10001, 11001.
    assert_eq!(percents(&curve), [75.0, 75.0, 0.0, 50.0, 75.0]);
    assert_eq!(
        (curve.query_count, curve.top_one_percent()),
        (4, Some(75.0))
    );
    assert_eq!(curve.three_of_top_five_percent, Some(75.0));
    // Three queries of class 1, which has 3 of 5 training images, and one of class 0, which has 2 of 5.
    assert!((curve.chance_percent - 100.0 * (0.75 * 0.6 + 0.25 * 0.4)).abs() < 1e-12);
}

#[test]
fn itself_excluded_moves_later_ranks_up() {
    let (train, test) = (train(), test());
    let included = curve(&train, &test, QuerySet::TrainingItselfIncluded).unwrap();
    // 10100, 01100, 11100, 10110, 00111.
    assert_eq!(percents(&included), [60.0, 40.0, 100.0, 40.0, 20.0]);
    assert!((included.chance_percent - 100.0 * (0.4 * 0.4 + 0.6 * 0.6)).abs() < 1e-12);
    let excluded = curve(&train, &test, QuerySet::TrainingItselfExcluded).unwrap();
    // 0100, 0100, 1100, 0110, 0011.
    assert_eq!(percents(&excluded), [20.0, 80.0, 40.0, 20.0]);
    assert!((excluded.chance_percent - 100.0 * (0.4 * 0.25 + 0.6 * 0.5)).abs() < 1e-12);
    assert_eq!(excluded.three_of_top_five_percent, None);
}

#[test]
fn ranks_end_where_the_first_query_has_none_left() {
    let mut train = train();
    for ranking in &mut train {
        ranking.helpful.truncate(3);
    }
    // Only image 4 is not among its own three: it could show a third rank, the others not.
    let excluded = curve(&train, &test(), QuerySet::TrainingItselfExcluded).unwrap();
    assert_eq!(percents(&excluded), [20.0, 80.0]);
}

#[test]
fn at_most_a_hundred_ranks() {
    let ranked: Vec<(usize, usize)> = (0..130).map(|train| (train, train % 2)).collect();
    let long = |query| ranking(query, 0, &ranked);
    let curve = curve(&[long(0), long(1)], &[long(9)], QuerySet::Test).unwrap();
    assert_eq!(curve.points.len(), 100);
    assert!(
        curve
            .points
            .iter()
            .all(|point| point.match_percent == 100.0 * (point.rank % 2) as f64)
    );
}

#[test]
fn wilson_interval_as_published() {
    // scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    let published = [
        (0, 10, 0.0, 27.753_279_986_288_93),
        (81, 263, 25.528_851_987_827_42, 36.620_957_698_28),
        (10, 10, 72.246_720_013_711_08, 100.0),
    ];
    for (count, total, low, high) in published {
        let interval = curve::wilson_percent(count, total);
        assert!(
            (interval.0 - low).abs() < 1e-9 && (interval.1 - high).abs() < 1e-9,
            "{interval:?}"
        );
    }
}

fn message(result: Result<Curve>) -> String {
    let message = result.unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn rankings_that_do_not_fit_are_refused() {
    let (train, test) = (train(), test());
    let none = message(curve(&train, &[], QuerySet::Test));
    assert!(
        none.contains("natural") && none.contains("at least one query"),
        "{none}"
    );
    message(curve(&[], &test, QuerySet::TrainingItselfIncluded));

    let mut shorter = test.clone();
    shorter[2].helpful.pop();
    let shorter = message(curve(&train, &shorter, QuerySet::Test));
    assert!(
        shorter.contains("query 72") && shorter.contains("5 ranks") && shorter.contains("found 4"),
        "{shorter}"
    );

    let mut disordered = test.clone();
    disordered[1].helpful.swap(2, 3);
    let disordered = message(curve(&train, &disordered, QuerySet::Test));
    assert!(
        disordered.contains("query 71") && disordered.contains("rank 4"),
        "{disordered}"
    );

    let mut infinite = test.clone();
    infinite[3].helpful[1].score = f64::NAN;
    let infinite = message(curve(&train, &infinite, QuerySet::Test));
    assert!(
        infinite.contains("query 73") && infinite.contains("rank 2"),
        "{infinite}"
    );

    let mut empty = test;
    empty.iter_mut().for_each(|query| query.helpful.clear());
    let empty = message(curve(&train, &empty, QuerySet::Test));
    assert!(empty.contains("at least one rank"), "{empty}");
    assert!(ClassMatch::of(&[]).is_err());
}

/// A model with these rankings of five training images.
fn natural<'a>(train: &'a [QueryRanking], test: &'a [QueryRanking]) -> ModelRankings<'a> {
    ModelRankings {
        predicted: false,
        model: "natural",
        train,
        test,
        labels: &[0, 0, 1, 1, 1],
        images: None,
    }
}

/// Three of the five training images are of class 1, as are three of the four queries.
#[test]
fn without_training_images_as_queries_there_is_the_last_panel_alone() {
    let (train, test) = (train(), test());
    let whole = natural(&train, &test);
    let half = ModelRankings {
        train: &[],
        ..whole
    };
    let figure = ClassMatch::of(&[half, whole]).unwrap();
    let [panel] = &figure.panels[..] else {
        panic!("{} panels", figure.panels.len());
    };
    assert_eq!(panel.queries, QuerySet::Test);
    assert_eq!(panel.curves[0], panel.curves[1]);
    let chance = 100.0 * (3.0 * 3.0 + 2.0) / 20.0;
    assert!((panel.curves[0].chance_percent - chance).abs() < 1e-12);
    assert_eq!(ClassMatch::of(&[whole]).unwrap().panels.len(), 3);
}

#[test]
fn models_that_rank_for_the_same_images_are_held_against_the_first() {
    let (train, test) = (train(), test());
    let first = ModelRankings {
        images: Some(["training", "test"]),
        ..natural(&[], &test)
    };
    let mut other = test.clone();
    // Right where the first model's is wrong.
    other.iter_mut().for_each(|ranking| {
        ranking.helpful[0].train_label = ranking.query_label;
    });
    let second = ModelRankings {
        model: "robust",
        test: &other,
        ..first
    };
    let curve = curve(&train, &test, QuerySet::Test).unwrap();
    let figure = ClassMatch::of(&[first, second]).unwrap();
    let differences = figure.differences().unwrap();
    assert_eq!(differences.as_array().unwrap().len(), 1);
    assert_eq!(differences[0]["queries"], "test");
    let pair = &differences[0]["pair"];
    assert_eq!(
        (&pair["model"], &pair["first"]),
        (&json!("robust"), &json!("natural"))
    );
    let rise = pair["difference"]["first_match"]["value"].as_f64().unwrap();
    let expected = 1.0 - curve.points[0].match_percent / 100.0;
    assert!(expected > 0.0 && (rise - expected).abs() < 1e-12, "{rise}");
    assert_eq!(ClassMatch::of(&[first]).unwrap().differences(), None);
}

#[test]
fn predicted_classes_of_test_images_are_said_to_be() {
    let (train, test) = (train(), test());
    let labelled = natural(&train, &test);
    let predicted = ModelRankings {
        predicted: true,
        model: "robust",
        ..labelled
    };
    let alone = ModelRankings {
        train: &[],
        ..predicted
    };
    for (models, class) in [
        (vec![labelled], "true class."),
        (
            vec![predicted],
            "true class (test images: predicted class).",
        ),
        (
            vec![labelled, predicted],
            "true class (test images of robust: predicted class).",
        ),
        (vec![alone], "predicted class."),
    ] {
        let caption = ClassMatch::of(&models).unwrap().caption();
        let expected = format!("has the query’s {class} Band:");
        assert!(caption.contains(&expected), "{caption}");
    }
}

#[test]
fn a_ranking_of_itself_alone_cannot_be_drawn_without_itself() {
    let alone = vec![ranking(0, 0, &[(0, 0)]), ranking(1, 1, &[(1, 1)])];
    let models = [ModelRankings {
        predicted: false,
        model: "natural",
        train: &alone,
        test: &alone,
        labels: &[0, 1],
        images: None,
    }];
    let message = ClassMatch::of(&models).unwrap_err().to_string();
    assert!(
        message.contains("self excluded") && message.contains("--top"),
        "{message}"
    );
}

prop_compose! {
    /// Up to 12 queries that each rank all training images, classes and orders at random.
    fn rankings()(classes in 1..5usize, count in 2..9usize, queries in 1..12usize, seed in any::<u64>())
        -> (Vec<QueryRanking>, Vec<QueryRanking>) {
        use rand::{RngExt, SeedableRng, seq::SliceRandom};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let images: Vec<(usize, usize)> = (0..count).map(|id| (id, random.random_range(0..classes))).collect();
        let mut ranked = |query, label| {
            let mut order = images.clone();
            order.shuffle(&mut random);
            ranking(query, label, &order)
        };
        let train = images.iter().map(|&(id, label)| ranked(id, label)).collect();
        let test = (0..queries).map(|query| ranked(query, query % classes)).collect();
        (train, test)
    }
}

proptest! {
    #[test]
    fn percentages_are_percentages_and_order_does_not_matter((train, test) in rankings()) {
        for queries in QuerySet::ALL {
            let found = curve(&train, &test, queries).unwrap();
            for point in &found.points {
                prop_assert!(0.0 <= point.low_percent && point.low_percent <= point.match_percent);
                prop_assert!(point.match_percent <= point.high_percent && point.high_percent <= 100.0);
            }
            prop_assert!((0.0..=100.0).contains(&found.chance_percent));
            let reversed = |rankings: &[QueryRanking]| rankings.iter().rev().cloned().collect::<Vec<_>>();
            prop_assert_eq!(curve(&reversed(&train), &reversed(&test), queries).unwrap(), found);
        }
    }

    /// Ranking everything, the matches of all ranks add up to the images of the query's class: chance is their mean.
    #[test]
    fn chance_is_the_mean_over_all_ranks((train, test) in rankings()) {
        for queries in QuerySet::ALL {
            let found = curve(&train, &test, queries).unwrap();
            let sum: f64 = found.points.iter().map(|point| point.match_percent).sum();
            prop_assert!((sum / found.points.len() as f64 - found.chance_percent).abs() < 1e-9);
        }
    }
}
