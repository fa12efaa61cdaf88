//! What is refused, by the name of the option, image or group.

use super::*;
use crate::operator::{Dense, HeadHessian, Structure};
use crate::solve::{Cg, Direct, Ekfac, Identity, Method, Settings, Solver};
use ndarray::{Array2, array};

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
    let by_queries = (Normalise::None, false);
    let refused = score(&*inverse, (&train, &queries), by_queries, &mut scores);
    let message = refused.unwrap_err().to_string();
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
