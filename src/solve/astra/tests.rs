use super::super::iterated::Measured;
use super::super::tests::{
    array, by_eigenpairs, diagonal, distance, head_hessian, refusal, rotated, values, waves,
};
use super::*;
use crate::operator::{Damped, Structure};
use crate::solve::{Direct, Ekfac, Outcome};
use candle_core::DType;

/// More images in a batch than any of the curvatures here has.
const WHOLE: Astra = Astra {
    steps: 2000,
    batch: 1000,
    step_size: None,
    tolerance: 1e-11,
    seed: 0,
};

fn outcomes(solution: &Solution) -> Vec<Outcome> {
    solution.reports.iter().map(|row| row.outcome).collect()
}

#[test]
fn with_all_images_it_is_the_inverse() {
    let hessian = head_hessian(DType::F64);
    let damped = Damped::new(&hessian, 5e-2).unwrap();
    let turned = rotated(&[3.0, 2.0, 1.0, 1.0, 0.5], Structure::PositiveDefinite);
    let plain = diagonal(&[1.0, 2.0, 5.0, 9.0], Structure::PositiveDefinite);
    for operator in [&damped as &dyn LinearOperator, &turned, &plain] {
        let block = waves(3, operator.size());
        let solution = WHOLE.prepare(operator).unwrap().solve(&block).unwrap();
        let direct = Direct.prepare(operator).unwrap().solve(&block).unwrap();
        assert!(distance(&solution.value, &array(&direct.value)) < 1e-9);
        for report in &solution.reports {
            assert_eq!(report.outcome, Outcome::Converged);
            assert!(report.residual <= 1e-11 && report.iterations < 2000);
        }
        // The first step needs no product, the last product shows that there is nothing to do, and one is the residual.
        let steps: usize = solution.reports.iter().map(|row| row.iterations).sum();
        assert_eq!(solution.products, steps + 3);
    }
}

#[test]
fn the_first_step_is_the_preconditioner_and_the_second_richardson_s() {
    let operator = rotated(&[3.0, 2.0, 1.0, 1.0, 0.5], Structure::PositiveDefinite);
    let block = waves(2, 5);
    let after = |steps| {
        let solver = Astra {
            steps,
            step_size: Some(0.7),
            ..WHOLE
        };
        let solution = solver.prepare(&operator).unwrap().solve(&block).unwrap();
        assert_eq!(outcomes(&solution), [Outcome::LimitReached; 2]);
        solution.value
    };
    let ekfac = Ekfac.prepare(&operator).unwrap();
    let divided = |rows: &Vectors| ekfac.solve(rows).unwrap().value;
    let first = divided(&block);
    let step = first.scaled(&[0.7; 2]).unwrap();
    assert!(distance(&after(1), &array(&step)) < 1e-14);
    let rest = block.add_scaled(&[-1.0; 2], &operator.apply(&step).unwrap());
    let second = divided(&rest.unwrap())
        .add_scaled(&[0.9; 2], &first)
        .unwrap();
    let expected = step.add_scaled(&[0.7; 2], &second).unwrap();
    assert!(distance(&after(2), &array(&expected)) < 1e-14);
}

#[test]
fn batches_repeat_themselves_and_rows_are_independent() {
    let hessian = head_hessian(DType::F64);
    let damped = Damped::new(&hessian, 0.3).unwrap();
    let block = waves(3, damped.size());
    let solver = |seed| Astra {
        steps: 60,
        batch: 10,
        seed,
        ..WHOLE
    };
    let inverse = solver(4).prepare(&damped).unwrap();
    let solution = inverse.solve(&block).unwrap();
    assert_eq!(
        values(&solution.value),
        values(&inverse.solve(&block).unwrap().value)
    );
    let other = solver(5).prepare(&damped).unwrap().solve(&block).unwrap();
    assert_ne!(values(&solution.value), values(&other.value));
    for row in 0..3 {
        let alone = inverse.solve(&block.narrow(row..row + 1).unwrap()).unwrap();
        let beside = solution.value.narrow(row..row + 1).unwrap();
        // To rounding: kernels may sum the rows of a block in another order than one alone.
        assert!(distance(&alone.value, &array(&beside)) < 1e-12);
        let (own, beside) = (&alone.reports[0], &solution.reports[row]);
        assert_eq!(
            (own.outcome, own.iterations),
            (beside.outcome, beside.iterations)
        );
    }
    // 59 products of batches, and the residuals of the last iterate and of the mean.
    assert_eq!(solution.products, 3 * 59 + 3 * 2);
}

/// The residual is the true one, and its floor is lower the larger the batches are.
#[test]
fn the_scatter_of_batches_is_reported_and_shrinks_with_their_size() {
    let hessian = head_hessian(DType::F64);
    let damped = Damped::new(&hessian, 0.3).unwrap();
    let block = waves(2, damped.size());
    let exact = by_eigenpairs(&damped, &block, f64::recip);
    let norms = block.norms().unwrap();
    let mut errors = Vec::new();
    for batch in [5, 20, 39, 40] {
        let solver = Astra {
            steps: 400,
            batch,
            tolerance: 1e-6,
            ..WHOLE
        };
        let solution = solver.prepare(&damped).unwrap().solve(&block).unwrap();
        let product = damped.apply(&solution.value).unwrap();
        let rest = block.add_scaled(&[-1.0; 2], &product).unwrap();
        for (row, rest) in rest.norms().unwrap().into_iter().enumerate() {
            let residual = solution.reports[row].residual;
            assert!((residual - rest / norms[row]).abs() < 1e-12);
        }
        let expected = match batch {
            40 => Outcome::Converged,
            _ => Outcome::LimitReached,
        };
        assert_eq!(outcomes(&solution), [expected; 2], "{batch}");
        errors.push(distance(&solution.value, &exact));
    }
    let ekfac = Ekfac.prepare(&damped).unwrap().solve(&block).unwrap();
    let ekfac = distance(&ekfac.value, &exact);
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    assert!(errors[0] < 0.5 && errors[2] < 0.1 * errors[0], "{errors:?}");
    assert!(errors[1] < ekfac, "{errors:?} {ekfac}");
}

