//! Every solver against known inverses, and every way a solve can end.

use super::*;
use crate::derivative::head::{HeadCoordinates, HeadInputs, SoftmaxHead};
use crate::operator::{Damped, Dense, HeadHessian, Structure};
use candle_core::{DType, Device, Tensor};
use ndarray::{Array1, Array2};

pub(super) fn diagonal(values: &[f64], structure: Structure) -> Dense {
    Dense::new(Array2::from_diag(&Array1::from(values.to_vec())), structure).unwrap()
}

pub(super) fn vectors(rows: &[&[f64]], dtype: DType) -> Vectors {
    let values =
        Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu).unwrap();
    Vectors::new(values.to_dtype(dtype).unwrap()).unwrap()
}

pub(super) fn values(vectors: &Vectors) -> Vec<Vec<f64>> {
    vectors
        .tensor()
        .to_dtype(DType::F64)
        .unwrap()
        .to_vec2()
        .unwrap()
}

/// A well-conditioned symmetric matrix that is not diagonal.
pub(super) fn definite(size: usize) -> Array2<f64> {
    Array2::from_shape_fn((size, size), |(i, j)| {
        let off = (0.7 * (i + j) as f64 + 0.1 * (i * j) as f64).sin() / size as f64;
        if i == j { 2.0 + i as f64 + off } else { off }
    })
}

/// The Hessian of a head on made-up images, in coordinates: p = 2·(5 + 1) = 12.
pub(super) fn head_hessian(dtype: DType) -> HeadHessian {
    let features: Vec<f64> = (0..200)
        .map(|i| (0.77 * i as f64 + 0.013 * (i * i) as f64).sin() * (1.0 + (i % 5) as f64))
        .collect();
    let features = Tensor::from_vec(features, (40, 5), &Device::Cpu).unwrap();
    let labels: Vec<usize> = (0..40).map(|row| (row * row) % 3).collect();
    let inputs = HeadInputs::new(&features, &labels, dtype).unwrap();
    let weights: Vec<f64> = (0..18).map(|i| 0.4 * (i as f64).cos()).collect();
    let weights = Tensor::from_vec(weights, (3, 6), &Device::Cpu).unwrap();
    let head = SoftmaxHead::from_parameters(&weights.to_dtype(dtype).unwrap()).unwrap();
    let outputs = head.outputs(&inputs).unwrap();
    let coordinates = HeadCoordinates::of(&inputs, &outputs).unwrap();
    let rotated = coordinates.inputs(&inputs).unwrap();
    HeadHessian::in_coordinates(&coordinates, &rotated, &outputs, 0.0).unwrap()
}

/// `count` made-up right-hand sides of length `size`.
pub(super) fn waves(count: usize, size: usize) -> Vectors {
    let values: Vec<f64> = (0..count * size)
        .map(|i| (1.3 * i as f64 + 0.2).sin())
        .collect();
    Vectors::new(Tensor::from_vec(values, (count, size), &Device::Cpu).unwrap()).unwrap()
}

/// Q diag(values) Qᵀ with a made-up orthogonal Q: any spectrum, multiple eigenvalues included.
pub(super) fn rotated(values: &[f64], structure: Structure) -> Dense {
    let size = values.len();
    let mirror = |matrix: Array2<f64>, seed: f64| {
        let axis: Array1<f64> = (0..size).map(|i| (seed * (i + 1) as f64).cos()).collect();
        let factor = 2.0 / axis.dot(&axis);
        let column = axis.clone().insert_axis(ndarray::Axis(1));
        let reflection = Array2::eye(size) - factor * column.dot(&column.t());
        reflection.dot(&matrix).dot(&reflection)
    };
    let matrix = Array2::from_diag(&Array1::from(values.to_vec()));
    let matrix = mirror(mirror(matrix, 1.1), 2.3);
    let matrix = (&matrix + &matrix.t()) / 2.0;
    Dense::new(matrix, structure).unwrap()
}

