use super::super::tests::{array, diagonal, head_hessian, rotated};
use super::*;
use ndarray::Array2;

fn complete(operator: &dyn LinearOperator) -> (Lanczos<'_>, Ritz) {
    let mut process = Lanczos::new(operator, 3, None).unwrap();
    let (ritz, stop) = process.run(usize::MAX, |_, _| false).unwrap();
    assert_eq!(stop, Stop::Exhausted);
    (process, ritz)
}

/// ‖A u − θ u‖, row by row.
fn residuals(operator: &dyn LinearOperator, vectors: &Vectors, values: &[f64]) -> Vec<f64> {
    let back: Vec<f64> = values.iter().map(|value| -value).collect();
    let product = operator.apply(vectors).unwrap();
    let rest = product.add_scaled(&back, vectors).unwrap();
    rest.norms().unwrap()
}

#[test]
fn a_complete_process_gives_all_eigenpairs_multiple_and_zero_ones_too() {
    let spectrum = [-7.0, 5.0, 5.0, 5.0, 2.0, 1.0, 0.5, 0.0, 0.0, -0.25];
    let operators: [(&dyn LinearOperator, Option<Vec<f64>>); 3] = [
        (
            &diagonal(&spectrum, Structure::Symmetric),
            Some(spectrum.to_vec()),
        ),
        (
            &rotated(&spectrum, Structure::Symmetric),
            Some(spectrum.to_vec()),
        ),
        (&head_hessian(DType::F64), None),
    ];
    for (operator, expected) in operators {
        let (process, ritz) = complete(operator);
        let size = operator.size();
        assert_eq!(ritz.values.len(), size);
        if let Some(expected) = expected {
            let mut found = ritz.values.clone();
            let mut expected = expected;
            found.sort_by(f64::total_cmp);
            expected.sort_by(f64::total_cmp);
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-13;
            assert!(found.iter().zip(&expected).all(close), "{found:?}");
        }
        let all: Vec<usize> = (0..size).collect();
        let vectors = process.vectors(&ritz, &all).unwrap();
        let rest = residuals(operator, &vectors, &ritz.values);
        assert!(rest.iter().all(|rest| *rest < 1e-13), "{rest:?}");
        let gram = array(&vectors).dot(&array(&vectors).t());
        let off = (gram - Array2::<f64>::eye(size)).mapv(f64::abs);
        assert!(off.iter().all(|off| *off < 1e-13));
    }
}

#[test]
fn residual_bounds_are_the_residuals() {
    let spectrum: Vec<f64> = (1..=60).map(|i| 1.0 / f64::from(i)).collect();
    let operator = rotated(&spectrum, Structure::PositiveDefinite);
    let mut process = Lanczos::new(&operator, 0, None).unwrap();
    let (ritz, stop) = process.run(20, |_, _| false).unwrap();
    assert_eq!(
        (stop, process.steps(), ritz.values.len()),
        (Stop::Limit, 20, 20)
    );
    let all: Vec<usize> = (0..20).collect();
    let vectors = process.vectors(&ritz, &all).unwrap();
    let measured = residuals(&operator, &vectors, &ritz.values);
    for (bound, measured) in ritz.residuals.iter().zip(measured) {
        assert!((bound - measured).abs() < 1e-13, "{bound} {measured}");
    }
    assert!(ritz.residuals[0] < 1e-6 && ritz.residuals[10] > 1e-3);
    assert!(
        ritz.values
            .windows(2)
            .all(|pair| pair[0].abs() >= pair[1].abs())
    );
}

#[test]
fn a_locked_space_is_left_alone_down_to_nothing() {
    let operator = diagonal(&[4.0, 3.0, 2.0, 1.0], Structure::PositiveDefinite);
    let (process, ritz) = complete(&operator);
    for count in 1..=4 {
        let locked: Vec<usize> = (0..count).collect();
        let locked = process.vectors(&ritz, &locked).unwrap();
        let mut rest = Lanczos::new(&operator, 5, Some(&locked)).unwrap();
        let (rest, stop) = rest.run(10, |_, _| false).unwrap();
        assert_eq!(stop, Stop::Exhausted);
        assert_eq!(rest.values.len(), 4 - count);
        for (value, expected) in rest.values.iter().zip(&[3.0, 2.0, 1.0][count - 1..]) {
            assert!((value - expected).abs() < 1e-13);
        }
    }
}

