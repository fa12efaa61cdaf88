use super::super::tests::{
    array, by_eigenpairs, diagonal, distance, head_hessian, refusal, rotated, values, vectors,
    waves,
};
use super::*;
use crate::operator::{Damped, Structure};
use crate::solve::{Direct, Method, Outcome};
use candle_core::DType;

const EXACT: Lissa = Lissa {
    scale: None,
    depth: 100_000,
    repeats: 1,
    batch: None,
    tolerance: 1e-12,
    seed: 0,
};

fn outcomes(solution: &Solution) -> Vec<Outcome> {
    solution.reports.iter().map(|row| row.outcome).collect()
}

#[test]
fn with_enough_depth_it_is_the_inverse() {
    let hessian = head_hessian(DType::F64);
    let damped = Damped::new(&hessian, 5e-2).unwrap();
    let turned = rotated(&[3.0, 2.0, 1.0, 1.0, 0.5], Structure::PositiveDefinite);
    let plain = diagonal(&[1.0, 2.0, 5.0, 9.0], Structure::PositiveDefinite);
    for operator in [&damped as &dyn LinearOperator, &turned, &plain] {
        let block = waves(3, operator.size());
        let solution = EXACT.prepare(operator).unwrap().solve(&block).unwrap();
        let direct = Direct.prepare(operator).unwrap().solve(&block).unwrap();
        assert!(distance(&solution.value, &array(&direct.value)) < 1e-10);
        for report in &solution.reports {
            assert_eq!(report.outcome, Outcome::Converged);
            assert!(report.residual <= 1e-12 && report.iterations > 5);
        }
        let iterations: usize = solution.reports.iter().map(|row| row.iterations).sum();
        // A last product per row shows that it has converged, and one more is the true residual.
        assert_eq!(solution.products, iterations + 6);
    }
}

#[test]
fn the_error_shrinks_as_the_series_says() {
    // The spectrum of breast cancer: .01 to .3281, 62 parameters.
    let spectrum: Vec<f64> = (0..62)
        .map(|i| 0.01 * (0.3281f64 / 0.01).powf(f64::from(i) / 61.0))
        .collect();
    let operator = diagonal(&spectrum, Structure::PositiveDefinite);
    let block = vectors(&[&[1.0; 62]], DType::F64);
    let expected = by_eigenpairs(&operator, &block, f64::recip);
    let scale = 1.05 * 0.3281;
    for (depth, order) in [(100, 2.3e-2), (300, 3.4e-5), (1000, 1.7e-14)] {
        let solver = Lissa {
            scale: Some(scale),
            depth,
            tolerance: 1e-15,
            ..EXACT
        };
        let solution = solver.prepare(&operator).unwrap().solve(&block).unwrap();
        let rest = |value: &f64| (1.0 - value / scale).powi(depth as i32 + 1) / value;
        let squares: f64 = spectrum.iter().map(|value| rest(value).powi(2)).sum();
        let analytic = squares.sqrt() / expected.mapv(|x| x * x).sum().sqrt();
        let error = distance(&solution.value, &expected);
        assert!(
            (error - analytic).abs() < 1e-3 * analytic + 2e-14,
            "{error} {analytic}"
        );
        assert!((analytic / order).log10().abs() < 1.1, "{analytic} {order}");
        assert_eq!(solution.reports[0].iterations, depth);
    }
}

