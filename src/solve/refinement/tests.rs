use super::*;
use crate::operator::{Damped, Dense, HeadHessian, Structure};
use crate::solve::tests::{head_hessian, values, vectors, waves};
use crate::solve::{Cg, Direct, Solver};
use ndarray::{Array2, Axis};
use ndarray_linalg::{Eigh, UPLO};

const DAMPING: f64 = 0.1;

fn damped(hessian: &HeadHessian) -> (Damped<'_>, Array2<f64>) {
    let operator = Damped::new(hessian, DAMPING).unwrap();
    let matrix = operator.dense(DType::F64).unwrap().to_array().unwrap();
    (operator, matrix)
}

fn definite(matrix: Array2<f64>) -> Dense {
    Dense::new(matrix, Structure::PositiveDefinite).unwrap()
}

fn settings(method: Method, tolerance: Option<f64>) -> Settings {
    Settings {
        method,
        tolerance,
        ..Settings::default()
    }
}

fn outcomes(bounded: &Bounded) -> Vec<Outcome> {
    (bounded.reports.iter())
        .map(|report| report.outcome)
        .collect()
}

/// A factor that is off by 1e-5, as one in f32 may be.
#[test]
fn a_direct_solve_is_one_when_its_residual_in_f64_says_so() {
    let hessian = head_hessian(DType::F64);
    let (operator, matrix) = damped(&hessian);
    let near = definite(matrix * (1.0 + 1e-5));
    let inverse = Direct.prepare(&near).unwrap();
    let solved_by = (&settings(Method::Direct, None), DType::F64);
    let refinement = Refinement::new(&operator, &*inverse, solved_by, DAMPING).unwrap();
    let block = waves(3, operator.size());
    let mut bounded = refinement.solve(&block).unwrap();
    assert_eq!(outcomes(&bounded), [Outcome::Stalled; 3]);
    assert!(bounded.is_stalled());
    assert!(refinement.improve(&block, &mut bounded).unwrap());
    assert_eq!(outcomes(&bounded), [Outcome::Direct; 3]);
    assert!(!bounded.is_stalled());
    // A tolerance that was asked for is what counts.
    let solved_by = (&settings(Method::Direct, Some(1e-4)), DType::F64);
    let refinement = Refinement::new(&operator, &*inverse, solved_by, DAMPING).unwrap();
    let bounded = refinement.solve(&block).unwrap();
    assert_eq!(outcomes(&bounded), [Outcome::Direct; 3]);
}

/// Iterations in f32 stall above the tolerance; the sum of two solves does not.
#[test]
fn a_tolerance_below_that_of_f32_is_reached_by_refinement() {
    let hessian = head_hessian(DType::F64);
    let (operator, matrix) = damped(&hessian);
    let same = definite(matrix);
    let cg = Cg {
        tolerance: 1e-12,
        iterations: 500,
        preconditioned: false,
    };
    let inverse = cg.prepare(&same).unwrap();
    for (tolerance, expected) in [(Some(1e-10), Outcome::Stalled), (None, Outcome::Converged)] {
        let solved_by = (&settings(Method::Cg, tolerance), DType::F32);
        let refinement = Refinement::new(&operator, &*inverse, solved_by, DAMPING).unwrap();
        let block = waves(1, operator.size());
        let mut bounded = refinement.solve(&block).unwrap();
        assert_eq!(outcomes(&bounded), [expected], "{tolerance:?}");
        refinement.improve(&block, &mut bounded).unwrap();
        assert_eq!(outcomes(&bounded), [Outcome::Converged]);
    }
}

/// An inverse that is 2.5 times A⁻¹ along one axis makes the residual there 1.5 times as large with every round.
#[test]
fn a_row_that_a_round_makes_worse_stays_as_it_was() {
    let hessian = head_hessian(DType::F64);
    let (operator, matrix) = damped(&hessian);
    let (eigenvalues, axes) = matrix.eigh(UPLO::Lower).unwrap();
    let part = |at: usize| {
        let axis = axes.column(at).to_owned().insert_axis(Axis(1));
        eigenvalues[at] * axis.dot(&axis.t())
    };
    let wrong = definite(matrix - 0.6 * part(3) + 0.01 * part(7));
    let inverse = Direct.prepare(&wrong).unwrap();
    let solved_by = (&settings(Method::Direct, None), DType::F64);
    let refinement = Refinement::new(&operator, &*inverse, solved_by, DAMPING).unwrap();
    let [worse, better] = [3, 7].map(|at| axes.column(at).to_vec());
    let block = vectors(&[&worse, &better], DType::F64);
    let mut bounded = refinement.solve(&block).unwrap();
    let first = values(&bounded.value);
    assert!((bounded.reports[0].residual - 1.5).abs() < 1e-9);
    assert!((bounded.reports[1].residual - 0.01 / 1.01).abs() < 1e-9);
    refinement.improve(&block, &mut bounded).unwrap();
    let second = values(&bounded.value);
    assert_eq!(first[0], second[0]);
    assert!((bounded.reports[0].residual - 1.5).abs() < 1e-9);
    assert_eq!(bounded.reports[0].outcome, Outcome::Stalled);
    assert!((bounded.reports[1].residual - (0.01f64 / 1.01).powi(2)).abs() < 1e-9);
}
