//! The files of a run: they agree with each other and say what they hold.

use super::*;
use crate::solve::{Method, Outcome, Settings};
use ndarray::Array2;
use ndarray_npy::read_npy;

#[test]
fn a_run_leaves_rankings_scores_and_self_influence_that_agree() {
    let (problem, folder) = (problem(), tempfile::tempdir().unwrap());
    let mut seen = Seen::default();
    let summary = problem
        .job(options())
        .run(folder.path(), &mut seen)
        .unwrap();
    assert_eq!(seen.stages, ["coordinates", "solver", "scores"]);
    let seen = seen.scores;
    assert_eq!(
        seen[..4],
        [
            ("test".into(), 0, 40),
            ("train".into(), 0, 100),
            ("test".into(), 8, 40),
            ("test".into(), 16, 40)
        ]
    );
    assert_eq!(seen.last(), Some(&("train".into(), 100, 100)));
    assert_eq!(
        summary.solves[0].outcomes(),
        BTreeMap::from([("direct", 10)])
    );
    assert!(
        summary.solves[0].first_failure().is_none()
            && summary.solves[0]
                .largest_residual()
                .is_some_and(|it| it < 1e-12)
    );

    let scores: Array2<f64> = read_npy(folder.path().join("scores.npy")).unwrap();
    let rankings = read_rankings(&folder.path().join("rankings.parquet")).unwrap();
    assert_eq!(scores.dim(), (4, 10));
    for (row, ranking) in rankings.iter().enumerate() {
        assert_eq!(
            (ranking.query, ranking.query_label),
            (problem.test_ids[row], problem.test_labels[row])
        );
        let mut order: Vec<usize> = (0..10).collect();
        order.sort_by(|a, b| scores[[row, *b]].total_cmp(&scores[[row, *a]]));
        let ids =
            |images: &[RankedImage]| images.iter().map(|image| image.train).collect::<Vec<_>>();
        let expected: Vec<usize> = order
            .iter()
            .map(|&column| problem.train_ids[column])
            .collect();
        assert_eq!(ids(&ranking.helpful), expected[..3]);
        assert_eq!(ids(&ranking.harmful), [expected[9], expected[8]]);
        assert_eq!(
            ranking.helpful[0].train_label,
            problem.train_labels[order[0]]
        );
        assert_eq!(ranking.helpful[0].score, scores[[row, order[0]]]);
    }
    let train_rankings = read_rankings(&folder.path().join("train_rankings.parquet")).unwrap();
    assert_eq!(
        (train_rankings.len(), train_rankings[0].helpful.len()),
        (10, 4)
    );
    check_self_influence(&problem, folder.path(), &train_rankings);
}

fn check_self_influence(problem: &Problem, folder: &std::path::Path, rankings: &[QueryRanking]) {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type};
    let batch = table::read(&folder.join("self_influence.parquet")).unwrap();
    let values = batch["self_influence"].as_primitive::<Float64Type>();
    let ids = batch["train"].as_primitive::<Int64Type>();
    assert_eq!((batch.num_rows(), rankings.len()), (10, 10));
    for (row, ranking) in rankings.iter().enumerate() {
        assert_eq!(ids.value(row) as usize, problem.train_ids[row]);
        assert!(values.value(row) > 0.0);
        // Of so few images every one is among the most helpful for itself.
        let itself = |image: &&RankedImage| image.train == ranking.query;
        let itself = ranking.helpful.iter().find(itself).unwrap();
        assert_eq!(itself.score, values.value(row));
    }
    let solves = table::read(&folder.join("solves.parquet")).unwrap();
    assert_eq!(solves.num_rows(), 10);
    assert_eq!(solves["set"].as_string::<i32>().value(4), "train");
}

#[test]
fn the_metadata_states_sign_unit_orientation_and_digests() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let (problem, folder) = (problem(), tempfile::tempdir().unwrap());
    problem
        .job(options())
        .run(folder.path(), &mut Seen::default())
        .unwrap();
    for name in [
        "rankings.parquet",
        "train_rankings.parquet",
        "self_influence.parquet",
        "solves.parquet",
    ] {
        let reader =
            SerializedFileReader::new(std::fs::File::open(folder.path().join(name)).unwrap())
                .unwrap();
        let stored = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .unwrap()
            .clone();
        let value = |key: &str| {
            stored
                .iter()
                .find(|pair| pair.key == key)
                .and_then(|pair| pair.value.clone())
                .unwrap()
        };
        assert!(value("ascribe.sign").starts_with("positive = helpful"));
        assert_eq!(
            (value("ascribe.unit"), value("ascribe.orientation")),
            ("nats".into(), "[query, train]".into())
        );
        assert_eq!(value("ascribe.digest.train"), "abc");
    }
}

#[test]
fn a_limit_reached_is_reported_image_by_image() {
    let (problem, folder) = (problem(), tempfile::tempdir().unwrap());
    let options = RankOptions {
        solver: Settings {
            method: Method::Cg,
            iterations: 2,
            ..Settings::default()
        },
        damping: 1e-6,
        l2: 0.0,
        ..options()
    };
    let summary = problem
        .job(options)
        .run(folder.path(), &mut Seen::default())
        .unwrap();
    let (image, report) = summary.solves[0].first_failure().unwrap();
    assert_eq!(
        (image, report.outcome, report.iterations),
        (50, Outcome::LimitReached, 2)
    );
    assert!(
        report.residual > 1e-5 && report.residual < 10.0,
        "{report:?}"
    );
    assert_eq!(
        read_rankings(&folder.path().join("rankings.parquet"))
            .unwrap()
            .len(),
        4
    );
}
