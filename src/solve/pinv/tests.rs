use super::super::tests::{
    by_eigenpairs, diagonal, distance, head_hessian, refusal, rotated, values, vectors, waves,
};
use super::*;
use crate::operator::Structure;
use crate::solve::Outcome;

fn note(inverse: &dyn Inverse, name: &str) -> f64 {
    let notes = inverse.notes();
    notes.iter().find(|(found, _)| *found == name).unwrap().1
}

/// ‖found − pinv‖ / ‖pinv‖ by the whole eigendecomposition, and the pairs kept.
fn error(operator: &dyn LinearOperator, rcond: f64, largest: f64, block: &Vectors) -> (f64, f64) {
    let inverse = Pinv { rcond }.prepare(operator).unwrap();
    assert!((note(&*inverse, "largest eigenvalue") / largest - 1.0).abs() < 1e-5);
    let in_precision = block.to_dtype(operator.dtype()).unwrap();
    let solution = inverse.solve(&in_precision).unwrap();
    for report in &solution.reports {
        assert_eq!(report.outcome, Outcome::Approximate);
    }
    let keep = |value: f64| match value.abs() >= rcond * largest {
        true => value.recip(),
        false => 0.0,
    };
    let expected = by_eigenpairs(operator, block, keep);
    (
        distance(&solution.value, &expected),
        note(&*inverse, "eigenpairs kept"),
    )
}

#[test]
fn it_is_the_truncated_inverse_of_a_head() {
    let hessian = head_hessian(DType::F64);
    let block = waves(4, hessian.size());
    let eigenvalues = {
        use ndarray_linalg::{Eigh, UPLO};
        let matrix = hessian.dense(DType::F64).unwrap().to_array().unwrap();
        matrix.eigh(UPLO::Lower).unwrap().0.to_vec()
    };
    let largest = eigenvalues[eigenvalues.len() - 1];
    for rcond in [5e-2, 0.3, 1e-3, 0.99] {
        let (error, kept) = error(&hessian, rcond, largest, &block);
        let expected = eigenvalues
            .iter()
            .filter(|value| **value >= rcond * largest);
        assert_eq!(kept, expected.count() as f64);
        assert!(error < 1e-9, "{rcond}: {error}");
    }
    let single = head_hessian(DType::F32);
    let (error, _) = error(&single, 5e-2, largest, &block);
    assert!(error < 1e-4, "{error}");
}

#[test]
fn multiple_eigenvalues_are_all_found() {
    let mut spectrum = vec![1.0, 0.6, 0.6, 0.6, 0.3, 0.2, 0.2];
    spectrum.extend((0..120).map(|i| 0.09 * f64::from(i) / 120.0));
    for structure in [Structure::PositiveSemidefinite, Structure::Symmetric] {
        let operator = rotated(&spectrum, structure);
        let (error, kept) = error(&operator, 0.1, 1.0, &waves(3, spectrum.len()));
        assert_eq!(kept, 7.0);
        assert!(error < 1e-9, "{error}");
    }
    // Nothing but one eigenvalue.
    let identity = diagonal(&[2.0; 9], Structure::PositiveDefinite);
    let (error, kept) = error(&identity, 0.5, 2.0, &waves(2, 9));
    assert!(kept == 9.0 && error < 1e-12, "{error}");
}

#[test]
fn a_wide_spectrum_takes_few_products() {
    // 22 eigenvalues above the threshold and a long tail, as in the paper's case.
    let spectrum: Vec<f64> = (0..600)
        .map(|i| 1.0 / (1.0 + 0.87 * f64::from(i)))
        .collect();
    let operator = diagonal(&spectrum, Structure::PositiveSemidefinite);
    let inverse = Pinv::default().prepare(&operator).unwrap();
    assert_eq!(note(&*inverse, "eigenpairs kept"), 22.0);
    assert!((note(&*inverse, "eigenvalue threshold") - 5e-2).abs() < 1e-14);
    let steps = note(&*inverse, "Lanczos steps");
    assert!(steps < 200.0, "{steps}");
}

