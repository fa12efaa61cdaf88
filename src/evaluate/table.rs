//! Plain Parquet tables: named columns of integers, numbers, words and flags, with metadata.

use crate::artefact::{Column, ParquetTable, check_as_left, read_parquet, write_parquet};
use crate::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Writes a table whole or not at all.
pub(super) fn write(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    columns: Vec<Column>,
) -> Result<()> {
    let pairs = metadata.iter();
    let pairs = pairs.map(|(name, value)| (name.clone(), value.clone()));
    write_parquet(path, pairs, columns)
}

/// A table that was read.
pub(super) struct Table {
    path: PathBuf,
    batch: RecordBatch,
    metadata: BTreeMap<String, String>,
}

/// Reads a table, which may lack metadata but must not contradict `metadata`.
pub(super) fn read(path: &Path, metadata: &BTreeMap<String, String>) -> Result<Table> {
    check_as_left(path)?;
    let damaged = |reason: String| damaged(path, "table".into(), "a Parquet table", reason);
    let ParquetTable {
        batch,
        metadata: said,
    } = read_parquet(path, damaged)?;
    let mut said: BTreeMap<String, String> = said.into_iter().collect();
    // Evaluations of before did not say where losses were measured, and are taken for such at labels.
    if said.contains_key("l2") {
        let measurement = said.entry("measurement".into());
        measurement.or_insert_with(|| "label".into());
    }
    for (name, found) in &said {
        if let Some(expected) = metadata.get(name)
            && expected != found
        {
            let reason = format!("was made with {name} {found}, not {expected}");
            let remedy = "give the retrained measurements of the same run and settings";
            return Err(Error::conflict(path, reason, remedy));
        }
    }
    Ok(Table {
        path: path.to_path_buf(),
        batch,
        metadata: said,
    })
}

impl Table {
    /// What its metadata say under a name.
    pub(super) fn says(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::Columns;

    const NAMES: [&str; 6] = ["whole", "gaps", "real", "holes", "flags", "words"];

    /// A column of every kind, two rows.
    fn table() -> Table {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        let columns = Columns::of(0..2_usize)
            .integers("whole", |row| [1, -2][row])
            .optional_integers("gaps", |row| [Some(1), None][row])
            .numbers("real", |row| [0.5, -1.5][row])
            .optional_numbers("holes", |row| [Some(0.5), None][row])
            .optional_flags("flags", |row| [Some(true), None][row])
            .words("words", |row| ["a", "b"][row]);
        write(&path, &BTreeMap::new(), columns.done()).unwrap();
        read(&path, &BTreeMap::new()).unwrap()
    }

    /// That all columns but those of `taken` are refused, in words.
    fn refused<T: std::fmt::Debug>(
        taken: &[&str],
        expected: &str,
        read: impl Fn(&str) -> Result<Vec<T>>,
    ) {
        for &name in NAMES.iter().filter(|name| !taken.contains(name)) {
            let message = read(name).unwrap_err().to_string();
            let place = format!("column {name}: expected a column of {expected}, found ");
            assert!(message.contains(&place), "{message}");
        }
    }

    #[test]
    fn what_says_nothing_of_its_measurement_was_measured_at_labels_if_an_evaluation_left_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        let read_at = |said: &[(&str, &str)], measurement: &str| {
            let metadata = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
                let pairs = pairs.iter();
                pairs.map(|&(a, b)| (a.into(), b.into())).collect()
            };
            let columns = Columns::of(0..1_i64).integers("subset", |row| row).done();
            write(&path, &metadata(said), columns).unwrap();
            let read = read(&path, &metadata(&[("measurement", measurement)]));
            read.map(|_| ()).map_err(|refused| refused.to_string())
        };
        let before = [("l2", "0.01")];
        assert_eq!(read_at(&before, "label"), Ok(()));
        let refused = read_at(&before, "prediction 1").unwrap_err();
        let reason = "was made with measurement label, not prediction 1;";
        assert!(refused.contains(reason), "{refused}");
        // Made elsewhere, it is what its owner says.
        assert_eq!(read_at(&[], "prediction 1"), Ok(()));
        assert!(read_at(&[("measurement", "prediction 2")], "prediction 1").is_err());
    }

    #[test]
    fn columns_are_read_as_they_were_written() {
        let table = table();
        assert_eq!(table.integers("whole").unwrap(), [1, -2]);
        assert_eq!(table.numbers("real").unwrap(), [0.5, -1.5]);
        let optional = table.optional_numbers("holes").unwrap();
        assert_eq!(optional, [Some(0.5), None]);
        let flags = table.optional_flags("flags").unwrap();
        assert_eq!(flags, [Some(true), None]);
    }

    #[test]
    fn columns_of_another_kind_or_with_gaps_are_refused() {
        let table = table();
        let (integers, floats) = ("64-bit integers", "64-bit floats");
        refused(&["whole"], integers, |name| table.integers(name));
        refused(&["real"], floats, |name| table.numbers(name));
        refused(&["real", "holes"], floats, |name| {
            table.optional_numbers(name)
        });
        refused(&["flags"], "booleans", |name| table.optional_flags(name));
        let message = table.numbers("holes").unwrap_err().to_string();
        assert!(message.contains("found Float64 with 1 nulls"), "{message}");
        let message = table.integers("gaps").unwrap_err().to_string();
        assert!(message.contains("found Int64 with 1 nulls"), "{message}");
    }

    #[test]
    fn only_optional_columns_may_be_absent() {
        let table = table();
        for message in [
            table.integers("absent").unwrap_err().to_string(),
            table.numbers("absent").unwrap_err().to_string(),
        ] {
            let (place, found) = ("column absent: expected a column of", "found none;");
            assert!(
                message.contains(place) && message.contains(found),
                "{message}"
            );
        }
        assert_eq!(table.optional_numbers("absent").unwrap(), [None; 2]);
        assert_eq!(table.optional_flags("absent").unwrap(), [None; 2]);
    }
}
