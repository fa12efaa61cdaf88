//! Blocks beside independent rows: dependent, zero and mixed right-hand sides, curvature that is not positive, starts.

use super::super::tests::{diagonal, head_hessian, rotated, values, vectors};
use super::*;
use crate::operator::{Damped, Dense, Structure};
use crate::solve::Direct;
use candle_core::{DType, Tensor};
use proptest::prelude::*;

const TIGHT: Cg = Cg {
    tolerance: 1e-11,
    iterations: 300,
    preconditioned: false,
};

/// 40 eigenvalues over three decades.
fn spread() -> Dense {
    let values: Vec<f64> = (0..40)
        .map(|i| 10f64.powf(3.0 * f64::from(i) / 39.0))
        .collect();
    rotated(&values, Structure::PositiveDefinite)
}

/// Right-hand sides that are independent of each other.
fn scattered(count: usize, size: usize) -> Vectors {
    let values: Vec<f64> = (0..count * size)
        .map(|i| (0.37 * (i * i) as f64 + 0.2).sin())
        .collect();
    Vectors::new(Tensor::from_vec(values, (count, size), &candle_core::Device::Cpu).unwrap())
        .unwrap()
}

fn solved(cg: &Cg, operator: &dyn LinearOperator, block: &Vectors, shared: usize) -> Solution {
    cg.sharing(operator, shared).unwrap().solve(block).unwrap()
}

fn most_iterations(solution: &Solution) -> usize {
    (solution.reports.iter())
        .map(|report| report.iterations)
        .max()
        .unwrap()
}

/// The largest ‖a_i − b_i‖ / ‖b_i‖.
fn difference(found: &Vectors, expected: &Vectors) -> f64 {
    let rest = found
        .add_scaled(&vec![-1.0; found.count()], expected)
        .unwrap();
    let pairs = rest
        .norms()
        .unwrap()
        .into_iter()
        .zip(expected.norms().unwrap());
    pairs
        .map(|(rest, norm)| if norm == 0.0 { rest } else { rest / norm })
        .fold(0.0, f64::max)
}

#[test]
fn a_block_solves_what_its_rows_solve_in_fewer_iterations() {
    let (operator, block) = (spread(), scattered(8, 40));
    let (together, alone) = (
        solved(&TIGHT, &operator, &block, 8),
        solved(&TIGHT, &operator, &block, 1),
    );
    for solution in [&together, &alone] {
        assert!(
            solution
                .reports
                .iter()
                .all(|report| report.outcome == Outcome::Converged)
        );
    }
    assert!(difference(&together.value, &alone.value) < 1e-8);
    // Eight directions at a time span the forty dimensions after five iterations, but for rounding.
    assert!(most_iterations(&together) <= 8, "{:?}", together.reports);
    assert!(most_iterations(&alone) > 40, "{:?}", alone.reports);
    assert!(2 * together.products < alone.products);
}

#[test]
fn rows_of_their_own_stop_on_their_own() {
    let operator = diagonal(&[1.0, 2.0, 3.0, 4.0], Structure::PositiveDefinite);
    let rows: [&[f64]; 4] = [
        &[0.0; 4],
        &[0.0, 6.0, 0.0, 0.0],
        &[1.0; 4],
        &[2.0, 0.0, 3.0, 0.0],
    ];
    let iterations = |shared| {
        let solution = solved(&TIGHT, &operator, &vectors(&rows, DType::F64), shared);
        solution
            .reports
            .iter()
            .map(|report| report.iterations)
            .collect::<Vec<_>>()
    };
    assert_eq!(iterations(1), [0, 1, 4, 2]);
    // Three directions, then the one that is left.
    assert_eq!(iterations(4), [0, 1, 2, 2]);
}

#[test]
fn dependent_right_hand_sides_cost_no_products_and_break_nothing() {
    let operator = spread();
    let three = scattered(3, 40);
    let rows = three.tensor();
    let sum = (rows.narrow(0, 0, 1).unwrap() + rows.narrow(0, 1, 1).unwrap()).unwrap();
    let zero = sum.zeros_like().unwrap();
    let large = (rows.narrow(0, 2, 1).unwrap() * -1e6).unwrap();
    // Equal, summed, zero and scaled rows: nine rows in a space of three dimensions.
    let block = Tensor::cat(&[rows, rows, &sum, &zero, &large], 0).unwrap();
    let block = Vectors::new(block).unwrap();
    let (together, alone) = (
        solved(&TIGHT, &operator, &block, 9),
        solved(&TIGHT, &operator, &block, 1),
    );
    let few = solved(&TIGHT, &operator, &three, 3);
    assert!(
        together
            .reports
            .iter()
            .all(|report| report.outcome == Outcome::Converged)
    );
    assert!(difference(&together.value, &alone.value) < 1e-8);
    assert_eq!(together.reports[7].iterations, 0);
    assert_eq!(values(&together.value)[7], [0.0; 40]);
    assert!(most_iterations(&together) <= most_iterations(&few) + 2);
    // The residuals of nine rows are looked at once more than those of three.
    assert!(
        together.products <= few.products + 2 * 9,
        "{} {}",
        together.products,
        few.products
    );
}