/// Σ f(λ) u uᵀ b over all eigenpairs of the operator, for every row b.
pub(super) fn by_eigenpairs(
    operator: &dyn LinearOperator,
    block: &Vectors,
    f: impl Fn(f64) -> f64,
) -> Array2<f64> {
    use ndarray_linalg::{Eigh, UPLO};
    let matrix = operator.dense(DType::F64).unwrap().to_array().unwrap();
    let (eigenvalues, vectors) = matrix.eigh(UPLO::Lower).unwrap();
    let inverse = vectors
        .dot(&Array2::from_diag(&eigenvalues.mapv(f)))
        .dot(&vectors.t());
    array(block).dot(&inverse)
}

/// The rows as an array.
pub(super) fn array(vectors: &Vectors) -> Array2<f64> {
    Array2::from_shape_vec((vectors.count(), vectors.size()), values(vectors).concat()).unwrap()
}

/// ‖a − b‖ / ‖b‖ over whole blocks.
pub(super) fn distance(found: &Vectors, expected: &Array2<f64>) -> f64 {
    let difference = array(found) - expected;
    (difference.mapv(|x| x * x).sum() / expected.mapv(|x| x * x).sum()).sqrt()
}

/// The message of a refused preparation.
pub(super) fn refusal(solver: &dyn Solver, operator: &dyn LinearOperator) -> String {
    let message = solver.prepare(operator).err().unwrap().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

const CG: Cg = Cg {
    tolerance: 1e-12,
    iterations: 200,
    preconditioned: false,
};

#[test]
fn direct_and_cg_agree_with_the_product_they_invert() {
    let operator = Dense::new(definite(30), Structure::PositiveDefinite).unwrap();
    let truth: Vec<f64> = (0..90).map(|i| (1.9 * i as f64).cos()).collect();
    let truth = Vectors::new(Tensor::from_vec(truth, (3, 30), &Device::Cpu).unwrap()).unwrap();
    let right_hand_sides = operator.apply(&truth).unwrap();
    for (solver, expected) in [
        (&Direct as &dyn Solver, Outcome::Direct),
        (&CG, Outcome::Converged),
    ] {
        let solution = solver
            .prepare(&operator)
            .unwrap()
            .solve(&right_hand_sides)
            .unwrap();
        let error = solution
            .value
            .add_scaled(&[-1.0; 3], &truth)
            .unwrap()
            .norms()
            .unwrap();
        assert!(error.iter().all(|error| *error < 1e-11), "{error:?}");
        for report in solution.reports {
            assert!(
                report.outcome == expected && report.residual <= 1e-12,
                "{report:?}"
            );
        }
        assert!(solution.products >= 3);
    }
}

#[test]
fn each_row_stops_on_its_own() {
    let operator = diagonal(&[1.0, 2.0, 3.0, 4.0], Structure::PositiveDefinite);
    let block = vectors(
        &[
            &[0.0; 4],
            &[0.0, 6.0, 0.0, 0.0],
            &[1.0, 1.0, 1.0, 1.0],
            &[2.0, 0.0, 3.0, 0.0],
        ],
        DType::F64,
    );
    let solution = CG.prepare(&operator).unwrap().solve(&block).unwrap();
    let iterations: Vec<usize> = solution
        .reports
        .iter()
        .map(|report| report.iterations)
        .collect();
    // Three directions serve all rows: the third would take four of its own.
    assert_eq!(iterations, [0, 1, 2, 2]);
    assert!(
        solution
            .reports
            .iter()
            .all(|report| report.outcome == Outcome::Converged)
    );
    let expected = [
        [0.0; 4],
        [0.0, 3.0, 0.0, 0.0],
        [1.0, 0.5, 1.0 / 3.0, 0.25],
        [2.0, 0.0, 1.0, 0.0],
    ];
    for (row, expected) in values(&solution.value).iter().zip(expected) {
        assert!(
            row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{row:?}"
        );
    }
}

#[test]
fn a_row_solves_the_same_alone_and_in_a_block() {
    let operator = Dense::new(definite(12), Structure::PositiveDefinite).unwrap();
    let rows: Vec<Vec<f64>> = (0..5)
        .map(|row| {
            (0..12)
                .map(|i| ((row * 12 + i) as f64 * 0.37).sin())
                .collect()
        })
        .collect();
    let block = vectors(
        &rows.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        DType::F64,
    );
    let inverse = CG.prepare(&operator).unwrap();
    let together = values(&inverse.solve(&block).unwrap().value);
    for (position, row) in together.iter().enumerate() {
        let alone = values(
            &inverse
                .solve(&block.narrow(position..position + 1).unwrap())
                .unwrap()
                .value,
        );
        assert!(
            row.iter()
                .zip(&alone[0])
                .all(|(a, b)| (a - b).abs() < 1e-13)
        );
    }
}

#[test]
fn the_iteration_limit_is_an_outcome_with_its_true_residual() {
    let operator = Dense::new(definite(30), Structure::PositiveDefinite).unwrap();
    let block = vectors(&[&[1.0; 30]], DType::F64);
    let solution = Cg {
        tolerance: 1e-12,
        iterations: 3,
        preconditioned: false,
    }
    .prepare(&operator)
    .unwrap()
    .solve(&block)
    .unwrap();
    let report = solution.reports[0];
    assert_eq!(
        (report.outcome, report.iterations),
        (Outcome::LimitReached, 3)
    );
    let rest = block
        .add_scaled(&[-1.0], &operator.apply(&solution.value).unwrap())
        .unwrap()
        .norms()
        .unwrap()[0];
    assert!(
        (report.residual - rest / 30f64.sqrt()).abs() < 1e-14 && report.residual > 1e-6,
        "{report:?}"
    );
    assert!(report.outcome.remedy().contains("--iterations"));
}

#[test]
fn a_tolerance_below_rounding_is_reported_not_claimed() {
    let operator = diagonal(&[1.0, 7.0, 1e4, 3e4, 1e5], Structure::PositiveDefinite);
    let block = vectors(&[&[1.0, 0.3, 0.7, 0.9, 0.1]], DType::F32);
    let solution = Cg {
        tolerance: 1e-12,
        iterations: 500,
        preconditioned: false,
    }
    .prepare(&operator)
    .unwrap()
    .solve(&block)
    .unwrap();
    let report = solution.reports[0];
    assert_eq!(report.outcome, Outcome::Stalled);
    assert!(report.residual < 1e-4, "{report:?}");
    let remedy = report.outcome.remedy();
    assert!(
        remedy.contains("--precision f64 where it was f32"),
        "{remedy}"
    );
}

/// In f32, where nobody asked for a tolerance, as a factorisation's residual would be; a tolerance that was asked for is missed.
#[test]
fn what_rounding_leaves_is_accepted_where_no_tolerance_was_asked_for() {
    let operator = rotated(&[1.0, 7.0, 100.0, 1e3, 3e3], Structure::PositiveDefinite);
    let block = vectors(&[&[1.0, 0.3, 0.7, 0.9, 0.1]], DType::F32);
    for (tolerance, expected) in [(None, Outcome::AtRounding), (Some(1e-5), Outcome::Stalled)] {
        let settings = Settings {
            method: Method::Cg,
            tolerance,
            ..Settings::default()
        };
        let solver = settings.solver(DType::F32);
        let solution = solver.prepare(&operator).unwrap().solve(&block).unwrap();
        let report = solution.reports[0];
        assert_eq!(report.outcome, expected, "{report:?}");
        assert!(report.residual > 1e-5 && report.residual < 1e-3);
        assert!(report.outcome.is_success() == tolerance.is_none());
    }
}

#[test]
fn negative_curvature_is_found_and_the_other_rows_finish() {
    let operator = diagonal(&[1.0, 2.0, -1.0], Structure::Symmetric);
    let block = vectors(&[&[1.0, 1.0, 0.0], &[0.0, 0.0, 1.0]], DType::F64);
    let solution = CG.prepare(&operator).unwrap().solve(&block).unwrap();
    assert_eq!(solution.reports[0].outcome, Outcome::Converged);
    assert_eq!(solution.reports[1].outcome, Outcome::NegativeCurvature);
    assert_eq!(solution.reports[1].residual, 1.0);
    assert!(solution.reports[1].outcome.remedy().contains("--damping"));
}

#[test]
fn a_row_that_is_not_finite_diverges_alone_and_leaves_zeros() {
    let operator = diagonal(&[1.0, 2.0], Structure::PositiveDefinite);
    for broken in [f64::NAN, f64::INFINITY] {
        let block = vectors(&[&[1.0, 1.0], &[broken, 0.0]], DType::F64);
        for solver in [&Direct as &dyn Solver, &CG] {
            let solution = solver.prepare(&operator).unwrap().solve(&block).unwrap();
            assert!(solution.reports[0].outcome.is_success());
            assert_eq!(solution.reports[1].outcome, Outcome::Diverged);
            let rows = values(&solution.value);
            assert!((rows[0][0] - 1.0).abs() + (rows[0][1] - 0.5).abs() < 1e-14);
            assert_eq!(rows[1], [0.0, 0.0]);
        }
    }
}

#[test]
fn a_residual_that_grows_without_bound_is_divergence() {
    // Vouched for as symmetric but far from it: dᵀA d stays positive while the residual grows.
    let values_of = vec![2.0, 2.0, -2.0, -2.0, 3.0, 0.0, -9.0, 4.0, 5.0];
    let matrix = Array2::from_shape_vec((3, 3), values_of).unwrap();
    let operator = Dense::new(matrix, Structure::PositiveDefinite).unwrap();
    let block = vectors(&[&[1.0, 1.0, 1.0]], DType::F64);
    let solution = CG.prepare(&operator).unwrap().solve(&block).unwrap();
    assert_eq!(solution.reports[0].outcome, Outcome::Diverged);
    assert_eq!(values(&solution.value), [[0.0; 3]]);
}

#[test]
fn direct_refuses_what_is_not_positive_definite_and_names_the_remedy() {
    for matrix in [
        diagonal(&[1.0, -1.0], Structure::Symmetric),
        diagonal(&[1.0, 0.0], Structure::PositiveSemidefinite),
    ] {
        let error = Direct.prepare(&matrix).err().unwrap();
        assert!(matches!(error, Error::NoFactor(_)), "{error:?}");
        let message = error.to_string();
        assert!(
            message.starts_with("--damping: ") && message.ends_with("raise it"),
            "{message}"
        );
        assert!(Direct.prepare(&Damped::new(&matrix, 1.5).unwrap()).is_ok());
    }
}

/// Unless the matrix is vouched for as positive definite. In f32 elements are squares of what is rounded.
#[test]
fn what_rounding_leaves_of_a_zero_is_no_divisor() {
    let elements = [1.0, 1e-3, 1e-17];
    let singular = diagonal(&elements, Structure::PositiveSemidefinite);
    let message = refusal(&Ekfac, &singular);
    assert!(message.starts_with("--damping: element 2"), "{message}");
    let definite = diagonal(&elements, Structure::PositiveDefinite);
    let damped = Damped::new(&singular, 1e-17).unwrap();
    assert!(Ekfac.prepare(&definite).is_ok() && Ekfac.prepare(&damped).is_ok());
    for (dtype, zero, small) in [(DType::F32, 1e-11, 1e-9), (DType::F64, 1e-15, 1e-13)] {
        let first_zero =
            |element| super::diagonal::first_zero(&[1.0, element], &head_hessian(dtype));
        assert_eq!((first_zero(zero), first_zero(small)), (Some(1), None));
    }
}

#[test]
fn direct_solves_whatever_the_units_of_its_parameters_are() {
    let units: Vec<f64> = (0..8).map(|i| 10f64.powi(5 * (i % 5) - 10)).collect();
    let matrix = definite(8);
    let scaled = Array2::from_shape_fn((8, 8), |(i, j)| units[i] * matrix[[i, j]] * units[j]);
    let operator = Dense::new(scaled, Structure::PositiveDefinite).unwrap();
    let solution: Array1<f64> = (0..8).map(|i| 1.0 + f64::from(i)).collect();
    let right = matrix.dot(&solution);
    let right: Vec<f64> = units
        .iter()
        .zip(right)
        .map(|(unit, value)| unit * value)
        .collect();
    let found = Direct.prepare(&operator).unwrap();
    let found = found.solve(&vectors(&[&right], DType::F64)).unwrap();
    for (i, value) in values(&found.value)[0].iter().enumerate() {
        assert!(
            (value * units[i] - solution[i]).abs() < 1e-12,
            "{i}: {value:e}"
        );
    }
}

#[test]
fn the_undamped_head_is_singular_and_refused() {
    let features = Tensor::new(
        &[[0.3, -1.0], [1.2, 0.4], [-0.7, 0.9], [0.1, 0.2], [0.5, 2.0]],
        &Device::Cpu,
    )
    .unwrap();
    let inputs = HeadInputs::new(&features, &[0, 1, 1, 0, 1], DType::F64).unwrap();
    let head = SoftmaxHead::zeros(2, 2, DType::F64, &Device::Cpu).unwrap();
    let hessian = HeadHessian::new(&head, &inputs, 0.0).unwrap();
    assert!(
        Direct
            .prepare(&hessian)
            .err()
            .unwrap()
            .to_string()
            .contains("--damping")
    );
    assert!(
        Direct
            .prepare(&Damped::new(&hessian, 1e-6).unwrap())
            .is_ok()
    );
}

#[test]
fn a_method_refuses_settings_out_of_range_and_vectors_of_another_length() {
    let definite = diagonal(&[1.0, 2.0], Structure::PositiveDefinite);
    assert!(
        Cg {
            tolerance: 0.0,
            ..CG
        }
        .prepare(&definite)
        .err()
        .unwrap()
        .to_string()
        .contains("--tolerance")
    );
    assert!(
        Cg {
            iterations: 0,
            ..CG
        }
        .prepare(&definite)
        .err()
        .unwrap()
        .to_string()
        .contains("--iterations")
    );
    let wrong = vectors(&[&[1.0, 2.0, 3.0]], DType::F64);
    assert!(
        CG.prepare(&definite)
            .unwrap()
            .solve(&wrong)
            .unwrap_err()
            .to_string()
            .contains("expected 2, found 3")
    );
}

#[test]
fn newton_reaches_the_minimum_from_a_bad_start_and_refuses_what_has_none() {
    let features: Vec<f64> = (0..120).map(|i| 30.0 * (0.77 * i as f64).sin()).collect();
    let features = Tensor::from_vec(features, (40, 3), &Device::Cpu).unwrap();
    let labels: Vec<usize> = (0..40).map(|row| (row * row) % 3).collect();
    let inputs = HeadInputs::new(&features, &labels, DType::F64).unwrap();
    let start = || {
        let far: Vec<f64> = (0..12).map(|i| 5.0 * (i as f64).cos()).collect();
        SoftmaxHead::from_parameters(&Tensor::from_vec(far, (3, 4), &Device::Cpu).unwrap()).unwrap()
    };
    let fit = Newton::new(1e-3).fit(&inputs, start()).unwrap();
    let (best, gradient) = fit.head.objective(&inputs, 1e-3).unwrap();
    assert!(
        fit.gradient_norm < 1e-8
            && gradient
                .abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar::<f64>()
                .unwrap()
                < 1e-8
    );
    assert!(best < start().objective(&inputs, 1e-3).unwrap().0);
    assert!(
        Newton::new(0.0)
            .fit(&inputs, start())
            .unwrap_err()
            .to_string()
            .starts_with("--l2")
    );
    let hurried = Newton {
        steps: 1,
        ..Newton::new(1e-3)
    };
    assert!(
        hurried
            .fit(&inputs, start())
            .unwrap_err()
            .to_string()
            .contains("did not converge")
    );
}
