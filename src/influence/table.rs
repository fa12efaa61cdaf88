//! Parquet tables of scores: columns, and key-value metadata that says what the scores are.

use super::{ORIENTATION, Provenance, SIGN};
use crate::artefact::{Column, check_as_left, read_parquet, write_parquet_in_parts};
use crate::{Error, Result};
use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type};
use std::path::Path;

/// Writes a table whole or not at all.
pub(super) fn write(path: &Path, provenance: &Provenance, columns: Vec<Column>) -> Result<()> {
    write_in_parts(path, provenance, columns, std::iter::empty())
}

/// The same of a table whose rows come in parts with the same columns.
pub(super) fn write_in_parts<'a>(
    path: &Path,
    provenance: &Provenance,
    first: Vec<Column>,
    others: impl Iterator<Item = Vec<Column<'a>>>,
) -> Result<()> {
    let fixed = [
        ("sign", SIGN),
        ("unit", provenance.unit),
        ("orientation", ORIENTATION),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let digests = provenance.digests.iter();
    let digests = digests.map(|(role, digest)| (format!("digest.{role}"), digest.clone()));
    write_parquet_in_parts(path, fixed.into_iter().chain(digests), first, others)
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

/// A column of ids, none of them missing.
pub(super) fn ids<'a>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array> {
    whole::<Int64Type>(path, batch, name, |id| id >= 0)
}

/// A column of labels, none of them missing.
pub(super) fn labels<'a>(
    path: &Path,
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a Int32Array> {
    whole::<Int32Type>(path, batch, name, |label| label >= 0)
}

/// A column of ranks, from the one end or the other, none of them missing.
pub(super) fn ranks<'a>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a Int32Array> {
    whole::<Int32Type>(path, batch, name, |rank| rank != 0)
}

