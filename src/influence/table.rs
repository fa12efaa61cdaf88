//! Parquet tables of scores: columns, and key-value metadata that says what the scores are.

use super::{ORIENTATION, Provenance, SIGN};
use crate::artefact::AtomicFile;
use crate::{Error, Result};
use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;

/// Writes a table whole or not at all; `(name, column, nullable)`.
pub(super) fn write(
    path: &Path,
    provenance: &Provenance,
    columns: Vec<(&str, ArrayRef, bool)>,
) -> Result<()> {
    let failed = |reason: String| Error::io(path, "write")(std::io::Error::other(reason));
    let batch = RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|reason| failed(reason.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(metadata(provenance)))
        .build();
    let mut writer =
        ArrowWriter::try_new(AtomicFile::create(path)?, batch.schema(), Some(properties))
            .map_err(|reason| failed(reason.to_string()))?;
    writer
        .write(&batch)
        .map_err(|reason| failed(reason.to_string()))?;
    writer
        .into_inner()
        .map_err(|reason| failed(reason.to_string()))?
        .commit()
}

fn metadata(provenance: &Provenance) -> Vec<KeyValue> {
    let fixed = [
        ("sign", SIGN),
        ("unit", provenance.unit),
        ("orientation", ORIENTATION),
    ];
    let fixed = fixed.map(|(key, value)| KeyValue::new(format!("ascribe.{key}"), value.to_owned()));
    let digests = provenance
        .digests
        .iter()
        .map(|(role, digest)| KeyValue::new(format!("ascribe.digest.{role}"), digest.clone()));
    fixed.into_iter().chain(digests).collect()
}

/// Reads a table written by [`write`], all rows in one batch.
pub(super) fn read(path: &Path) -> Result<RecordBatch> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    let damaged = |reason: String| damaged(path, reason);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|reason| damaged(reason.to_string()))?;
    let schema = builder.schema().clone();
    let reader = builder
        .build()
        .map_err(|reason| damaged(reason.to_string()))?;
    let batches: Vec<RecordBatch> = reader
        .collect::<std::result::Result<_, _>>()
        .map_err(|reason| damaged(reason.to_string()))?;
    arrow::compute::concat_batches(&schema, &batches).map_err(|reason| damaged(reason.to_string()))
}

pub(super) fn damaged(path: &Path, reason: String) -> Error {
    let reason = reason.lines().collect::<Vec<_>>().join(" ");
    Error::format(
        path,
        "table",
        "a table written by ascribe rank",
        reason,
        "run ascribe rank again",
    )
}

pub(super) fn column<'a>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| damaged(path, format!("no column {name}")))
}

pub(super) fn ids<'a>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array> {
    let column = column(path, batch, name)?.as_primitive_opt::<Int64Type>();
    column.ok_or_else(|| damaged(path, format!("a column {name} of another type")))
}

pub(super) fn integers<'a>(
    path: &Path,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a Int32Array> {
    let column = column(path, batch, name)?.as_primitive_opt::<Int32Type>();
    column.ok_or_else(|| damaged(path, format!("a column {name} of another type")))
}

pub(super) fn numbers<'a>(
    path: &Path,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a Float64Array> {
    let column = column(path, batch, name)?.as_primitive_opt::<Float64Type>();
    column.ok_or_else(|| damaged(path, format!("a column {name} of another type")))
}
