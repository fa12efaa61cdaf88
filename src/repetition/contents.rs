//! A file's values by columns: those of a table, the one of an array, the tensors of a weight file.

use crate::artefact::read_parquet;
use crate::data::{Fault, numbers_of_file};
use crate::{Error, Result};
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use candle_core::{DType, Device};
use std::path::Path;

const AGAIN: &str = "run the command again";

/// What a file holds.
pub(super) enum Contents {
    /// Named values.
    Columns(Vec<Column>),
    /// Something without values of its own: a picture, a page.
    Other,
}

pub(super) struct Column {
    pub(super) name: String,
    /// `[rows]` of a table's.
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
}

/// In the order of the file; an absent number is NaN, an absent text empty.
pub(super) enum Values {
    Numbers(Vec<f64>),
    Text(Vec<String>),
}

/// Reads a file by what its name says it is.
pub(super) fn columns(path: &Path) -> Result<Contents> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    let columns = match ending {
        Some("csv") => of_csv(path)?,
        Some("parquet") => of_parquet(path)?,
        Some("npy") => of_array(path)?,
        Some("safetensors") => of_weights(path)?,
        _ => return Ok(Contents::Other),
    };
    Ok(Contents::Columns(columns))
}

fn damaged(path: &Path, expected: &'static str) -> impl Fn(String) -> Error {
    move |reason| Error::format(path, "content", expected, reason, AGAIN)
}

fn of_csv(path: &Path) -> Result<Vec<Column>> {
    let damaged = damaged(path, "a table of comma-separated values");
    let failed = |reason: csv::Error| damaged(reason.to_string());
    let mut reader = csv::Reader::from_path(path).map_err(failed)?;
    let names = reader.headers().map_err(failed)?.clone();
    let mut texts = vec![Vec::new(); names.len()];
    for row in reader.records() {
        let row = row.map_err(failed)?;
        for (column, field) in texts.iter_mut().zip(&row) {
            column.push(field.to_owned());
        }
    }
    let column = |(name, texts): (&str, Vec<String>)| Column {
        name: name.to_owned(),
        shape: vec![texts.len()],
        values: Values::Text(texts),
    };
    Ok(names.iter().zip(texts).map(column).collect())
}

fn of_parquet(path: &Path) -> Result<Vec<Column>> {
    let damaged = damaged(path, "a Parquet table");
    let table = read_parquet(path, &damaged)?;
    let schema = table.batch.schema();
    let column = |(field, values): (&arrow::datatypes::FieldRef, &arrow::array::ArrayRef)| {
        let numeric = values.data_type().is_numeric();
        let wanted = if numeric {
            DataType::Float64
        } else {
            DataType::Utf8
        };
        let values = cast(values, &wanted).map_err(|reason| damaged(reason.to_string()))?;
        let values = match numeric {
            true => {
                let numbers = values.as_primitive::<Float64Type>().iter();
                Values::Numbers(numbers.map(|number| number.unwrap_or(f64::NAN)).collect())
            }
            false => {
                let texts = values.as_string::<i32>().iter();
                Values::Text(
                    texts
                        .map(|text| text.unwrap_or_default().to_owned())
                        .collect(),
                )
            }
        };
        Ok(Column {
            name: field.name().clone(),
            shape: vec![table.batch.num_rows()],
            values,
        })
    };
    (schema.fields().iter().zip(table.batch.columns()))
        .map(column)
        .collect()
}

fn of_array(path: &Path) -> Result<Vec<Column>> {
    let numbers = numbers_of_file(path)?.map_err(|fault| {
        let (Fault::Type(found) | Fault::Damaged(found)) = fault;
        damaged(path, "a whole .npy array")(found)
    })?;
    Ok(vec![Column {
        name: String::new(),
        shape: numbers.shape,
        values: Values::Numbers(numbers.values),
    }])
}

fn of_weights(path: &Path) -> Result<Vec<Column>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)
        .map_err(|reason| damaged(path, "a safetensors file")(reason.to_string()))?;
    let column = |(name, tensor): (String, candle_core::Tensor)| {
        let numbers = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Ok(Column {
            name,
            shape: tensor.dims().to_vec(),
            values: Values::Numbers(numbers),
        })
    };
    let mut columns = tensors
        .into_iter()
        .map(column)
        .collect::<Result<Vec<_>>>()?;
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(columns)
}