#[test]
fn more_right_hand_sides_than_dimensions() {
    let operator = rotated(&[1.0, 3.0, 5.0, 11.0], Structure::PositiveDefinite);
    let solution = solved(&TIGHT, &operator, &scattered(9, 4), SHARED);
    let exact = Direct
        .prepare(&operator)
        .unwrap()
        .solve(&scattered(9, 4))
        .unwrap();
    assert!(difference(&solution.value, &exact.value) < 1e-10);
    assert_eq!(most_iterations(&solution), 1);
}

#[test]
fn a_row_that_is_nearly_another_is_solved_too() {
    let operator = spread();
    let rows = scattered(2, 40).tensor().clone();
    let near = |share: f64| {
        (rows.narrow(0, 0, 1).unwrap() + (rows.narrow(0, 1, 1).unwrap() * share).unwrap()).unwrap()
    };
    let block = Tensor::cat(
        &[
            &rows.narrow(0, 0, 1).unwrap(),
            &near(1e-4),
            &near(1e-8),
            &near(1e-12),
        ],
        0,
    );
    let block = Vectors::new(block.unwrap()).unwrap();
    for dtype in [DType::F64, DType::F32] {
        let block = block.to_dtype(dtype).unwrap();
        let tolerance = if dtype == DType::F64 { 1e-11 } else { 1e-5 };
        let solution = solved(&Cg { tolerance, ..TIGHT }, &operator, &block, 4);
        assert!(
            (solution.reports.iter()).all(|report| report.outcome == Outcome::Converged),
            "{:?}",
            solution.reports
        );
    }
}

#[test]
fn negative_curvature_is_laid_at_the_row_that_met_it() {
    let mut spectrum: Vec<f64> = (1..=12).map(f64::from).collect();
    spectrum[11] = -4.0;
    let operator = diagonal(&spectrum, Structure::Symmetric);
    let mut rows = vec![vec![0.0; 12]; 4];
    for (row, axis) in [(0, 0), (0, 3), (1, 5), (2, 11), (2, 2), (3, 7)] {
        rows[row][axis] = 1.0;
    }
    let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
    let solution = solved(&TIGHT, &operator, &vectors(&rows, DType::F64), 4);
    let outcomes: Vec<Outcome> = solution
        .reports
        .iter()
        .map(|report| report.outcome)
        .collect();
    use Outcome::{Converged, NegativeCurvature};
    assert_eq!(
        outcomes,
        [Converged, Converged, NegativeCurvature, Converged]
    );
    assert!((values(&solution.value)[0][3] - 0.25).abs() < 1e-12);
}

#[test]
fn a_block_stops_at_the_iteration_limit_and_loses_a_row_that_is_not_finite() {
    let (operator, block) = (spread(), scattered(4, 40));
    let hurried = Cg {
        iterations: 3,
        ..TIGHT
    };
    let solution = solved(&hurried, &operator, &block, 4);
    for report in &solution.reports {
        assert_eq!(
            (report.outcome, report.iterations),
            (Outcome::LimitReached, 3)
        );
        assert!(
            report.residual > 1e-6 && report.residual < 10.0,
            "{report:?}"
        );
    }
    let broken = Tensor::full(f64::NAN, (1, 40), &candle_core::Device::Cpu).unwrap();
    let block = Tensor::cat(&[block.tensor(), &broken], 0).unwrap();
    let solution = solved(&TIGHT, &operator, &Vectors::new(block).unwrap(), 5);
    let (last, others) = solution.reports.split_last().unwrap();
    assert_eq!(last.outcome, Outcome::Diverged);
    assert!(
        others
            .iter()
            .all(|report| report.outcome == Outcome::Converged)
    );
    assert_eq!(values(&solution.value)[4], [0.0; 40]);
}

/// The first step makes the error in the norm of A less and b − A x fifty times as long.
#[test]
fn a_solution_that_is_worse_than_none_is_not_kept() {
    let operator = diagonal(&[1.0, 1e4], Structure::PositiveDefinite);
    let block = vectors(&[&[1.0, 0.01]], DType::F64);
    let hurried = Cg {
        iterations: 1,
        ..TIGHT
    };
    let inverse = hurried.sharing(&operator, 1).unwrap();
    let solution = inverse.solve(&block).unwrap();
    let report = solution.reports[0];
    assert_eq!(
        (report.outcome, report.residual, report.iterations),
        (Outcome::LimitReached, 1.0, 1)
    );
    assert_eq!(values(&solution.value), [[0.0; 2]]);
    // Nor one that is worse than the start.
    let start = vectors(&[&[0.5, 5e-7]], DType::F64);
    let solution = inverse.solve_from(&block, &start).unwrap();
    assert!(solution.reports[0].residual < 0.51, "{solution:?}");
    assert_eq!(values(&solution.value), values(&start));
}

