use super::super::tests::{
    array, by_eigenpairs, diagonal, distance, head_hessian, refusal, rotated, values, vectors,
    waves,
};
use super::*;
use crate::operator::{Damped, Structure};
use crate::solve::Method;
use candle_core::DType;

const ALL: Arnoldi = Arnoldi {
    rank: 1000,
    steps: 1000,
    tolerance: 1e-10,
};

fn note(inverse: &dyn Inverse, name: &str) -> f64 {
    let notes = inverse.notes();
    notes.iter().find(|(found, _)| *found == name).unwrap().1
}

#[test]
fn at_full_rank_it_is_the_inverse() {
    let hessian = head_hessian(DType::F64);
    let damped = Damped::new(&hessian, 1e-2).unwrap();
    let indefinite = rotated(&[3.0, -2.0, 1.0, 1.0, -0.5], Structure::Symmetric);
    let plain = diagonal(&[1.0, 2.0, 5.0, 9.0], Structure::PositiveDefinite);
    for operator in [&damped as &dyn LinearOperator, &indefinite, &plain] {
        let inverse = ALL.prepare(operator).unwrap();
        let block = waves(3, operator.size());
        let solution = inverse.solve(&block).unwrap();
        let expected = by_eigenpairs(operator, &block, f64::recip);
        assert!(distance(&solution.value, &expected) < 1e-11);
        for report in &solution.reports {
            assert_eq!(report.outcome, Outcome::Approximate);
            assert!(report.residual < 1e-11);
        }
        assert_eq!(note(&*inverse, "eigenpairs kept"), operator.size() as f64);
    }
}

#[test]
fn a_few_pairs_are_those_of_largest_magnitude() {
    let spectrum: Vec<f64> = (0..100).map(|i| 0.7f64.powi(i) * (-1f64).powi(i)).collect();
    let operator = rotated(&spectrum, Structure::Symmetric);
    let block = waves(10, 100);
    let few = Arnoldi { rank: 6, ..ALL };
    let inverse = few.prepare(&operator).unwrap();
    let solution = inverse.solve(&block).unwrap();
    let least = 0.5 * (0.7f64.powi(5) + 0.7f64.powi(6));
    let keep = |value: f64| {
        if value.abs() > least {
            value.recip()
        } else {
            0.0
        }
    };
    assert!(distance(&solution.value, &by_eigenpairs(&operator, &block, keep)) < 1e-8);
    assert_eq!(note(&*inverse, "eigenpairs kept"), 6.0);
    assert!(note(&*inverse, "Lanczos steps") < 60.0);
    assert!(solution.reports[9].residual.is_nan() && solution.reports[7].residual > 0.1);
}

/// As features with a mean have it: beside the first eigenvalue the residual of any vector is small.
#[test]
fn pairs_are_found_beside_one_that_is_much_larger() {
    let weak = (0..60).map(|i| 0.9f64.powi(i));
    let spectrum: Vec<f64> = std::iter::once(1e4).chain(weak).collect();
    let operator = rotated(&spectrum, Structure::PositiveDefinite);
    let block = waves(4, spectrum.len());
    let solver = Arnoldi {
        rank: 6,
        ..Arnoldi::default()
    };
    let inverse = solver.prepare(&operator).unwrap();
    let solution = inverse.solve(&block).unwrap();
    let keep = |value: f64| if value > 0.62 { value.recip() } else { 0.0 };
    let expected = by_eigenpairs(&operator, &block, keep);
    let apart = distance(&solution.value, &expected);
    assert!(apart < 1e-2, "{apart:e}");
    assert_eq!(note(&*inverse, "eigenpairs kept"), 6.0);
}