#[test]
fn rows_stop_on_their_own_and_alone_as_in_a_block() {
    let operator = diagonal(&[1.0, 2.0, 4.0], Structure::PositiveDefinite);
    let inverse = Lissa {
        scale: Some(4.0),
        ..EXACT
    }
    .prepare(&operator)
    .unwrap();
    let block = vectors(
        &[
            &[0.0; 3],
            &[1.0, 0.0, 0.0],
            &[f64::NAN, 1.0, 1.0],
            &[0.0, 0.0, 8.0],
            &[0.0, 1.0, 1.0],
        ],
        DType::F64,
    );
    let solution = inverse.solve(&block).unwrap();
    let iterations: Vec<usize> = solution.reports.iter().map(|row| row.iterations).collect();
    assert_eq!((iterations[0], iterations[2], iterations[3]), (0, 0, 0));
    assert!(
        iterations[1] > 2 * iterations[4] && iterations[4] > 30,
        "{iterations:?}"
    );
    let expected = [
        Outcome::Converged,
        Outcome::Converged,
        Outcome::Diverged,
        Outcome::Converged,
        Outcome::Converged,
    ];
    assert_eq!(outcomes(&solution), expected);
    let rows = values(&solution.value);
    assert_eq!(
        (&rows[0], &rows[2], &rows[3]),
        (&vec![0.0; 3], &vec![0.0; 3], &vec![0.0, 0.0, 2.0])
    );
    for row in [0, 1, 3, 4] {
        let alone = inverse.solve(&block.narrow(row..row + 1).unwrap()).unwrap();
        assert_eq!(values(&alone.value)[0], rows[row]);
        assert_eq!(alone.reports[0], solution.reports[row]);
    }
}

#[test]
fn too_little_depth_is_an_outcome_with_its_true_residual() {
    let operator = rotated(&[1.0, 0.1, 0.01, 0.001], Structure::PositiveDefinite);
    let block = waves(2, 4);
    let solver = Lissa { depth: 20, ..EXACT };
    let solution = solver.prepare(&operator).unwrap().solve(&block).unwrap();
    let rest = block.add_scaled(&[-1.0; 2], &operator.apply(&solution.value).unwrap());
    let (rest, norms) = (rest.unwrap().norms().unwrap(), block.norms().unwrap());
    for (row, report) in solution.reports.iter().enumerate() {
        assert_eq!(
            (report.outcome, report.iterations),
            (Outcome::LimitReached, 20)
        );
        assert!((report.residual - rest[row] / norms[row]).abs() < 1e-14 && report.residual > 0.1);
        let remedy = report.outcome.remedy_of(Method::Lissa);
        assert!(remedy.starts_with("raise --depth"));
    }
}

/// An eigenvalue that a short Lanczos process need not see is below the scale all the same.
#[test]
fn its_own_scale_never_diverges() {
    let mut spectrum: Vec<f64> = (0..300).map(|i| 1.0 - f64::from(i) / 400.0).collect();
    spectrum[0] = 1.02;
    let operator = diagonal(&spectrum, Structure::PositiveDefinite);
    for seed in 0..10 {
        let solver = Lissa {
            seed,
            tolerance: 1e-8,
            ..EXACT
        };
        let inverse = solver.prepare(&operator).unwrap();
        let scale = inverse
            .notes()
            .iter()
            .find(|(name, _)| *name == "scale")
            .unwrap()
            .1;
        assert!(scale > 1.02 && scale < 1.25, "{scale}");
        let solution = inverse.solve(&waves(2, 300)).unwrap();
        assert_eq!(outcomes(&solution), [Outcome::Converged; 2]);
    }
}

#[test]
fn a_scale_too_small_and_a_negative_eigenvalue_diverge() {
    let definite = rotated(&[5.0, 3.0, 1.0], Structure::PositiveDefinite);
    let small = Lissa {
        scale: Some(0.4 * 5.0),
        ..EXACT
    };
    // Growth of 1 % an iteration is divergence too.
    let indefinite = rotated(&[5.0, 3.0, -0.05], Structure::Symmetric);
    for (solver, operator) in [(small, &definite), (EXACT, &indefinite)] {
        let solution = solver
            .prepare(operator)
            .unwrap()
            .solve(&waves(2, 3))
            .unwrap();
        assert_eq!(outcomes(&solution), [Outcome::Diverged; 2]);
        assert!(solution.reports[0].iterations < 2000);
        assert_eq!(array(&solution.value).sum(), 0.0);
        let remedy = solution.reports[0].outcome.remedy();
        assert!(remedy.contains("--scale") && remedy.contains("--damping"));
    }
}

