//! Many shifts in one run against a factorisation for each, and every way a row can end.

use super::*;
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use crate::operator::{Dense, HeadHessian};
use crate::solve::{Cg, Direct, Solver};
use candle_core::{DType, Device, Tensor};
use ndarray::{Array1, Array2};

const SHIFTS: [f64; 6] = [0.3, 1e-2, 1e-2, 10.0, 1e-4, 0.0];

const EXACT: ShiftedCg = ShiftedCg {
    tolerance: 1e-12,
    iterations: 500,
};

fn vectors(count: usize, size: usize) -> Vectors {
    let values = (0..count * size).map(|i| (0.37 * (i * i % 1009) as f64).sin());
    let values = Tensor::from_vec(values.collect(), (count, size), &Device::Cpu).unwrap();
    Vectors::new(values).unwrap()
}

fn diagonal(values: &[f64]) -> Dense {
    let matrix = Array2::from_diag(&Array1::from(values.to_vec()));
    Dense::new(matrix, Structure::Symmetric).unwrap()
}

/// Eigenvalues near 1 … 40, not diagonal.
fn definite(size: usize) -> Dense {
    let matrix = Array2::from_shape_fn((size, size), |(i, j)| {
        let off = (0.7 * (i + j) as f64 + 0.1 * (i * j) as f64).sin() / size as f64;
        if i == j { 2.0 + i as f64 + off } else { off }
    });
    Dense::new(matrix, Structure::PositiveDefinite).unwrap()
}

fn head() -> (SoftmaxHead, HeadInputs) {
    let wave = |length: usize| (0..length).map(|i| (1.3 * (i as f64 + 0.4)).sin());
    let features = Tensor::from_vec(wave(160).collect(), (40, 4), &Device::Cpu).unwrap();
    let labels: Vec<usize> = (0..40).map(|row| (row * row) % 3).collect();
    let inputs = HeadInputs::new(&features, &labels, DType::F64).unwrap();
    let parameters = Tensor::from_vec(wave(15).collect(), (3, 5), &Device::Cpu).unwrap();
    (SoftmaxHead::from_parameters(&parameters).unwrap(), inputs)
}

/// ‖a − b‖ / ‖b‖, the largest of the rows.
fn distance(a: &Vectors, b: &Vectors) -> f64 {
    let minus = vec![-1.0; b.count()];
    let rest = b.add_scaled(&minus, a).unwrap().norms().unwrap();
    let norms = b.norms().unwrap();
    let relative = rest.iter().zip(norms).map(|(rest, norm)| rest / norm);
    relative.fold(0.0, f64::max)
}

#[test]
fn every_shift_equals_a_factorisation_of_its_own() {
    let (head, inputs) = head();
    let hessian = HeadHessian::new(&head, &inputs, 1e-3).unwrap();
    let dense = definite(30);
    for operator in [&hessian as &dyn LinearOperator, &dense] {
        let right_hand_sides = vectors(7, operator.size());
        let solutions = EXACT.solve(operator, &SHIFTS, &right_hand_sides).unwrap();
        assert_eq!(solutions.len(), SHIFTS.len());
        for (solution, shift) in solutions.iter().zip(SHIFTS) {
            let damped = Damped::new(operator, shift).unwrap();
            let direct = Direct.prepare(&damped).unwrap();
            let exact = direct.solve(&right_hand_sides).unwrap();
            let error = distance(&solution.value, &exact.value);
            assert!(error < 1e-8, "{shift}: {error}");
            for report in &solution.reports {
                assert_eq!(report.outcome, Outcome::Converged, "{shift}: {report:?}");
            }
        }
        let longest = |at: usize| {
            solutions[at]
                .reports
                .iter()
                .map(|report| report.iterations)
                .max()
        };
        assert!(longest(3) < longest(0) && longest(0) <= longest(4) && longest(4) <= longest(5));
    }
}