/// Averaging is taken where it helps, row by row.
#[test]
fn the_mean_of_the_last_stage_replaces_the_last_iterate_where_its_residual_is_smaller() {
    let zero = waves(2, 3).zeros_like().unwrap();
    let measured = |value: Vectors, residuals: [f64; 2], broken: [bool; 2]| Measured {
        value,
        residuals: residuals.to_vec(),
        broken: broken.to_vec(),
    };
    let waves = waves(2, 3);
    let one = measured(zero.clone(), [0.5, 0.1], [false; 2]);
    let other = measured(waves.clone(), [0.2, 0.3], [false; 2]);
    let better = one.or_better(other).unwrap();
    assert_eq!(better.residuals, [0.2, 0.1]);
    assert_eq!(
        values(&better.value),
        [values(&waves)[0].clone(), vec![0.0; 3]]
    );
    let one = measured(zero.clone(), [1.0, 0.1], [true, false]);
    let other = measured(zero, [0.2, 0.01], [true, false]);
    let better = one.or_better(other).unwrap();
    assert_eq!(better.residuals, [1.0, 0.01]);
    assert_eq!(better.broken, [true, false]);
}

#[test]
fn steps_too_long_and_negative_eigenvalues_diverge_and_say_so() {
    let definite = rotated(&[5.0, 3.0, 1.0], Structure::PositiveDefinite);
    let long = Astra {
        step_size: Some(6.0),
        ..WHOLE
    };
    let hessian = head_hessian(DType::F64);
    let damped = Damped::new(&hessian, 0.3).unwrap();
    let few = Astra {
        step_size: Some(50.0),
        batch: 5,
        steps: 200,
        ..WHOLE
    };
    for (solver, operator) in [(long, &definite as &dyn LinearOperator), (few, &damped)] {
        let inverse = solver.prepare(operator).unwrap();
        let solution = inverse.solve(&waves(2, operator.size())).unwrap();
        assert_eq!(outcomes(&solution), [Outcome::Diverged; 2]);
        assert!(solution.reports[0].iterations < 200, "stopped");
        assert_eq!(array(&solution.value).sum(), 0.0);
        assert!(solution.reports[0].outcome.remedy().contains("--step-size"));
    }
    // Its diagonal is positive, an eigenvalue is not.
    let indefinite = rotated(&[5.0, 3.0, -0.05], Structure::Symmetric);
    let solution = WHOLE.prepare(&indefinite).unwrap().solve(&waves(2, 3));
    assert_eq!(outcomes(&solution.unwrap()), [Outcome::Diverged; 2]);
    let broken = Vectors::from_rows(vec![f64::NAN, 1.0, 1.0, 1.0, 0.0, 2.0], 3).unwrap();
    let solution = WHOLE.prepare(&definite).unwrap().solve(&broken).unwrap();
    assert_eq!(outcomes(&solution), [Outcome::Diverged, Outcome::Converged]);
}

#[test]
fn single_precision_and_zero_right_hand_sides() {
    let hessian = head_hessian(DType::F32);
    let damped = Damped::new(&hessian, 5e-2).unwrap();
    let block = waves(2, damped.size()).to_dtype(DType::F32).unwrap();
    let solver = Astra {
        tolerance: 1e-4,
        ..WHOLE
    };
    let inverse = solver.prepare(&damped).unwrap();
    assert_eq!(
        outcomes(&inverse.solve(&block).unwrap()),
        [Outcome::Converged; 2]
    );
    let zeros = block.zeros_like().unwrap();
    let solution = inverse.solve(&zeros).unwrap();
    assert_eq!(outcomes(&solution), [Outcome::Converged; 2]);
    assert_eq!(solution.reports[0].iterations, 0);
}

#[test]
fn settings_it_cannot_use_are_refused() {
    let plain = diagonal(&[1.0, 2.0], Structure::PositiveDefinite);
    let size = |size| Astra {
        step_size: Some(size),
        ..WHOLE
    };
    for (solver, start) in [
        (Astra { steps: 0, ..WHOLE }, "--steps: at least 1"),
        (Astra { batch: 0, ..WHOLE }, "--batch-size: at least 1"),
        (size(0.0), "--step-size: 0 is not a number above 0"),
        (size(f64::NAN), "--step-size: NaN is not"),
        (
            Astra {
                tolerance: 1.0,
                ..WHOLE
            },
            "--tolerance: 1 is not",
        ),
    ] {
        let message = refusal(&solver, &plain);
        assert!(message.starts_with(start), "{message}");
    }
    let zero = diagonal(&[0.0; 4], Structure::PositiveSemidefinite);
    assert!(refusal(&WHOLE, &zero).starts_with("--damping: element 0"));
}
