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
    /// No rows, another number of labels, or a row with a value that is not finite or too large for the precision.
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
        Ok(Self {
            rows: converted(&features, dtype)?.with_constant()?,
            labels: labels.to_vec(),
        })
    }

    /// The rows at `positions`, in memory.
    ///
    /// # Errors
    /// A position beyond the rows; a file that cannot be read.
    pub(crate) fn at(&self, positions: &[usize]) -> Result<Self> {
        Ok(Self {
            rows: self.rows.part(positions)?,
            labels: positions.iter().map(|&at| self.labels[at]).collect(),
        })
    }

    /// The same in another precision.
    ///
    /// # Errors
    /// A row with a value that is too large for it, or a tensor operation failed.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let has_room = dtype == DType::F64 || dtype == self.rows.dtype();
        let rows = match has_room {
            true => self.rows.to_dtype(dtype)?,
            false => converted(&self.rows, dtype)?,
        };
        Ok(Self {
            rows,
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

/// The rows in another precision, all finite there.
fn converted(rows: &Rows, dtype: DType) -> Result<Rows> {
    let converted = rows.to_dtype(dtype)?;
    for step in rows.steps() {
        let start = step.start;
        let Some(place) = first_row_not_finite(&converted.chunk(step)?)? else {
            continue;
        };
        let row = start + place;
        let name = rows.name(row);
        let features = match rows.file() {
            Some(file) => format!("{}: features", file.display()),
            None => "features".to_owned(),
        };
        return Err(match first_row_not_finite(&rows.chunk(row..row + 1)?)? {
            Some(_) => {
                let remedy = "remove that row or compute its features again";
                Error::non_finite(features, name, remedy)
            }
            None => Error::beyond_f32(format!("{features}: {name}")),
        });
    }
    Ok(converted)
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use std::path::Path;

    #[test]
    fn a_number_that_f32_has_no_room_for_names_its_row_and_the_precision() {
        let features = Tensor::new(&[[0.0, 1.0], [1e39, 1.0]], &Device::Cpu).unwrap();
        let double = HeadInputs::new(&features, &[0, 1], DType::F64).unwrap();
        let of_file = Rows::from(&features).of_file(Path::new("train.npz"));
        let double_of_file = HeadInputs::new(&of_file, &[0, 1], DType::F64).unwrap();
        let part = of_file.part(&[0, 1]).unwrap().part(&[1]).unwrap();
        let part = HeadInputs::new(&part, &[0], DType::F64).unwrap();
        for (refused, file) in [
            (part.to_dtype(DType::F32), "train.npz: "),
            (HeadInputs::new(&features, &[0, 1], DType::F32), ""),
            (double.to_dtype(DType::F32), ""),
            (
                HeadInputs::new(&of_file, &[0, 1], DType::F32),
                "train.npz: ",
            ),
            (double_of_file.to_dtype(DType::F32), "train.npz: "),
        ] {
            let expected = "features: row 1: expected numbers of at most 3.4e38, as f32 has, found a larger one; add --precision f64";
            assert_eq!(
                refused.unwrap_err().to_string(),
                format!("{file}{expected}")
            );
        }
    }
}
