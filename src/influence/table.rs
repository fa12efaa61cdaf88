//! Parquet tables of scores: columns, and key-value metadata that says what the scores are.

use super::{ORIENTATION, Provenance, SIGN};
use crate::artefact::{check_as_left, read_parquet, write_parquet};
use crate::{Error, Result};
use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use std::path::Path;

/// Writes a table whole or not at all; `(name, column, nullable)`.
pub(super) fn write(
    path: &Path,
    provenance: &Provenance,
    columns: Vec<(&str, ArrayRef, bool)>,
) -> Result<()> {
    let fixed = [
        ("sign", SIGN),
        ("unit", provenance.unit),
        ("orientation", ORIENTATION),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let digests = provenance.digests.iter();
    let digests = digests.map(|(role, digest)| (format!("digest.{role}"), digest.clone()));
    write_parquet(path, fixed.into_iter().chain(digests), columns)
}

/// Reads a table written by [`write`], all rows in one batch, as its run left it.
pub(super) fn read(path: &Path) -> Result<RecordBatch> {
    check_as_left(path)?;
    Ok(read_parquet(path, |reason| damaged(path, reason))?.batch)
}

pub(super) fn damaged(path: &Path, reason: String) -> Error {
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

/// A column of finite numbers.
pub(super) fn numbers<'a>(
    path: &Path,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a Float64Array> {
    let column = column(path, batch, name)?.as_primitive_opt::<Float64Type>();
    let column = column.ok_or_else(|| damaged(path, format!("a column {name} of another type")))?;
    match column
        .iter()
        .position(|value| !value.is_some_and(f64::is_finite))
    {
        None => Ok(column),
        Some(row) => Err(Error::NonFinite {
            what: format!("{}: column {name}", path.display()),
            place: format!("row {row}"),
            remedy: "run ascribe rank again".into(),
        }),
    }
}
