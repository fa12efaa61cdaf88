//! What f32 has no room for: scores are right or it is said that they are not.

use super::*;
use crate::operator::HeadHessian;
use crate::solve::{Identity, Method, Settings, Solver};
use ndarray::{Array2, array};
use ndarray_npy::read_npy;

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

/// `values`, with three in place of those of a row that the head below takes for class 0 all but surely.
fn surely(mut values: Vec<f64>, row: usize) -> Rows {
    values[3 * row..][..3].copy_from_slice(&[144.0, 0.0, 0.0]);
    Rows::from(tensor(values, 3))
}

/// The last query's loss is e⁻¹⁰⁰ and less.
fn problem_with_a_sure_query() -> Problem {
    let weights = vec![1.0, 0.2, 0.0, 0.0, 0.3, -0.4, 0.1, 0.0, -0.9, 0.1, 0.2, 0.0];
    let mut problem = problem();
    problem.head = SoftmaxHead::from_parameters(&tensor(weights, 4)).unwrap();
    problem.test = surely(wave(12, 2.3), 3);
    problem.test_labels[3] = 0;
    problem
}

/// f32 has hardly a number for a loss of e⁻¹⁰⁰. A training image with it must not end the run, and of a query with it the run must
/// say what its scores are worth.
#[test]
fn images_that_are_predicted_all_but_surely_are_scored_and_told_of() {
    let mut problem = problem_with_a_sure_query();
    problem.train_labels[0] = 0;
    problem.train = surely(wave(30, 0.9), 0);
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
        let path = folder.path().join("scores.npy");
        let scores: Array2<f64> = match precision {
            DType::F64 => read_npy(path).unwrap(),
            _ => read_npy::<_, Array2<f32>>(path).unwrap().mapv(f64::from),
        };
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
        assert!(exact.row(3).iter().any(|score| *score != 0.0));
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

/// What is proven is in f64, and a file of f32 has no room for it.
#[test]
fn proven_scores_that_a_file_has_no_room_for_are_told_of() {
    let problem = problem_with_a_sure_query();
    let rows = |scores: bool| {
        let (folder, mut seen) = (tempfile::tempdir().unwrap(), Seen::default());
        let options = RankOptions {
            precision: DType::F32,
            certify: Some(2),
            scores,
            ..options()
        };
        let summary = problem.job(options).run(folder.path(), &mut seen).unwrap();
        let rankings = read_rankings(&folder.path().join("rankings.parquet")).unwrap();
        assert!(rankings[3].helpful[0].score > 0.0);
        (
            summary.notes.get("rows_too_faint").copied(),
            seen.notes.len(),
        )
    };
    assert_eq!(rows(true), (Some(1.0), 1));
    assert_eq!(rows(false), (None, 0));
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
            let (sides, mut scores) = ((&train, &queries), ScoreMatrix::default());
            score(&*inverse, sides, (normalise, by_training), &mut scores)?;
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