fn whole<'a, T: ArrowPrimitiveType>(
    path: &Path,
    batch: &'a RecordBatch,
    name: &str,
    is_one: fn(T::Native) -> bool,
) -> Result<&'a PrimitiveArray<T>> {
    let column = column(path, batch, name)?.as_primitive_opt::<T>();
    let column = column.ok_or_else(|| damaged(path, format!("a column {name} of another type")))?;
    let is_none = |value: Option<T::Native>| !value.is_some_and(is_one);
    match column.iter().position(is_none) {
        None => Ok(column),
        Some(row) => Err(damaged(path, format!("none in column {name}, row {row}"))),
    }
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
        Some(row) => Err(Error::non_finite(
            format!("{}: column {name}", path.display()),
            format!("row {row}"),
            "run ascribe rank again",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::influence::{read_helpful_shares, read_rankings, read_self_influence};
    use arrow::array::{BooleanArray, StringArray};
    use std::sync::Arc;

    type Columns = Vec<Column<'static>>;

    fn wide() -> ArrayRef {
        Arc::new(Int64Array::from(vec![7, 9]))
    }

    fn narrow() -> ArrayRef {
        Arc::new(Int32Array::from(vec![1, 2]))
    }

    fn real(values: [Option<f64>; 2]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn scores() -> ArrayRef {
        real([Some(0.5), Some(-0.25)])
    }

    fn flags() -> ArrayRef {
        Arc::new(BooleanArray::from(vec![true, false]))
    }

    fn words() -> ArrayRef {
        Arc::new(StringArray::from(vec!["7", "9"]))
    }

    fn rankings() -> Columns {
        vec![
            ("query", wide(), false),
            ("query_label", narrow(), false),
            ("query_prediction", narrow(), false),
            ("rank", narrow(), false),
            ("train", wide(), false),
            ("train_label", narrow(), false),
            ("score", scores(), false),
            ("bound", scores(), true),
            ("certified", flags(), true),
            ("tied", flags(), true),
        ]
    }

    fn self_influence() -> Columns {
        vec![
            ("train", wide(), false),
            ("self_influence", scores(), false),
        ]
    }

    fn shares() -> Columns {
        vec![
            ("rank", narrow(), false),
            ("block", scores(), true),
            ("head", scores(), true),
        ]
    }

    /// What `read` says of a table, if it refuses it.
    fn refusal<T>(read: fn(&Path) -> Result<T>, columns: Columns) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.parquet");
        write(&path, &Provenance::default(), columns).unwrap();
        read(&path).err().map(|error| error.to_string())
    }

    fn every_column_is_needed<T>(read: fn(&Path) -> Result<T>, columns: fn() -> Columns) {
        assert_eq!(refusal(read, columns()), None);
        for (at, (name, ..)) in columns().into_iter().enumerate() {
            let mut without = columns();
            without.remove(at);
            let found = refusal(read, without).unwrap();
            let expected = format!("no column {name}; run ascribe rank again");
            assert!(found.contains(&expected), "{found}");
            let mut other = columns();
            other[at].1 = words();
            let found = refusal(read, other).unwrap();
            assert!(found.contains("of another type"), "{name}: {found}");
        }
    }

    #[test]
    fn rankings_without_a_column_or_with_one_of_another_type_are_refused() {
        every_column_is_needed(read_rankings, rankings);
    }

    #[test]
    fn self_influence_without_a_column_or_with_one_of_another_type_is_refused() {
        every_column_is_needed(read_self_influence, self_influence);
    }

    /// How many segments there are is known from the table alone.
    #[test]
    fn shares_without_ranks_or_with_a_column_of_another_type_are_refused() {
        assert_eq!(refusal(read_helpful_shares, shares()), None);
        let found = refusal(read_helpful_shares, shares()[1..].to_vec()).unwrap();
        assert!(found.contains("no column rank; "), "{found}");
        for (at, (name, ..)) in shares().into_iter().enumerate() {
            let mut other = shares();
            other[at].1 = words();
            let found = refusal(read_helpful_shares, other).unwrap();
            let expected = format!("a column {name} of another type; ");
            assert!(found.contains(&expected), "{found}");
        }
    }

    #[test]
    fn ids_labels_and_ranks_that_are_none_are_refused_by_their_row() {
        let wide =
            |values: [Option<i64>; 2]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let narrow =
            |values: [Option<i32>; 2]| Arc::new(Int32Array::from(values.to_vec())) as ArrayRef;
        for (name, column) in [
            ("query", wide([Some(7), None])),
            ("train", wide([Some(7), Some(-1)])),
            ("query_label", narrow([Some(0), Some(-1)])),
            ("query_prediction", narrow([Some(0), None])),
            ("train_label", narrow([Some(0), Some(-3)])),
            ("rank", narrow([Some(-1), Some(0)])),
        ] {
            let mut bad = rankings();
            let place = bad.iter_mut().find(|column| column.0 == name).unwrap();
            (place.1, place.2) = (column, true);
            let found = refusal(read_rankings, bad).unwrap();
            let expected = format!("none in column {name}, row 1; run ascribe rank");
            assert!(found.contains(&expected), "{found}");
        }
    }

    fn numbers_are_finite<T>(read: fn(&Path) -> Result<T>, columns: fn() -> Columns, name: &str) {
        for value in [
            Some(f64::NAN),
            Some(f64::INFINITY),
            Some(f64::NEG_INFINITY),
            None,
        ] {
            let mut bad = columns();
            let column = bad.iter_mut().find(|column| column.0 == name).unwrap();
            (column.1, column.2) = (real([Some(0.5), value]), true);
            let found = refusal(read, bad).unwrap();
            let expected = format!("column {name}: not a finite number at row 1; run ascribe rank");
            assert!(found.contains(&expected), "{found}");
        }
    }

    #[test]
    fn a_score_that_is_missing_or_not_finite_is_refused_by_its_row() {
        numbers_are_finite(read_rankings, rankings, "score");
        numbers_are_finite(read_self_influence, self_influence, "self_influence");
        numbers_are_finite(read_helpful_shares, shares, "block");
        numbers_are_finite(read_helpful_shares, shares, "head");
    }

    #[test]
    fn rankings_of_other_lengths_or_with_scores_that_rise_are_refused_by_query() {
        let one_query: ArrayRef = Arc::new(Int64Array::from(vec![7, 7]));
        let both_ends: ArrayRef = Arc::new(Int32Array::from(vec![1, -1]));
        let rising = real([Some(-0.25), Some(0.5)]);
        for (changes, expected) in [
            (
                vec![("query", one_query), ("score", rising)],
                "query 7: expected scores that fall with the rank, found a higher one at rank 2;",
            ),
            (
                vec![("rank", both_ends)],
                "query 9: expected 1 ranks, as the first query has, found 0;",
            ),
        ] {
            let mut bad = rankings();
            for (name, values) in changes {
                let place = bad.iter_mut().find(|column| column.0 == name).unwrap();
                place.1 = values;
            }
            let found = refusal(read_rankings, bad).unwrap();
            let expected = format!("table.parquet: {expected}");
            assert!(found.contains(&expected), "{found}");
        }
    }

    #[test]
    fn rankings_of_no_images_are_refused_with_what_to_ask_for() {
        let columns = rankings().into_iter();
        let empty = columns.map(|(name, values, nullable)| (name, values.slice(0, 0), nullable));
        let found = refusal(read_rankings, empty.collect()).unwrap();
        let expected =
            "table: expected a ranked image, found none; rank again with a number of images";
        assert!(found.contains(expected), "{found}");
    }
}
