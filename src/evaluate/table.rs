//! Plain Parquet tables: named columns of integers, numbers, words and flags, with metadata.

use crate::artefact::AtomicFile;
use crate::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::fs::File;
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
    let failed = |reason: String| Error::io(path, "write")(std::io::Error::other(reason));
    let batch = RecordBatch::try_from_iter_with_nullable(columns.0)
        .map_err(|reason| failed(reason.to_string()))?;
    let pair =
        |(key, value): (&String, &String)| KeyValue::new(format!("ascribe.{key}"), value.clone());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(metadata.iter().map(pair).collect()))
        .build();
    let mut writer =
        ArrowWriter::try_new(AtomicFile::create(path)?, batch.schema(), Some(properties))
            .map_err(|reason| failed(reason.to_string()))?;
    writer
        .write(&batch)
        .map_err(|reason| failed(reason.to_string()))?;
    let file = writer
        .into_inner()
        .map_err(|reason| failed(reason.to_string()))?;
    file.commit()
}

/// A table that was read.
pub(super) struct Table {
    path: PathBuf,
    batch: RecordBatch,
}

/// Reads a table, which may lack metadata but must not contradict `metadata`.
pub(super) fn read(path: &Path, metadata: &BTreeMap<String, String>) -> Result<Table> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let damaged = |reason: String| damaged(path, "table".into(), "a Parquet table", reason);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|reason| damaged(reason.to_string()))?;
    let said = builder.metadata().file_metadata().key_value_metadata();
    for pair in said.into_iter().flatten() {
        let expected = pair
            .key
            .strip_prefix("ascribe.")
            .and_then(|key| metadata.get(key));
        if let (Some(expected), Some(found)) = (expected, &pair.value)
            && expected != found
        {
            let reason = format!(
                "was made with {} {found}, not {expected}",
                &pair.key["ascribe.".len()..]
            );
            let remedy = "give the retrained measurements of the same run and settings".into();
            return Err(Error::Conflict {
                path: path.to_path_buf(),
                reason,
                remedy,
            });
        }
    }
    let schema = builder.schema().clone();
    let reader = builder
        .build()
        .map_err(|reason| damaged(reason.to_string()))?;
    let batches: Vec<RecordBatch> = reader
        .collect::<std::result::Result<_, _>>()
        .map_err(|reason| damaged(reason.to_string()))?;
    let batch = arrow::compute::concat_batches(&schema, &batches)
        .map_err(|reason| damaged(reason.to_string()))?;
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
    let reason = reason.lines().collect::<Vec<_>>().join(" ");
    let remedy = "see docs/evaluate.md for what the table holds";
    Error::format(path, place, expected, reason, remedy)
}
