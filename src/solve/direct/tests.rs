//! Refinement row by row, and residuals by the matrix beside its factor.

use super::super::tests::{diagonal, values, vectors};
use super::*;
use crate::operator::{Dense, Structure, SymmetricMatrix};

/// With the factor of another matrix, whose inverse is nine tenths off along one axis and a hundredth along another.
#[test]
fn a_row_is_refined_whatever_becomes_of_the_others() {
    let operator = diagonal(&[1.0, 1.0, 1.0], Structure::PositiveDefinite);
    let other = diagonal(&[10.0, 1.01, 1.0], Structure::PositiveDefinite);
    let prepared = Prepared {
        operator: &operator,
        factor: Exact::Written(Factor::of(&other, true).unwrap()),
        tolerance: None,
    };
    let rows: [&[f64]; 3] = [&[2.0, 0.0, 0.0], &[0.0, 3.0, 0.0], &[0.0, 0.0, 4.0]];
    let together = prepared.solve(&vectors(&rows, DType::F64)).unwrap();
    let outcomes = together.reports.iter().map(|report| report.outcome);
    let expected = [Outcome::Stalled, Outcome::Direct, Outcome::Direct];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    // Both that are off once, and the one that a round helps, to a hundredth, four times more.
    assert_eq!(together.products, 3 + 2 + 4);
    // Left as the factor gave it.
    assert!((together.reports[0].residual - 0.9).abs() < 1e-12);
    for (row, found) in rows.into_iter().zip(values(&together.value)) {
        let alone = prepared.solve(&vectors(&[row], DType::F64)).unwrap();
        let alone = values(&alone.value).concat();
        let near = |(found, alone): (&f64, &f64)| (found - alone).abs() < 1e-10;
        assert!(found.iter().zip(&alone).all(near), "{found:?} {alone:?}");
    }
}

/// A mean over many images as far as it says itself, whose matrix is off by `off` along the first axis.
struct OffInWriting {
    exact: Dense,
    written: Dense,
}

impl OffInWriting {
    fn new(off: f64) -> Self {
        let of = |first: f64| diagonal(&[first, 3.0, 4.0], Structure::PositiveDefinite);
        Self {
            exact: of(2.0),
            written: of(2.0 * (1.0 + off)),
        }
    }
}

impl LinearOperator for OffInWriting {
    fn size(&self) -> usize {
        self.exact.size()
    }

    fn structure(&self) -> Structure {
        self.exact.structure()
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        self.exact.apply(vectors)
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn dense(&self, dtype: DType) -> Result<SymmetricMatrix> {
        self.written.dense(dtype)
    }

    fn diagonal(&self) -> Result<Vec<f64>> {
        self.exact.diagonal()
    }

    fn image_count(&self) -> usize {
        1000
    }
}

#[test]
fn residuals_by_the_matrix_hold_what_it_is_off() {
    let rows: Vec<Vec<f64>> = (0..40)
        .map(|row| vec![1.0, 0.1 * f64::from(row), 2.0])
        .collect();
    let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
    for (off, tolerance, by_matrix) in [
        (1e-5, None, true),
        (1e-2, None, false),
        // What the matrix is off by is too much beside what is asked for.
        (1e-5, Some(2e-5), false),
    ] {
        let operator = OffInWriting::new(off);
        let settings = DirectSettings {
            tolerance,
            many: true,
        };
        let inverse = settings.prepare(&operator).unwrap();
        let block = vectors(&rows, DType::F32);
        let solution = inverse.solve(&block).unwrap();
        let norms = block.norms().unwrap();
        let (_, exact) = true_residual(&operator, &solution.value, &block, &norms).unwrap();
        for (report, exact) in solution.reports.iter().zip(exact) {
            assert_eq!(report.outcome, Outcome::Direct);
            assert!(report.residual > exact - 1e-7, "{report:?} {exact:e}");
            assert!(report.residual < exact + 2e-5, "{report:?} {exact:e}");
        }
        assert_eq!(solution.products == CHECKED, by_matrix, "{off}");
        // A few rows are the operator's.
        let few = inverse.solve(&block.narrow(0..5).unwrap()).unwrap();
        assert_eq!(few.products == 5, off < 1e-3, "{off}");
    }
}

/// With the inverse of another matrix, after which the residual is 1.5 times what there was.
#[test]
fn a_solution_that_is_worse_than_none_diverged() {
    let operator = diagonal(&[1.0, 1.0], Structure::PositiveDefinite);
    let other = diagonal(&[0.4, 1.0], Structure::PositiveDefinite);
    let prepared = Prepared {
        operator: &operator,
        factor: Exact::Written(Factor::of(&other, true).unwrap()),
        tolerance: None,
    };
    // Of the last one the right-hand side is rounded already.
    let block = vectors(&[&[2.0, 0.0], &[0.0, 3.0], &[1e-36, 0.0]], DType::F32);
    let solution = prepared.solve(&block).unwrap();
    let outcomes = solution.reports.iter().map(|report| report.outcome);
    let expected = [Outcome::Diverged, Outcome::Direct, Outcome::Stalled];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    assert_eq!(values(&solution.value)[0], [0.0, 0.0]);
}

/// With the inverse of another matrix: every round leaves a hundredth of the first row's residual, and no round helps the second.
#[test]
fn a_tolerance_is_refined_to_and_judged_by() {
    let operator = diagonal(&[1.0, 1.0], Structure::PositiveDefinite);
    let other = diagonal(&[1.01, 10.0], Structure::PositiveDefinite);
    let block = vectors(&[&[2.0, 0.0], &[0.0, 2.0]], DType::F32);
    let solved = |tolerance: Option<f64>| {
        let prepared = Prepared {
            operator: &operator,
            factor: Exact::Written(Factor::of(&other, true).unwrap()),
            tolerance,
        };
        let reports = prepared.solve(&block).unwrap().reports;
        assert_eq!(reports[0].outcome, Outcome::Direct);
        (reports[0].residual, reports[1].outcome)
    };
    let (usual, second) = solved(None);
    assert!(usual > 5e-5 && second == Outcome::Stalled, "{usual:e}");
    let (finer, second) = solved(Some(1e-5));
    assert!(finer < 1e-5 && second == Outcome::Stalled, "{finer:e}");
    assert_eq!(solved(Some(0.95)), (usual, Outcome::Direct));
}