#[test]
fn all_shifts_cost_the_products_of_the_smallest_and_one_each() {
    let (operator, right_hand_sides) = (definite(30), vectors(5, 30));
    let alone = EXACT.solve(&operator, &[1e-4], &right_hand_sides).unwrap();
    let many = EXACT
        .solve(&operator, &[1.0, 1e-4, 0.1], &right_hand_sides)
        .unwrap();
    let products = |solutions: &[Solution]| -> usize {
        solutions.iter().map(|solution| solution.products).sum()
    };
    assert_eq!(products(&many), products(&alone) + 2 * 5);
    let plain = Cg {
        tolerance: 1e-12,
        iterations: 500,
        preconditioned: false,
    };
    let damped = Damped::new(&operator, 1e-4).unwrap();
    let plain = plain
        .prepare(&damped)
        .unwrap()
        .solve(&right_hand_sides)
        .unwrap();
    for (shifted, plain) in many[1].reports.iter().zip(plain.reports) {
        assert_eq!(shifted.iterations, plain.iterations);
    }
    assert!(
        EXACT
            .solve(&operator, &[], &right_hand_sides)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_zero_row_is_solved_and_a_broken_one_diverges_alone() {
    let rows = vec![0.0, 0.0, f64::NAN, 1.0, 1.0, 1.0];
    let block = Vectors::new(Tensor::from_vec(rows, (3, 2), &Device::Cpu).unwrap()).unwrap();
    let solutions = EXACT
        .solve(&diagonal(&[1.0, 2.0]), &[1.0, 0.0], &block)
        .unwrap();
    for (solution, expected) in solutions.iter().zip([[0.5, 1.0 / 3.0], [1.0, 0.5]]) {
        let outcomes: Vec<Outcome> = solution
            .reports
            .iter()
            .map(|report| report.outcome)
            .collect();
        let wanted = [Outcome::Converged, Outcome::Diverged, Outcome::Converged];
        assert_eq!(outcomes, wanted);
        assert_eq!(
            (solution.reports[0].iterations, solution.reports[0].residual),
            (0, 0.0)
        );
        let values = solution.value.tensor().to_vec2::<f64>().unwrap();
        assert_eq!(
            (&values[0][..], &values[1][..]),
            (&[0.0; 2][..], &[0.0; 2][..])
        );
        let close = |(a, b): (&f64, f64)| (a - b).abs() < 1e-14;
        assert!(values[2].iter().zip(expected).all(close), "{values:?}");
    }
}

#[test]
fn the_limit_stops_the_hard_shifts_with_their_true_residuals() {
    let (operator, block) = (definite(30), vectors(1, 30));
    let hurried = ShiftedCg {
        tolerance: 1e-6,
        iterations: 4,
    };
    let solutions = hurried.solve(&operator, &[0.0, 1e3], &block).unwrap();
    let (hard, easy) = (solutions[0].reports[0], solutions[1].reports[0]);
    assert_eq!((hard.outcome, hard.iterations), (Outcome::LimitReached, 4));
    assert!(
        easy.outcome == Outcome::Converged && easy.iterations <= 4,
        "{easy:?}"
    );
    let product = operator.apply(&solutions[0].value).unwrap();
    let residual = distance(&product, &block);
    assert!((hard.residual - residual).abs() < 1e-14 && residual > 1e-6);
}

#[test]
fn negative_curvature_ends_its_row_alone() {
    let operator = diagonal(&[1.0, 2.0, -1.0]);
    let rows = vec![1.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let block = Vectors::new(Tensor::from_vec(rows, (2, 3), &Device::Cpu).unwrap()).unwrap();
    let solutions = EXACT.solve(&operator, &[0.5, 3.0], &block).unwrap();
    let outcome = |shift: usize, row: usize| solutions[shift].reports[row].outcome;
    assert_eq!(
        (outcome(0, 0), outcome(1, 0)),
        (Outcome::Converged, Outcome::Converged)
    );
    assert_eq!(
        (outcome(0, 1), outcome(1, 1)),
        (Outcome::NegativeCurvature, Outcome::LimitReached)
    );
    assert_eq!(solutions[1].reports[1].residual, 1.0);
}

#[test]
fn in_f32_it_ends_where_rounding_does() {
    let operator = definite(30);
    let exact = vectors(4, 30);
    let single = exact.to_dtype(DType::F32).unwrap();
    let solver = ShiftedCg {
        tolerance: 1e-5,
        ..EXACT
    };
    for (solution, shift) in solver
        .solve(&operator, &SHIFTS, &single)
        .unwrap()
        .iter()
        .zip(SHIFTS)
    {
        let damped = Damped::new(&operator, shift).unwrap();
        let direct = Direct.prepare(&damped).unwrap().solve(&exact).unwrap();
        let value = solution.value.to_dtype(DType::F64).unwrap();
        assert!(distance(&value, &direct.value) < 1e-4);
        assert!(
            solution
                .reports
                .iter()
                .all(|report| report.outcome == Outcome::Converged)
        );
    }
    let greedy = ShiftedCg {
        tolerance: 1e-12,
        ..EXACT
    };
    for solution in greedy.solve(&operator, &[0.0, 1.0], &single).unwrap() {
        for report in solution.reports {
            assert!(
                report.outcome == Outcome::LimitReached && report.residual < 1e-5,
                "{report:?}"
            );
        }
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let (operator, block) = (diagonal(&[1.0, 2.0]), vectors(1, 2));
    let message = |solver: ShiftedCg, shifts: &[f64]| {
        let refused = solver.solve(&operator, shifts, &block);
        refused
            .err()
            .map(|reason| reason.to_string())
            .unwrap_or_default()
    };
    let loose = ShiftedCg {
        tolerance: 1.0,
        ..EXACT
    };
    let idle = ShiftedCg {
        iterations: 0,
        ..EXACT
    };
    assert!(message(EXACT, &[1.0, -1.0]).starts_with("--damping: -1"));
    assert!(message(EXACT, &[f64::NAN]).starts_with("--damping: NaN"));
    assert!(message(loose, &[1.0]).starts_with("--tolerance"));
    assert!(message(idle, &[1.0]).starts_with("--iterations"));
    assert!(EXACT.solve(&operator, &[1.0], &vectors(1, 3)).is_err());
}