#[test]
fn the_largest_eigenvalue_is_bracketed_in_both_precisions() {
    let mut spectrum: Vec<f64> = (0..300).map(|i| f64::from(i) / 300.0).collect();
    spectrum.push(3.0);
    let operator = rotated(&spectrum, Structure::PositiveSemidefinite);
    for seed in 0..3 {
        let found = largest_eigenvalue(&operator, seed).unwrap();
        assert!(
            found.value <= 3.0 + 1e-12 && found.upper >= 3.0 - 1e-12,
            "{found:?}"
        );
        assert!(
            found.upper < 3.3 && found.steps < LARGEST_STEPS,
            "{found:?}"
        );
        assert_eq!(found, largest_eigenvalue(&operator, seed).unwrap());
    }
    let single = largest_eigenvalue(&head_hessian(DType::F32), 0).unwrap();
    let double = largest_eigenvalue(&head_hessian(DType::F64), 0).unwrap();
    assert!(
        (single.value / double.value - 1.0).abs() < 1e-5,
        "{single:?} {double:?}"
    );
}

#[test]
fn the_bound_of_what_was_missed_holds_and_narrows() {
    // The largest eigenvalue stands clear; the bound must be above it from the first step on.
    let mut spectrum: Vec<f64> = (0..400).map(|i| f64::from(i) / 4000.0).collect();
    spectrum.push(1.0);
    for structure in [Structure::PositiveSemidefinite, Structure::Symmetric] {
        let operator = rotated(&spectrum, structure);
        let mut process = Lanczos::new(&operator, 1, None).unwrap();
        let mut last = f64::INFINITY;
        let (_, _) = process
            .run(80, |process, ritz| {
                last = process.missed_at_most(ritz);
                assert!(last >= 1.0 - 1e-12, "{last}");
                false
            })
            .unwrap();
        assert!(last < 1.1, "{last}");
    }
}

/// How often the largest Ritz value falls short by more than ε, over random starts, against the bound on that. The spectra
/// are hard ones: where the polynomial of the proof is largest, and one clear eigenvalue among equal ones.
#[test]
fn random_starts_fall_short_no_more_often_than_the_bound() {
    let (size, seeds) = (60usize, 500u64);
    for (steps, failure) in [(2, 0.5), (4, 0.3), (6, 0.1)] {
        let share = shortfall_for(size, steps, failure);
        let extremum = |j: usize| {
            let angle = PI * (j % steps) as f64 / (2.0 * steps as f64 - 1.0);
            (1.0 - share) * angle.sin().powi(2)
        };
        let hardest: Vec<f64> = (0..size)
            .map(|i| if i == 0 { 1.0 } else { extremum(i) })
            .collect();
        let mut flat = vec![1.0 - 1.5 * share; size];
        flat[0] = 1.0;
        for spectrum in [hardest, flat] {
            let operator = diagonal(&spectrum, Structure::PositiveSemidefinite);
            let short = (0..seeds).filter(|&seed| {
                let mut process = Lanczos::new(&operator, seed, None).unwrap();
                let (ritz, _) = process.run(steps, |_, _| false).unwrap();
                ritz.largest() < 1.0 - share
            });
            let found = short.count() as f64 / seeds as f64;
            let scatter = 4.0 * (failure / seeds as f64).sqrt();
            assert!(
                found <= failure + scatter,
                "{steps} steps: {found} of {failure}"
            );
        }
    }
}

/// An eigenvalue barely above a dense band, which the estimates do not reach: the bound is above it for all seeds.
#[test]
fn the_bound_of_the_largest_eigenvalue_is_above_it() {
    let mut spectrum: Vec<f64> = (0..900).map(|i| 1.0 - f64::from(i) / 2e4).collect();
    spectrum.push(1.0002);
    let operator = diagonal(&spectrum, Structure::PositiveSemidefinite);
    let mut below = 0;
    for seed in 0..20 {
        let found = largest_eigenvalue(&operator, seed).unwrap();
        assert!(found.upper >= 1.0002 && found.upper <= 1.12, "{found:?}");
        below += usize::from(found.value < 1.0001);
    }
    assert!(
        below > 0,
        "the estimates themselves fall short of this eigenvalue"
    );
}

#[test]
fn what_has_no_eigenvalues_to_find_is_refused_in_one_line() {
    let broken = diagonal(&[1.0, f64::NAN], Structure::Symmetric);
    let message = largest_eigenvalue(&broken, 0).unwrap_err().to_string();
    assert!(
        message.contains("not a finite number at product 1"),
        "{message}"
    );
    let zero = diagonal(&[0.0; 5], Structure::PositiveSemidefinite);
    assert_eq!(largest_eigenvalue(&zero, 0).unwrap().upper, 0.0);
}
