//! Plain Parquet tables: named columns of integers, numbers, words and flags, with metadata.

use crate::artefact::{ParquetTable, check_as_left, read_parquet, write_parquet};
use crate::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{Float64Type, Int64Type};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Columns of a table to be written.
#[derive(Default)]
pub(super) struct Columns(Vec<(&'static str, ArrayRef, bool)>);

impl Columns {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn with(mut self, name: &'static str, array: ArrayRef, nullable: bool) -> Self {
        self.0.push((name, array, nullable));
        self
    }

    pub(super) fn integers(self, name: &'static str, values: impl Iterator<Item = i64>) -> Self {
        self.with(name, Arc::new(values.collect::<Int64Array>()), false)
    }

    pub(super) fn optional_integers(
        self,
        name: &'static str,
        values: impl Iterator<Item = Option<i64>>,
    ) -> Self {
        self.with(name, Arc::new(values.collect::<Int64Array>()), true)
    }

    pub(super) fn numbers(self, name: &'static str, values: impl Iterator<Item = f64>) -> Self {
        self.with(name, Arc::new(values.collect::<Float64Array>()), false)
    }

    pub(super) fn optional_numbers(
        self,
        name: &'static str,
        values: impl Iterator<Item = Option<f64>>,
    ) -> Self {
        self.with(name, Arc::new(values.collect::<Float64Array>()), true)
    }

    pub(super) fn flags(
        self,
        name: &'static str,
        values: impl Iterator<Item = Option<bool>>,
    ) -> Self {
        self.with(name, Arc::new(values.collect::<BooleanArray>()), true)
    }

    pub(super) fn words<'a>(
        self,
        name: &'static str,
        values: impl Iterator<Item = &'a str>,
    ) -> Self {
        let values: StringArray = values.map(Some).collect();
        self.with(name, Arc::new(values), false)
    }
}

/// Writes a table whole or not at all.
pub(super) fn write(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    columns: Columns,
) -> Result<()> {
    let pairs = metadata.iter();
    let pairs = pairs.map(|(name, value)| (name.clone(), value.clone()));
    write_parquet(path, pairs, columns.0)
}

/// A table that was read.
pub(super) struct Table {
    path: PathBuf,
    batch: RecordBatch,
}

/// Reads a table, which may lack metadata but must not contradict `metadata`.
pub(super) fn read(path: &Path, metadata: &BTreeMap<String, String>) -> Result<Table> {
    check_as_left(path)?;
    let damaged = |reason: String| damaged(path, "table".into(), "a Parquet table", reason);
    let ParquetTable {
        batch,
        metadata: said,
    } = read_parquet(path, damaged)?;
    for (name, found) in said {
        if let Some(expected) = metadata.get(&name)
            && *expected != found
        {
            return Err(Error::Conflict {
                path: path.to_path_buf(),
                reason: format!("was made with {name} {found}, not {expected}"),
                remedy: "give the retrained measurements of the same run and settings".into(),
            });
        }
    }
    Ok(Table {
        path: path.to_path_buf(),
        batch,
    })
}

impl Table {
    pub(super) fn integers(&self, name: &str) -> Result<Vec<i64>> {
        let column = self.column(name, "a column of 64-bit integers")?;
        match column.as_primitive_opt::<Int64Type>() {
            Some(values) if values.null_count() == 0 => Ok(values.values().to_vec()),
            _ => Err(self.wrong(name, "a column of 64-bit integers", column)),
        }
    }

    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let column = self.column(name, "a column of 64-bit floats")?;
        match column.as_primitive_opt::<Float64Type>() {
            Some(values) if values.null_count() == 0 => Ok(values.values().to_vec()),
            _ => Err(self.wrong(name, "a column of 64-bit floats", column)),
        }
    }

    /// All nothing where there is no such column.
    pub(super) fn optional_numbers(&self, name: &str) -> Result<Vec<Option<f64>>> {
        let Some(column) = self.batch.column_by_name(name) else {
            return Ok(vec![None; self.batch.num_rows()]);
        };
        match column.as_primitive_opt::<Float64Type>() {
            Some(values) => Ok(values.iter().collect()),
            None => Err(self.wrong(name, "a column of 64-bit floats", column)),
        }
    }

    /// All nothing where there is no such column.
    pub(super) fn optional_flags(&self, name: &str) -> Result<Vec<Option<bool>>> {
        let Some(column) = self.batch.column_by_name(name) else {
            return Ok(vec![None; self.batch.num_rows()]);
        };
        match column.as_boolean_opt() {
            Some(values) => Ok(values.iter().collect()),
            None => Err(self.wrong(name, "a column of booleans", column)),
        }
    }

    fn column(&self, name: &str, expected: &str) -> Result<&ArrayRef> {
        let absent = || {
            damaged(
                &self.path,
                format!("column {name}"),
                expected,
                "none".into(),
            )
        };
        self.batch.column_by_name(name).ok_or_else(absent)
    }

    fn wrong(&self, name: &str, expected: &str, column: &ArrayRef) -> Error {
        let found = format!("{} with {} nulls", column.data_type(), column.null_count());
        damaged(&self.path, format!("column {name}"), expected, found)
    }
}

fn damaged(path: &Path, place: String, expected: &str, reason: String) -> Error {
    let remedy = "see docs/evaluate.md for what the table holds";
    Error::format(path, place, expected, reason, remedy)
}