#[test]
fn batches_repeat_themselves_and_approach_the_inverse() {
    let hessian = head_hessian(DType::F64);
    let damped = Damped::new(&hessian, 0.3).unwrap();
    let block = waves(2, damped.size());
    let exact = by_eigenpairs(&damped, &block, f64::recip);
    let solver = |repeats, batch, seed| Lissa {
        depth: 150,
        repeats,
        batch: Some(batch),
        tolerance: 1e-3,
        seed,
        ..EXACT
    };
    let solve = |solver: Lissa| solver.prepare(&damped).unwrap().solve(&block).unwrap();
    let (one, many) = (solve(solver(1, 10, 4)), solve(solver(25, 10, 4)));
    assert_eq!(array(&one.value), array(&solve(solver(1, 10, 4)).value));
    assert_ne!(array(&one.value), array(&solve(solver(1, 10, 5)).value));
    let (coarse, fine) = (distance(&one.value, &exact), distance(&many.value, &exact));
    assert!(fine < 0.1 && fine < 0.5 * coarse, "{coarse} {fine}");
    assert_eq!(outcomes(&one), [Outcome::LimitReached; 2]);
    assert_eq!(
        (one.reports[0].iterations, many.reports[0].iterations),
        (150, 25 * 150)
    );
    // A batch of all images is the whole: nothing is left to chance, and the tolerance can be reached.
    let whole = solve(solver(1, 40, 4));
    assert_eq!(outcomes(&whole), [Outcome::Converged; 2]);
    let error = distance(&whole.value, &exact);
    assert!(error < 2e-2, "{error}");
}

#[test]
fn batches_of_too_little_scale_diverge() {
    let hessian = head_hessian(DType::F64);
    let damped = Damped::new(&hessian, 0.3).unwrap();
    let solver = Lissa {
        scale: Some(0.2),
        depth: 500,
        repeats: 2,
        batch: Some(5),
        ..EXACT
    };
    let solution = solver
        .prepare(&damped)
        .unwrap()
        .solve(&waves(2, 12))
        .unwrap();
    assert_eq!(outcomes(&solution), [Outcome::Diverged; 2]);
    assert_eq!(array(&solution.value).sum(), 0.0);
}

#[test]
fn settings_and_operators_it_cannot_use_are_refused() {
    let plain = diagonal(&[1.0, 2.0], Structure::PositiveDefinite);
    for (solver, start) in [
        (Lissa { depth: 0, ..EXACT }, "--depth: at least 1"),
        (
            Lissa {
                repeats: 0,
                ..EXACT
            },
            "--repeats: at least 1",
        ),
        (
            Lissa {
                batch: Some(0),
                ..EXACT
            },
            "--batch-size: at least 1",
        ),
        (
            Lissa {
                scale: Some(0.0),
                ..EXACT
            },
            "--scale: 0 is not a number above 0",
        ),
        (
            Lissa {
                scale: Some(f64::NAN),
                ..EXACT
            },
            "--scale: NaN is not",
        ),
        (
            Lissa {
                tolerance: 0.0,
                ..EXACT
            },
            "--tolerance: 0 is not",
        ),
    ] {
        let message = refusal(&solver, &plain);
        assert!(message.starts_with(start), "{message}");
    }
    let batches = refusal(
        &Lissa {
            batch: Some(5),
            ..EXACT
        },
        &plain,
    );
    assert!(batches.contains("leave --batch-size out"), "{batches}");
    let zero = diagonal(&[0.0; 4], Structure::PositiveSemidefinite);
    assert!(refusal(&EXACT, &zero).starts_with("--solver: the curvature is zero"));
    let wrong = EXACT.prepare(&plain).unwrap().solve(&waves(1, 5));
    let message = wrong.unwrap_err().to_string();
    assert!(message.contains("expected 2, found 5"), "{message}");
}
