//! Parquet tables with metadata of ours, written whole or not at all.

use super::{AtomicFile, Column};
use crate::decoder_panic::caught;
use crate::{Error, Result};
use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// What the names of our metadata begin with in the file.
const PREFIX: &str = "ascribe.";

/// Writes a table: its columns, and metadata by names without the prefix `ascribe.`.
pub(crate) fn write_parquet(
    path: &Path,
    metadata: impl Iterator<Item = (String, String)>,
    columns: Vec<Column>,
) -> Result<()> {
    write_parquet_in_parts(path, metadata, columns, std::iter::empty())
}

/// The same of a table whose rows come in parts with the same columns, of which one is in memory at a time, and besides what they are
/// packed to.
pub(crate) fn write_parquet_in_parts<'a>(
    path: &Path,
    metadata: impl Iterator<Item = (String, String)>,
    first: Vec<Column>,
    others: impl Iterator<Item = Vec<Column<'a>>>,
) -> Result<()> {
    let failed = |reason: String| Error::io(path, "write")(std::io::Error::other(reason));
    let first = RecordBatch::try_from_iter_with_nullable(first)
        .map_err(|reason| failed(reason.to_string()))?;
    let metadata: BTreeMap<String, String> =
        (metadata.map(|(name, value)| (format!("{PREFIX}{name}"), value))).collect();
    let pairs = metadata.iter();
    let pairs = pairs.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    // In Arrow's schema too, from where pyarrow and pandas take them.
    let schema = (*first.schema()).clone();
    let schema = Arc::new(schema.with_metadata(metadata.clone()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(pairs.collect()))
        .build();
    let file = AtomicFile::create(path)?;
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))
        .map_err(|reason| failed(reason.to_string()))?;
    let others = others.map(RecordBatch::try_from_iter_with_nullable);
    for batch in std::iter::once(Ok(first)).chain(others) {
        batch
            .and_then(|batch| batch.with_schema(schema.clone()))
            .map_err(|reason| failed(reason.to_string()))
            .and_then(|batch| {
                (writer.write(&batch)).map_err(|reason| failed(reason.to_string()))
            })?;
    }
    writer
        .into_inner()
        .map_err(|reason| failed(reason.to_string()))?
        .commit()
}

/// A table as it was read.
pub(crate) struct ParquetTable {
    /// All rows.
    pub(crate) batch: RecordBatch,
    /// Our metadata, by names without the prefix.
    pub(crate) metadata: Vec<(String, String)>,
}

/// Reads a table of any origin; `damaged` says what to do about one that is none, from the reason.
pub(crate) fn read_parquet(path: &Path, damaged: impl Fn(String) -> Error) -> Result<ParquetTable> {
    let file = File::open(path).map_err(Error::io(path, "read"))?;
    caught(|| table_in(file).map_err(|reason| reason.to_string())).map_err(damaged)
}

fn table_in(file: File) -> parquet::errors::Result<ParquetTable> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let ours = pairs.into_iter().flatten().filter_map(|pair| {
        let name = pair.key.strip_prefix(PREFIX)?;
        Some((name.to_owned(), pair.value.clone()?))
    });
    let metadata = ours.collect();
    let schema = builder.schema().clone();
    let batches = builder
        .build()?
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let batch = arrow::compute::concat_batches(&schema, &batches)?;
    Ok(ParquetTable { batch, metadata })
}
