//! The sign by hand, what a run leaves on disk, and what it refuses to write.

use super::*;
use crate::data::Rows;
use crate::derivative::head::SoftmaxHead;
use crate::operator::{Damped, Dense, HeadHessian, Structure};
use crate::solve::{Cg, Direct, Ekfac, Identity, Inverse, Method, Outcome, Settings, Solver};
use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, array};
use ndarray_npy::read_npy;
use std::collections::BTreeMap;
use std::time::Duration;

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

fn matrix(inverse: &dyn Inverse, train: &Examples, queries: &Examples) -> Array2<f64> {
    let mut scores = ScoreMatrix::default();
    let blocks = BlockSizes {
        solved: 2,
        gradients: 3,
    };
    let queries = Queries {
        examples: queries,
        sinks: &mut [&mut scores],
    };
    let scoring = Scoring {
        inverse,
        training: train,
        normalise: Normalise::None,
        blocks,
        provenance: &Provenance::default(),
    };
    scoring.by_queries(queries).unwrap();
    scores.scores
}

/// At θ = 0 with two classes π = (½, ½): the softmax curvature has the eigenvalue ½ along (1, −1), where all residuals
/// lie, and Σ aaᵀ/n = I for x = ±1. Hence (H + ½I)⁻¹ leaves every gradient as it is, and
/// score = ½ · (r_q·r_i) · (x_q x_i + 1) with r_q·r_i = ½ for equal labels and −½ for different ones.
#[test]
fn the_sign_by_hand_same_label_helps_other_label_harms() {
    let head = SoftmaxHead::zeros(2, 1, DType::F64, &Device::Cpu).unwrap();
    let train = examples(vec![1.0, -1.0], 1, &[0, 1], &head);
    let queries = examples(vec![1.0, 1.0, -1.0], 1, &[0, 1, 1], &head);
    let hessian = HeadHessian::new(&head, train.inputs(), 0.25).unwrap();
    let curvature = Damped::new(&hessian, 0.25).unwrap();
    let scores = matrix(&*Direct.prepare(&curvature).unwrap(), &train, &queries);
    assert!(
        (&scores - &array![[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5]])
            .iter()
            .all(|error| error.abs() < 1e-15),
        "{scores}"
    );
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

/// In f32 the first five images equal the last five; in f64, of which certificates speak, they do not.
#[test]
fn images_that_differ_beyond_f32_are_not_tied() {
    let mut problem = problem();
    let mut features = wave(15, 0.9);
    features.extend(wave(15, 0.9).iter().map(|value| value * (1.0 + 1e-8)));
    problem.train = tensor(features, 3).into();
    problem.train_labels = (0..10).map(|row| row % 5 % 3).collect();
    let run = |precision: DType| {
        let folder = tempfile::tempdir().unwrap();
        let options = RankOptions {
            precision,
            top: 10,
            certify: Some(10),
            ..options()
        };
        problem
            .job(options)
            .run(folder.path(), &mut Seen::default())
            .unwrap();
        read_rankings(&folder.path().join("rankings.parquet")).unwrap()
    };
    let (rough, exact) = (run(DType::F32), run(DType::F64));
    let mut proven = 0;
    for (rough, exact) in rough.iter().zip(&exact) {
        for (rank, image) in rough.helpful.iter().enumerate() {
            let certificate = image.certificate.unwrap();
            assert!(!certificate.tied);
            let same = |other: &&RankedImage| other.train == image.train;
            let other = exact.helpful.iter().find(same).unwrap();
            let slack = 1e-15 * other.score.abs();
            let bounds = certificate.bound + other.certificate.unwrap().bound + slack;
            assert!((image.score - other.score).abs() <= bounds);
            if certificate.certified {
                assert_eq!(exact.helpful[rank].train, image.train);
                proven += 1;
            }
        }
    }
    assert!(proven > 20, "{proven}");
}

/// f32 has hardly a number for a loss of e⁻¹⁰⁰. A training image with it must not end the run, and of a query with it the run must
/// say what its scores are worth.
#[test]
fn images_that_are_predicted_all_but_surely_are_scored_and_told_of() {
    let mut problem = problem();
    let weights = vec![1.0, 0.2, 0.0, 0.0, 0.3, -0.4, 0.1, 0.0, -0.9, 0.1, 0.2, 0.0];
    problem.head = SoftmaxHead::from_parameters(&tensor(weights, 4)).unwrap();
    problem.train_labels[0] = 0;
    problem.test_labels[3] = 0;
    let surely = |mut values: Vec<f64>, row: usize| {
        values[3 * row..][..3].copy_from_slice(&[144.0, 0.0, 0.0]);
        Rows::from(tensor(values, 3))
    };
    (problem.train, problem.test) = (surely(wave(30, 0.9), 0), surely(wave(12, 2.3), 3));
    let run = |precision: DType, method: Method, normalise: Normalise| {
        let (folder, mut seen) = (tempfile::tempdir().unwrap(), Seen::default());
        let solver = Settings {
            method,
            ..Settings::default()
        };
        let options = RankOptions {
            precision,
            solver,
            normalise,
            ..options()
        };
        let summary = problem.job(options).run(folder.path(), &mut seen).unwrap();
        let scores: Array2<f32> = read_npy(folder.path().join("scores.npy")).unwrap();
        let told = ["queries_too_faint", "training_images_too_faint"];
        let told = told.map(|name| summary.notes.get(name).copied());
        (scores, told, seen.notes)
    };
    for (method, normalise) in [
        (Method::Cg, Normalise::None),
        (Method::Direct, Normalise::LRelatif),
        (Method::Direct, Normalise::ThetaRelatif),
        (Method::Identity, Normalise::Cosine),
    ] {
        let (exact, told, notes) = run(DType::F64, method, normalise);
        assert_eq!((told, notes.len()), ([None; 2], 0));
        let (found, told, notes) = run(DType::F32, method, normalise);
        let divided = normalise != Normalise::None;
        assert_eq!(told, [Some(1.0), divided.then_some(1.0)]);
        assert_eq!(notes.len(), 1 + usize::from(divided), "{notes:?}");
        for (note, images) in notes.iter().zip(["1 test image", "1 training image"]) {
            assert!(
                note.contains(images) && note.contains("--precision f64"),
                "{note}"
            );
        }
        let least = if divided { 1e-1 } else { 1e-2 };
        // What f32 has left of the first image's gradient has no direction.
        for image in usize::from(divided)..10 {
            for query in 0..3 {
                let (found, exact) = (found[[query, image]], exact[[query, image]]);
                assert!(
                    (found - exact).abs() < 1e-3 * exact.abs().max(least),
                    "{normalise:?} {query} {image}: {found} {exact}"
                );
            }
        }
    }
}

/// Of two classes and one feature x a gradient is ±(1, −1) ⊗ (x, 1) times the probability of the other class, here down to e⁻⁶⁶⁰.
#[test]
fn divided_scores_of_the_surest_predictions_are_those_of_their_directions() {
    for (dtype, slope, within) in [
        (DType::F32, 49.0, 1e-6),
        (DType::F64, 200.0, 1e-12),
        (DType::F64, 330.0, 1e-12),
    ] {
        let head = tensor(vec![slope, 0.0, -slope, 0.0], 2);
        let head = SoftmaxHead::from_parameters(&head).unwrap();
        let of = |features: &[f64], labels: &[usize]| {
            let examples = examples(features.to_vec(), 1, labels, &head);
            examples.to_dtype(dtype).unwrap()
        };
        let (asked, given) = ([1.0f64, 0.0], [1.0f64, 0.5, 0.0]);
        let (queries, train) = (of(&asked, &[0, 0]), of(&given, &[0, 0, 1]));
        let head = head.to_dtype(dtype).unwrap();
        let hessian = HeadHessian::new(&head, train.inputs(), 1.0).unwrap();
        let inverse = Identity.prepare(&hessian).unwrap();
        let scores = |normalise: Normalise, by_training: bool| {
            let mut scores = ScoreMatrix::default();
            let queries = Queries {
                examples: &queries,
                sinks: &mut [&mut scores],
            };
            let scoring = Scoring {
                inverse: &*inverse,
                training: &train,
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
            crate::Result::Ok(scores.scores)
        };
        let cosines = Array2::from_shape_fn((2, 3), |(query, image)| {
            let (x, y) = (asked[query], given[image]);
            let cosine = (x * y + 1.0) / ((x * x + 1.0) * (y * y + 1.0)).sqrt();
            if image == 2 { -cosine } else { cosine }
        });
        // Of the queries' own lengths the first is next to nothing.
        let lengths = array![[0.0], [0.5f64.sqrt()]];
        for (normalise, by_training, expected) in [
            (Normalise::Cosine, true, cosines.clone()),
            (Normalise::Cosine, false, cosines.clone()),
            (Normalise::ThetaRelatif, true, &cosines * &lengths),
            (Normalise::LRelatif, true, &cosines * &lengths / 3.0),
        ] {
            let found = scores(normalise, by_training).unwrap();
            assert!(
                (&found - &expected).iter().all(|off| off.abs() < within),
                "{normalise:?} {slope}: {found}"
            );
        }
        let refused = scores(Normalise::ThetaRelatif, false).unwrap_err();
        assert!(refused.to_string().starts_with("--normalise: "));
    }
}

#[test]
fn a_weight_that_f32_has_no_room_for_names_its_class_and_the_precision() {
    let head = SoftmaxHead::from_parameters(&tensor(vec![1.0, 0.0, 1e39, 0.0], 2)).unwrap();
    let features = tensor(vec![1.0], 1).into();
    let set = FeatureSet {
        features: &features,
        labels: &[0],
        ids: &[0],
    };
    assert!(Examples::new(&set, &head, DType::F64).is_ok());
    let refused = Examples::new(&set, &head, DType::F32).err().unwrap();
    let expected = "head: class 1: expected numbers of at most 3.4e38, as f32 has, found a larger one; add --precision f64";
    assert_eq!(refused.to_string(), expected);
}

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
        summary.solves[0].first_failure().is_none() && summary.solves[0].largest_residual() < 1e-12
    );

    let scores: Array2<f32> = read_npy(folder.path().join("scores.npy")).unwrap();
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
        assert!((ranking.helpful[0].score - f64::from(scores[[row, order[0]]])).abs() < 1e-6);
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

#[test]
fn nothing_is_written_where_the_curvature_has_no_inverse() {
    let (problem, folder) = (problem(), tempfile::tempdir().unwrap());
    let options = RankOptions {
        l2: 0.0,
        damping: 0.0,
        ..options()
    };
    let message = problem
        .job(options)
        .run(folder.path(), &mut Seen::default())
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("--damping: "), "{message}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_solve_that_diverges_is_refused_by_the_id_of_its_query() {
    let head = SoftmaxHead::zeros(2, 1, DType::F64, &Device::Cpu).unwrap();
    let train = examples(vec![1.0, -1.0], 1, &[0, 1], &head);
    let queries = examples(vec![0.0, 1.0], 1, &[0, 1], &head);
    // A curvature that is finite in every entry but overflows along s, which is the second query's gradient.
    let s = array![1.0, 1.0, -1.0, -1.0];
    let matrix = Array2::from_shape_fn((4, 4), |(i, j)| 1e308 * s[i] * s[j]);
    let huge = Dense::new(matrix, Structure::PositiveSemidefinite).unwrap();
    let inverse = Cg {
        tolerance: 1e-6,
        iterations: 5,
        preconditioned: false,
    };
    let inverse = inverse.prepare(&huge).unwrap();
    let mut scores = ScoreMatrix::default();
    let blocks = BlockSizes {
        solved: 2,
        gradients: 2,
    };
    let queries = Queries {
        examples: &queries,
        sinks: &mut [&mut scores],
    };
    let scoring = Scoring {
        inverse: &*inverse,
        training: &train,
        normalise: Normalise::None,
        blocks,
        provenance: &Provenance::default(),
    };
    let message = scoring.by_queries(queries).unwrap_err().to_string();
    assert!(
        message.contains("query 101") && message.contains("--damping"),
        "{message}"
    );
    assert!(scores.scores.iter().all(|score| *score == 0.0));
}

/// W K/n has the eigenvalue ½ · 10/2 for (3, 1) and the identity, ½ · 2/2 for (1, 1); with the diagonal, which leaves out how the
/// features go together, the first has more than 1 too. None of A⁻¹ itself has.
#[test]
fn an_image_that_has_more_curvature_than_is_inverted_is_refused_by_its_id() {
    let head = SoftmaxHead::zeros(2, 1, DType::F64, &Device::Cpu).unwrap();
    for (features, refused) in [([3.0, 1.0], true), ([1.0, -1.0], false)] {
        let train = examples(features.to_vec(), 1, &[0, 1], &head);
        let hessian = HeadHessian::new(&head, train.inputs(), 1e-3).unwrap();
        let leverages = |solver: &dyn Solver| {
            let inverse = solver.prepare(&hessian).unwrap();
            let leverages = corrected(&train, &hessian, &*inverse, 4);
            leverages.err().map(|error| error.to_string())
        };
        assert_eq!(leverages(&Direct), None);
        let of_identity = leverages(&Identity);
        assert_eq!(of_identity.is_some(), refused);
        if refused {
            let message = of_identity.unwrap();
            let start = "leverage of training image 100: expected less than 1";
            assert!(
                message.starts_with(start) && message.contains("found 2.500000"),
                "{message}"
            );
            assert!(leverages(&Ekfac).is_some());
        }
    }
}

#[test]
fn leverage_is_refused_with_solvers_that_may_turn_its_signs() {
    let check = |method: Method| {
        let options = RankOptions {
            solver: Settings {
                method,
                ..Settings::default()
            },
            correction: Correction::Leverage,
            ..options()
        };
        options.check().map_err(|error| error.to_string())
    };
    for method in [Method::Auto, Method::Direct, Method::Cg, Method::Pinv] {
        assert_eq!(check(method), Ok(()), "{method}");
    }
    for method in [Method::Identity, Method::Ekfac] {
        let message = check(method).unwrap_err();
        assert!(
            message.starts_with("--correction: leverage") && message.ends_with("direct or cg"),
            "{message}"
        );
    }
}

#[test]
fn a_score_of_a_group_that_is_not_finite_is_refused_by_its_name() {
    let head = SoftmaxHead::zeros(2, 1, DType::F64, &Device::Cpu).unwrap();
    let train = examples(vec![1e200, -1e200], 1, &[0, 1], &head);
    let queries = examples(vec![3.0, 1.0], 1, &[0, 1], &head);
    // Solutions are finite, and their products with gradients are not.
    let small = Dense::new(
        Array2::from_diag_elem(4, 1e-150),
        Structure::PositiveDefinite,
    )
    .unwrap();
    let inverse = Direct.prepare(&small).unwrap();
    let groups = Groups::by_class(queries.labels(), &["zero".into(), "one".into()]);
    let blocks = BlockSizes {
        solved: 1,
        gradients: 2,
    };
    let message = groups
        .rank_training(&*inverse, &train, &queries, (1, 0), blocks)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("not a finite number at the group one, training image 100"),
        "{message}"
    );
}