/// A single Krylov space holds one vector of each.
#[test]
fn equal_eigenvalues_are_all_found() {
    let equal = [9.0, 9.0, 9.0, -5.0, -5.0, 4.0 + 1e-9, 4.0];
    let spectrum: Vec<f64> = (equal.into_iter())
        .chain((0..60).map(|i| 3.0 * 0.9f64.powi(i)))
        .collect();
    let operator = rotated(&spectrum, Structure::Symmetric);
    let solver = Arnoldi {
        rank: equal.len(),
        ..Arnoldi::default()
    };
    let block = waves(4, spectrum.len());
    let inverse = solver.prepare(&operator).unwrap();
    let solution = inverse.solve(&block).unwrap();
    let keep = |value: f64| {
        if value.abs() > 3.5 {
            value.recip()
        } else {
            0.0
        }
    };
    let apart = distance(&solution.value, &by_eigenpairs(&operator, &block, keep));
    assert!(apart < 1e-3, "{apart:e}");
    assert_eq!(note(&*inverse, "eigenpairs kept"), equal.len() as f64);
    let outcomes = solution.reports.iter().map(|report| report.outcome);
    assert!(
        outcomes
            .into_iter()
            .all(|outcome| outcome == Outcome::Approximate)
    );
}

#[test]
fn too_few_steps_are_said_with_the_pairs_there_are() {
    let spectrum: Vec<f64> = (1..=200).map(|i| 1.0 / f64::from(i)).collect();
    let operator = rotated(&spectrum, Structure::PositiveDefinite);
    for (steps, least) in [(20, 1.0), (2, 0.0)] {
        let hurried = Arnoldi {
            rank: steps,
            steps,
            tolerance: 1e-6,
        };
        let inverse = hurried.prepare(&operator).unwrap();
        let mut block = waves(9, 200);
        block = Vectors::concatenate(&[block, vectors(&[&[f64::NAN; 200]], DType::F64)]).unwrap();
        let solution = inverse.solve(&block).unwrap();
        let kept = note(&*inverse, "eigenpairs kept");
        assert!(kept >= least && kept < steps as f64, "{kept}");
        for report in &solution.reports[..9] {
            assert_eq!(report.outcome, Outcome::LimitReached);
            let remedy = report.outcome.remedy_of(Method::Arnoldi);
            assert!(remedy.contains("--rank"));
        }
        assert_eq!(solution.reports[9].outcome, Outcome::Diverged);
        assert_eq!(values(&solution.value)[9], [0.0; 200]);
    }
}

#[test]
fn single_precision_keeps_the_same_pairs() {
    let hessians = [DType::F32, DType::F64].map(head_hessian);
    let [single, double] = [0, 1].map(|at| Damped::new(&hessians[at], 0.1).unwrap());
    let solver = Arnoldi {
        rank: 5,
        steps: 100,
        tolerance: 1e-4,
    };
    let block = waves(2, double.size());
    let expected = solver.prepare(&double).unwrap().solve(&block).unwrap();
    let block = block.to_dtype(DType::F32).unwrap();
    let found = solver.prepare(&single).unwrap().solve(&block).unwrap();
    assert_eq!(found.value.tensor().dtype(), DType::F32);
    assert!(distance(&found.value, &array(&expected.value)) < 1e-4);
}

#[test]
fn settings_and_operators_it_cannot_use_are_refused() {
    let plain = diagonal(&[1.0, 2.0, 3.0], Structure::PositiveDefinite);
    for (solver, start) in [
        (Arnoldi { rank: 0, ..ALL }, "--rank: at least 1"),
        (Arnoldi { steps: 2, ..ALL }, "--steps: 2 cannot give 3"),
        (
            Arnoldi {
                tolerance: 1.0,
                ..ALL
            },
            "--tolerance: 1 is not",
        ),
    ] {
        let message = refusal(&solver, &plain);
        assert!(message.starts_with(start), "{message}");
    }
    let zero = diagonal(&[0.0; 4], Structure::PositiveSemidefinite);
    assert!(refusal(&ALL, &zero).starts_with("--solver: the curvature is zero"));
    let singular = diagonal(&[2.0, 1.0, 0.0], Structure::PositiveSemidefinite);
    let message = refusal(&ALL, &singular);
    assert!(message.starts_with("--damping: eigenvalue 3") && message.contains("--rank"));
    let wrong = ALL.prepare(&plain).unwrap().solve(&waves(1, 5));
    let message = wrong.unwrap_err().to_string();
    assert!(message.contains("expected 3, found 5"), "{message}");
}