#[test]
fn negative_eigenvalues_count_by_their_size() {
    let operator = rotated(&[2.0, -1.0, 0.5, -0.01, 0.001, 0.0], Structure::Symmetric);
    let (error, kept) = error(&operator, 5e-2, 2.0, &waves(2, 6));
    assert!(kept == 3.0 && error < 1e-9, "{kept} {error}");
}

/// 10^(-0.3 i), smaller and smaller: residuals small beside the largest eigenvalue are none beside the threshold.
#[test]
fn pairs_far_below_the_largest_are_as_good_as_the_precision_allows() {
    let spectrum: Vec<f64> = (0..60).map(|i| 10f64.powf(-0.3 * f64::from(i))).collect();
    let operator = rotated(&spectrum, Structure::PositiveSemidefinite);
    let (error, kept) = error(&operator, 3.5e-12, 1.0, &waves(3, 60));
    assert!(kept == 39.0 && error < 1e-2, "{kept} {error}");
}

/// What rounding makes of zeros is above such a threshold.
#[test]
fn a_threshold_below_rounding_is_raised_to_it() {
    let mut spectrum = vec![1.0, 1e-3, 1e-6, 1e-9];
    spectrum.resize(24, 0.0);
    let operator = rotated(&spectrum, Structure::PositiveSemidefinite);
    let pinv = Pinv { rcond: 1e-20 };
    let inverse = pinv.prepare(&operator).unwrap();
    assert_eq!(note(&*inverse, "eigenpairs kept"), 4.0);
    let least = pinv.effective_rcond(DType::F64);
    assert!((note(&*inverse, "eigenvalue threshold") / least - 1.0).abs() < 1e-9);
    assert!(least < 1e-14 && pinv.effective_rcond(DType::F32) > 1e-6);
    assert_eq!(Pinv::default().effective_rcond(DType::F32), 5e-2);
    let block = waves(3, 24);
    let keep = |value: f64| if value > 1e-12 { value.recip() } else { 0.0 };
    let expected = by_eigenpairs(&operator, &block, keep);
    let found = inverse.solve(&block).unwrap().value;
    assert!(distance(&found, &expected) < 1e-4);
}

#[test]
fn a_right_hand_side_that_is_not_finite_diverges_alone() {
    let operator = diagonal(&[2.0, 1.0, 1e-3], Structure::PositiveSemidefinite);
    let block = vectors(&[&[1.0, 1.0, 1.0], &[f64::NAN, 0.0, 0.0]], DType::F64);
    let inverse = Pinv::default().prepare(&operator).unwrap();
    let solution = inverse.solve(&block).unwrap();
    let outcomes: Vec<Outcome> = solution.reports.iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Outcome::Approximate, Outcome::Diverged]);
    let rows = values(&solution.value);
    for (found, expected) in rows[0].iter().zip([0.5, 1.0, 0.0]) {
        assert!((found - expected).abs() < 1e-12, "{rows:?}");
    }
    assert_eq!(rows[1], [0.0; 3]);
    // What is dropped is left in the residual.
    assert!((solution.reports[0].residual - 3f64.sqrt().recip()).abs() < 1e-12);
}

#[test]
fn settings_and_operators_it_cannot_use_are_refused() {
    let plain = diagonal(&[1.0, 2.0], Structure::PositiveDefinite);
    for rcond in [0.0, 1.0, -0.1, f64::NAN] {
        let message = refusal(&Pinv { rcond }, &plain);
        assert!(message.starts_with("--rcond: ") && message.contains("between 0 and 1"));
    }
    let zero = diagonal(&[0.0; 4], Structure::PositiveSemidefinite);
    assert!(refusal(&Pinv::default(), &zero).starts_with("--solver: the curvature is zero"));
    let wrong = Pinv::default().prepare(&plain).unwrap().solve(&waves(1, 5));
    let message = wrong.unwrap_err().to_string();
    assert!(message.contains("expected 2, found 5"), "{message}");
}
