//! What Parquet tables hold, read by Arrow.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;

/// A table of which no row has been read.
pub fn table(file: &Path) -> ParquetRecordBatchReaderBuilder<File> {
    ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap()
}

pub fn batches(file: &Path) -> Vec<RecordBatch> {
    let batches = table(file).build().unwrap();
    batches.map(|batch| batch.unwrap()).collect()
}

/// One column of numbers, or of truths as 1 and 0.
pub fn numbers(file: &Path, name: &str) -> Vec<f64> {
    let mut values = Vec::new();
    for batch in batches(file) {
        let column = cast(batch.column_by_name(name).unwrap(), &DataType::Float64).unwrap();
        assert_eq!(column.null_count(), 0, "{}: {name}", file.display());
        values.extend(column.as_primitive::<Float64Type>().values());
    }
    values
}

/// One column of words.
pub fn words(file: &Path, name: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    for batch in batches(file) {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        values.extend(column.iter().map(|value| value.map(str::to_owned)));
    }
    values
}