#[test]
fn ids_that_do_not_fit_and_foreign_files_are_refused() {
    let (mut problem, folder) = (problem(), tempfile::tempdir().unwrap());
    problem.train_ids.pop();
    let message = problem
        .job(options())
        .run(folder.path(), &mut Seen::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("ids of the features: expected 10, found 9"),
        "{message}"
    );
    let foreign = folder.path().join("rankings.parquet");
    std::fs::write(&foreign, b"not a table").unwrap();
    let message = read_rankings(&foreign).unwrap_err().to_string();
    assert!(
        message.contains("rankings.parquet: table: expected") && !message.contains('\n'),
        "{message}"
    );
}

/// Rows that a run of `other` takes up from one of `begun` that stopped after its last block, and what it says.
fn taken_up(begun: &Problem, other: &Problem) -> (usize, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let options = RankOptions {
        scores: false,
        record_every: Duration::ZERO,
        ..options()
    };
    // No file can be written where a folder stands.
    let in_the_way = folder.path().join("rankings.parquet");
    std::fs::create_dir(&in_the_way).unwrap();
    let stopped = begun.job(options.clone());
    stopped
        .run(folder.path(), &mut Seen::default())
        .unwrap_err();
    std::fs::remove_dir(&in_the_way).unwrap();
    let mut seen = Seen::default();
    let summary = other.job(options).run(folder.path(), &mut seen).unwrap();
    (summary.resumed, seen.notes)
}

fn nudged(length: usize, frequency: f64) -> Rows {
    let mut values = wave(length, frequency);
    values[7] += 1e-3;
    tensor(values, 3).into()
}

#[test]
fn a_run_goes_on_only_with_the_numbers_labels_and_ids_that_it_began_with() {
    let (rows, notes) = taken_up(&problem(), &problem());
    assert_eq!(
        (rows, notes),
        (10, vec!["10 rows were scored before".into()])
    );
    let changes: [fn(&mut Problem); 6] = [
        |problem| problem.train = nudged(30, 0.9),
        |problem| problem.test = nudged(12, 2.3),
        |problem| problem.train_labels[4] = 2,
        |problem| problem.test_labels[2] = 0,
        |problem| problem.train_ids[1] = 46,
        |problem| problem.test_ids[0] = 6,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut other = problem();
        change(&mut other);
        let (rows, notes) = taken_up(&problem(), &other);
        assert_eq!((rows, notes.len()), (0, 1), "change {at}");
        assert!(
            notes[0].ends_with("is of another run; scoring begins anew"),
            "{notes:?}"
        );
    }
}
