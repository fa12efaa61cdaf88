//! `examples.parquet`: which images a run is about.
//!
//! Columns `set` (`test` or `train`), `position` (from 0: the row of a test image and the column of a training image in `scores.npy`; the
//! row of a training image in `train_scores.npy`), `image` (its id, which all other tables name), `label`, `class` and `file` (within
//! the folder of a data set that is one; otherwise null).

use super::{Material, Transferred};
use crate::artefact::{Columns, check_as_left, read_parquet, write_parquet};
use crate::data::Dataset;
use crate::{Error, Result};
use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use std::path::Path;

/// One set, in the order of its rows or columns.
struct Listed<'a> {
    set: &'static str,
    ids: &'a [usize],
    labels: Vec<usize>,
    files: Option<Vec<String>>,
}

/// Leaves the table of a run for the head.
pub(super) fn leave(material: &Material, folder: &Path) -> Result<()> {
    let sides = [("test", &material.test), ("train", &material.train)];
    let listed = sides.map(|(set, side)| Listed {
        set,
        ids: &side.ids,
        labels: side.labels.clone(),
        files: side.files.clone(),
    });
    write(&listed, material.classes.as_deref(), folder)
}

/// Leaves the table of a run through residual blocks.
pub(super) fn leave_of_model(opened: &Transferred, folder: &Path) -> Result<()> {
    let sides = [
        ("test", &opened.test, &opened.test_ids),
        ("train", &opened.train, &opened.train_ids),
    ];
    let listed = sides.map(|(set, dataset, ids)| Listed {
        set,
        ids,
        labels: ids.iter().map(|&id| dataset.label(id)).collect(),
        files: files(dataset, ids),
    });
    write(&listed, Some(opened.model.classes()), folder)
}

/// The files of some examples, where each has one of its own.
pub(super) fn files(dataset: &Dataset, ids: &[usize]) -> Option<Vec<String>> {
    let files = ids.iter().map(|&id| dataset.file(id).map(str::to_owned));
    files.collect()
}

fn write(sets: &[Listed], classes: Option<&[String]>, folder: &Path) -> Result<()> {
    let rows = sets
        .iter()
        .flat_map(|listed| (0..listed.ids.len()).map(move |at| (listed, at)));
    let columns = Columns::of(rows)
        .words("set", |(listed, _)| listed.set)
        .integers("position", |(_, at)| at as i64)
        .integers("image", |(listed, at)| listed.ids[at] as i64)
        .narrow_integers("label", |(listed, at)| listed.labels[at] as i32)
        .optional_words("class", |(listed, at)| classes?.get(listed.labels[at]))
        .optional_words("file", |(listed, at)| Some(&listed.files.as_ref()?[at]));
    let path = folder.join("examples.parquet");
    write_parquet(&path, std::iter::empty(), columns.done())
}

/// The labels of a set, `test` or `train`, from the table at `path`.
pub(in crate::cli) fn labels_of(path: &Path, set: &str) -> Result<Vec<usize>> {
    let damaged = |reason: String| {
        let (expected, remedy) = ("a table written by ascribe rank", "run ascribe rank again");
        Error::format(path, "table", expected, reason, remedy)
    };
    check_as_left(path)?;
    let batch = read_parquet(path, damaged)?.batch;
    let column = |name: &str| {
        let found = batch.column_by_name(name);
        found.ok_or_else(|| damaged(format!("no column {name}")))
    };
    let sets = column("set")?.as_string_opt::<i32>();
    let labels = column("label")?.as_primitive_opt::<Int32Type>();
    let (Some(sets), Some(labels)) = (sets, labels) else {
        return Err(damaged("columns of other types".into()));
    };
    let rows = sets.iter().zip(labels.iter());
    let rows = rows.filter(|(of, _)| *of == Some(set));
    (rows
        .map(|(_, label)| usize::try_from(label?).ok())
        .collect::<Option<_>>())
    .ok_or_else(|| damaged("a label that is none".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::Column;
    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn table() -> Vec<Column<'static>> {
        let sets = StringArray::from(vec!["test", "train", "train"]);
        let labels = Int32Array::from(vec![4, 1, 0]);
        vec![
            ("set", Arc::new(sets) as ArrayRef, false),
            ("label", Arc::new(labels) as ArrayRef, false),
        ]
    }

    /// The labels, or the refusal, of a table with one column in the place of its own.
    fn read(at: usize, column: ArrayRef) -> std::result::Result<Vec<usize>, String> {
        let mut columns = table();
        (columns[at].1, columns[at].2) = (column, true);
        read_all(columns)
    }

    fn read_all(columns: Vec<Column>) -> std::result::Result<Vec<usize>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("examples.parquet");
        write_parquet(&path, std::iter::empty(), columns).unwrap();
        labels_of(&path, "train").map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_those_of_a_sets_images_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let listed = |set, labels: &[usize]| Listed {
            set,
            ids: &[8, 3, 5],
            labels: labels.to_vec(),
            files: None,
        };
        let sets = [listed("test", &[2, 2, 1]), listed("train", &[1, 0, 2])];
        write(&sets, None, folder.path()).unwrap();
        let labels = |set| labels_of(&folder.path().join("examples.parquet"), set).unwrap();
        assert_eq!(labels("train"), [1, 0, 2]);
        assert_eq!(labels("test"), [2, 2, 1]);
        assert_eq!(read_all(table()), Ok(vec![1, 0]));
    }

    #[test]
    fn a_table_that_no_run_left_is_refused_by_what_is_wrong_with_it() {
        for (at, name) in [(0, "set"), (1, "label")] {
            let mut without = table();
            without.remove(at);
            let found = read_all(without).unwrap_err();
            assert!(found.contains(&format!("no column {name}; ")), "{found}");
        }
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![4, 1, 0]));
        for at in [0, 1] {
            let found = read(at, numbers.clone()).unwrap_err();
            assert!(found.contains("columns of other types; run ascribe rank again"));
        }
        for label in [Some(-1), None] {
            let labels = Int32Array::from(vec![Some(4), Some(1), label]);
            let found = read(1, Arc::new(labels)).unwrap_err();
            assert!(found.contains("a label that is none; "), "{found}");
        }
        // Of a test image it is not looked at.
        let labels = Int32Array::from(vec![None, Some(1), Some(0)]);
        assert_eq!(read(1, Arc::new(labels)), Ok(vec![1, 0]));
    }
}
