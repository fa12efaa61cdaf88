//! Features as the head sees them: a constant 1 appended for the bias, labels beside them, everything checked once.

use crate::data::Rows;
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// Labelled feature vectors with a constant 1 appended, `[n, d + 1]`.
#[derive(Debug, Clone)]
pub struct HeadInputs {
    rows: Rows,
    labels: Vec<usize>,
}

impl HeadInputs {
    /// From `[n, d]` features, a tensor or rows, and n labels, in the given precision.
    ///
    /// # Errors
    /// No rows, another number of labels, or a row with a value that is not finite.
    pub fn new<T>(features: &T, labels: &[usize], dtype: DType) -> Result<Self>
    where
        Rows: for<'a> From<&'a T>,
    {
        let features = Rows::from(features);
        let dims = features.dims();
        let &[count, columns] = &dims[..] else {
            let found = format!("{dims:?}");
            return Err(Error::mismatch(
                "features: shape",
                "[n, d]",
                found,
                "give one row for each image",
            ));
        };
        if count == 0 || columns == 0 {
            let found = format!("{count} × {columns}");
            return Err(Error::mismatch(
                "features",
                "at least one image and one feature",
                found,
                "check the file",
            ));
        }
        if labels.len() != count {
            return Err(Error::mismatch(
                "features: labels",
                count,
                labels.len(),
                "give one label for each row",
            ));
        }
        for step in features.steps() {
            let start = step.start;
            if let Some(row) = first_row_not_finite(&features.chunk(step)?)? {
                return Err(Error::NonFinite {
                    what: "features".into(),
                    place: format!("row {}", start + row),
                    remedy: "remove that row or compute its features again".into(),
                });
            }
        }
        Ok(Self {
            rows: features.to_dtype(dtype)?.with_constant()?,
            labels: labels.to_vec(),
        })
    }

    /// The same in another precision.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            rows: self.rows.to_dtype(dtype)?,
            labels: self.labels.clone(),
        })
    }

    /// `[n, d + 1]`, the last column 1.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// n labels.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// n.
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// d.
    pub fn feature_count(&self) -> usize {
        self.rows.columns() - 1
    }
}

/// The first row of a matrix that holds NaN or an infinity.
pub(super) fn first_row_not_finite(matrix: &Tensor) -> Result<Option<usize>> {
    // 0·x is 0 for every finite x and NaN for all others, and NaN survives the sum.
    let sums = (matrix * 0.0)?
        .sum(1)?
        .to_dtype(DType::F64)?
        .to_vec1::<f64>()?;
    Ok(sums.iter().position(|sum| *sum != 0.0))
}
