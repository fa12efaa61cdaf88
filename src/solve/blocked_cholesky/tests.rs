//! The blocked factor against its definition and the one on the host.

use super::*;
use crate::operator::{Dense, LinearOperator, Structure, SymmetricMatrix, Vectors};
use crate::solve::{Direct, Outcome, Solver};
use ndarray::Array2;

/// A symmetric positive definite matrix with eigenvalues from about 1 down to `least`, features with a mean.
fn definite(size: usize, least: f64) -> Array2<f64> {
    let wave = Array2::from_shape_fn((size, size + 7), |(i, j)| {
        0.3 + ((i * 31 + j * 17) as f64 * 0.37).sin() + ((i * j) as f64 * 0.11).cos()
    });
    wave.dot(&wave.t()) / size as f64 + least * Array2::<f64>::eye(size)
}

/// Block columns of the given widths; what does not count is NaN.
fn columns(matrix: &Array2<f64>, widths: &[usize], dtype: DType) -> BlockColumns {
    let size = matrix.nrows();
    let mut start = 0;
    let column = |&width: &usize| {
        let values: Vec<f64> = (start..size)
            .flat_map(|row| (start..start + width).map(move |column| (row, column)))
            .map(|(row, column)| {
                if column > row {
                    f64::NAN
                } else {
                    matrix[[row, column]]
                }
            })
            .collect();
        let shape = (size - start, width);
        start += width;
        let block = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        block.to_dtype(dtype).unwrap()
    };
    BlockColumns::new(widths.iter().map(column).collect())
}

fn solved(matrix: &Array2<f64>, widths: &[usize], dtype: DType) -> f64 {
    let size = matrix.nrows();
    let right = Array2::from_shape_fn((5, size), |(i, j)| ((i + 3 * j) as f64 * 0.7).sin());
    let factor = BlockedCholesky::of(columns(matrix, widths, dtype)).unwrap();
    let rows = Tensor::from_vec(
        right.clone().into_raw_vec_and_offset().0,
        (5, size),
        &Device::Cpu,
    );
    let rows = rows.unwrap().to_dtype(dtype).unwrap();
    let found = factor.unwrap().solve(&rows).unwrap();
    let found = found.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    let found = Array2::from_shape_vec((5, size), found.to_vec1::<f64>().unwrap()).unwrap();
    // The residual, relative to ‖A‖‖x‖.
    let residual = found.dot(matrix) - &right;
    let norm = |a: &Array2<f64>| a.iter().map(|x| x * x).sum::<f64>().sqrt();
    norm(&residual) / (norm(matrix) * norm(&found))
}

#[test]
fn solves_to_rounding_level_in_blocks_of_any_width() {
    let matrix = definite(700, 1e-3);
    for widths in [
        &[700][..],
        &[1, 699],
        &[350, 350],
        &[233, 234, 233],
        &[640, 60],
    ] {
        let (double, single) = (
            solved(&matrix, widths, DType::F64),
            solved(&matrix, widths, DType::F32),
        );
        assert!(double < 1e-15, "{widths:?}: {double:e}");
        assert!(single < 1e-6, "{widths:?}: {single:e}");
    }
    assert!(solved(&definite(1, 0.5), &[1], DType::F64) < 1e-15);
}

#[test]
fn the_pivots_are_those_of_the_factor_on_the_host() {
    let matrix = definite(400, 1e-2);
    let host = Mat::from_fn(400, 400, |i, j| matrix[[i, j]]);
    let host = host.llt(Side::Lower).unwrap();
    let factor = BlockedCholesky::of(columns(&matrix, &[350, 50], DType::F64));
    let factor = factor.unwrap().unwrap();
    for i in 0..400 {
        assert!(
            (factor.pivots[i] / host.L()[(i, i)] - 1.0).abs() < 1e-10,
            "{i}"
        );
        assert_eq!(factor.diagonal[i], matrix[[i, i]]);
    }
}

#[test]
fn a_matrix_that_is_not_positive_definite_has_no_factor() {
    for place in [0, 300, 399] {
        for bad in [-0.5, 0.0, f64::NAN] {
            let mut matrix = definite(400, 1e-2);
            matrix[[place, place]] = bad;
            for dtype in [DType::F32, DType::F64] {
                let factor = BlockedCholesky::of(columns(&matrix, &[330, 70], dtype));
                assert!(factor.unwrap().is_none(), "{place} {bad} {dtype:?}");
            }
        }
    }
}

/// A matrix that is written out as on a device.
struct InColumns(Dense);

impl LinearOperator for InColumns {
    fn size(&self) -> usize {
        self.0.size()
    }

    fn structure(&self) -> Structure {
        self.0.structure()
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        self.0.apply(vectors)
    }

    fn dtype(&self) -> DType {
        self.0.dtype()
    }

    fn dense(&self, dtype: DType) -> Result<SymmetricMatrix> {
        let matrix = self.0.dense(dtype)?.to_array()?;
        let widths = [self.size() / 3, self.size() - self.size() / 3];
        Ok(SymmetricMatrix::Columns(columns(&matrix, &widths, dtype)))
    }

    fn diagonal(&self) -> Result<Vec<f64>> {
        self.0.diagonal()
    }
}

#[test]
fn direct_refines_with_it_and_refuses_without_it() {
    let size = 60;
    let operator = |matrix| InColumns(Dense::new(matrix, Structure::PositiveDefinite).unwrap());
    let good = operator(definite(size, 1e-3));
    let values: Vec<f64> = (0..3 * size).map(|i| (i as f64 * 0.3).cos()).collect();
    let right = Vectors::from_rows(values, size).unwrap();
    let solution = Direct.prepare(&good).unwrap().solve(&right).unwrap();
    for report in &solution.reports {
        assert_eq!(report.outcome, Outcome::Direct);
        assert!(report.residual < 1e-11, "{report:?}");
    }
    // Rank 20 of 60, in f64 as in f32.
    let flat = Array2::from_shape_fn((size, 20), |(i, j)| ((i * 13 + j * 7) as f64).sin());
    let flat = operator(flat.dot(&flat.t()));
    let message = Direct.prepare(&flat).err().unwrap().to_string();
    assert!(message.contains("not positive definite"), "{message}");
}