#[test]
fn strong_axes_written_out_save_iterations() {
    let head = head_hessian(DType::F64);
    let damped = Damped::new(&head, 1e-3).unwrap();
    let block = scattered(6, 12);
    let exact = Direct.prepare(&damped).unwrap().solve(&block).unwrap();
    let plain = Cg {
        preconditioned: false,
        ..TIGHT
    };
    let with = Cg {
        preconditioned: true,
        ..TIGHT
    };
    let (plain, with) = (
        solved(&plain, &damped, &block, 1),
        solved(&with, &damped, &block, 1),
    );
    assert!(difference(&with.value, &exact.value) < 1e-9);
    assert!(most_iterations(&with) < most_iterations(&plain));
}

/// With strong axes a row is solved alike in whatever block it comes; without, rows share what they find.
#[test]
fn rows_share_where_no_strong_axes_are_known() {
    let head = head_hessian(DType::F64);
    let damped = Damped::new(&head, 1e-3).unwrap();
    let cg = Cg {
        preconditioned: true,
        ..TIGHT
    };
    let solved = |operator: &dyn LinearOperator| {
        let block = scattered(4, operator.size());
        let inverse = cg.prepare(operator).unwrap();
        let together = inverse.solve(&block).unwrap();
        let alone = inverse.solve(&block.narrow(1..2).unwrap()).unwrap();
        let row = together.value.narrow(1..2).unwrap();
        // To rounding: kernels may sum the rows of a block in another order than one alone.
        assert!(difference(&row, &alone.value) < 1e-9);
        (together.reports[1].iterations, alone.reports[0].iterations)
    };
    assert!(damped.principal_block(12 / 4).unwrap().is_some());
    let (together, alone) = solved(&damped);
    assert_eq!(together, alone);
    let (together, alone) = solved(&spread());
    assert!(together < alone, "{together} {alone}");
}

#[test]
fn a_good_start_saves_iterations_and_the_answer_serves_as_one() {
    let (operator, block) = (spread(), scattered(4, 40));
    let inverse = TIGHT.sharing(&operator, 1).unwrap();
    let cold = inverse.solve(&block).unwrap();
    let near = cold.value.scaled(&[1.0 + 1e-6; 4]).unwrap();
    let warm = inverse.solve_from(&block, &near).unwrap();
    assert!(most_iterations(&warm) < most_iterations(&cold));
    assert!(difference(&warm.value, &cold.value) < 1e-8);
    let again = inverse.solve_from(&block, &warm.value).unwrap();
    assert_eq!(most_iterations(&again), 0);
    // A start that is no help is left behind.
    let far = inverse
        .solve_from(&block, &scattered(4, 40).scaled(&[1e3; 4]).unwrap())
        .unwrap();
    assert!(difference(&far.value, &cold.value) < 1e-8);
}

#[test]
fn independent_rows_by_hand() {
    let gram = |rows: &[[f64; 3]]| {
        faer::Mat::from_fn(rows.len(), rows.len(), |i, j| {
            (0..3)
                .map(|axis| rows[i][axis] * rows[j][axis])
                .sum::<f64>()
        })
    };
    let chosen = |rows: &[[f64; 3]]| block::independent_rows(&gram(rows), 1e-12);
    assert_eq!(
        chosen(&[[1.0, 0.0, 0.0], [0.0, 1e-9, 0.0], [0.0, 0.0, 1e9]]),
        [0, 1, 2]
    );
    assert_eq!(
        chosen(&[[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]),
        [0]
    );
    assert_eq!(
        chosen(&[
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [1.0, 1.0, 0.0],
            [0.0, 0.0, 1.0]
        ])
        .len(),
        3
    );
    assert_eq!(chosen(&[[f64::NAN, 0.0, 0.0], [0.0, 1.0, 0.0]]).len(), 0);
    assert_eq!(chosen(&[[0.0; 3]]).len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any definite operator, any right-hand sides of any rank: the block's answers are the factorisation's.
    #[test]
    fn blocks_agree_with_a_factorisation(
        logarithms in prop::collection::vec(-2.0f64..2.0, 3..14),
        mixture in prop::collection::vec(-3i8..4, 2..40),
        rank in 1usize..5,
    ) {
        let size = logarithms.len();
        let spectrum: Vec<f64> = logarithms.iter().map(|power| 10f64.powf(*power)).collect();
        let operator = rotated(&spectrum, Structure::PositiveDefinite);
        let sources = scattered(rank, size);
        let count = mixture.len().div_ceil(rank);
        let weights = faer::Mat::from_fn(count, rank, |row, column| {
            f64::from(mixture.get(row * rank + column).copied().unwrap_or(0))
        });
        let block = sources.combined(weights.as_ref()).unwrap();
        let exact = Direct.prepare(&operator).unwrap().solve(&block).unwrap();
        let solution = solved(&Cg { tolerance: 1e-9, ..TIGHT }, &operator, &block, SHARED);
        for report in &solution.reports {
            prop_assert_eq!(report.outcome, Outcome::Converged);
        }
        prop_assert!(difference(&solution.value, &exact.value) < 1e-4);
    }
}
