//! Tables of results as they are written, and as something else wrote them.

use super::*;
use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
use std::sync::Arc;

fn row() -> Row {
    Row {
        source: "robust".into(),
        norm: Some(Norm::Linf),
        epsilon: 0.25,
        target: "digits".into(),
        test: "abc".into(),
        test_images: 100,
        transform: "downscale 3".into(),
        images: 20,
        blocks: Blocks::Last(3),
        epochs: 4,
        seed: 1,
        learning_rate: 0.05,
        l2: 5e-4,
        head_deviation: 0.1,
        epoch: 2,
        train_loss: Some(0.5),
        train_accuracy: Some(0.75),
        test_loss: Some(1.5),
        test_accuracy: Some(0.625),
        seconds: 3.5,
        diverged: false,
        run: "0123".into(),
    }
}

/// What is read of one row with other `values` in a column, or without them.
fn read_with(name: &str, values: Option<ArrayRef>) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RESULTS);
    write_results(&path, &[row()]).unwrap();
    let batch = read_parquet(&path, |reason| damaged(&path, &reason));
    let batch = batch.unwrap().batch;
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.filter_map(|(field, column)| {
        let column = match field.name() == name {
            true => values.clone(),
            false => Some(column.clone()),
        };
        Some((field.name().as_str(), column?, true))
    });
    write_parquet(&path, metadata(), columns.collect()).unwrap();
    read_results(&path)
}

/// What is said where that is refused.
fn refusal(name: &str, values: Option<ArrayRef>) -> String {
    let message = read_with(name, values).unwrap_err().to_string();
    let begins = message.contains("results.parquet: table: expected a table written by ascribe");
    let ends = message.ends_with("; run ascribe study again");
    assert!(begins && ends, "{message}");
    message
}

fn names() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RESULTS);
    write_results(&path, &[]).unwrap();
    let table = read_parquet(&path, |reason| damaged(&path, &reason));
    let schema = table.unwrap().batch.schema();
    schema.fields().iter().map(|it| it.name().clone()).collect()
}

fn words(value: Option<&str>) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn integers(value: Option<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

fn numbers(value: Option<f64>) -> ArrayRef {
    Arc::new(Float64Array::from(vec![value]))
}

fn flags(value: Option<bool>) -> ArrayRef {
    Arc::new(BooleanArray::from(vec![value]))
}

#[test]
fn what_is_written_is_read() {
    let diverged = Row {
        train_loss: None,
        train_accuracy: None,
        test_loss: None,
        test_accuracy: None,
        diverged: true,
        ..row()
    };
    let natural = Row {
        norm: None,
        epsilon: 0.0,
        blocks: Blocks::All,
        seed: u64::MAX,
        ..row()
    };
    let in_l2 = Row {
        norm: Some(Norm::L2),
        ..row()
    };
    let rows = [row(), diverged, natural, in_l2];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RESULTS);
    write_results(&path, &rows).unwrap();
    assert_eq!(read_results(&path).unwrap(), rows);
}

#[test]
fn a_table_that_was_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(RESULTS);
    write_results(&path, &[row()]).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for bytes in [0, 6, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..bytes]).unwrap();
        let message = read_results(&path).unwrap_err().to_string();
        let expected = "results.parquet: table: expected a table written by ascribe study, found ";
        assert!(message.contains(expected), "{bytes}: {message}");
    }
}

#[test]
fn a_table_without_one_of_its_columns_is_refused() {
    let names = names();
    assert_eq!(names.len(), 22);
    for name in &names {
        let message = refusal(name, None);
        let expected = format!("found no column {name};");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn a_column_of_another_type_is_refused() {
    for name in names() {
        let (values, expected) = match &*name {
            "diverged" => (integers(Some(1)), "another diverged in row 0".to_owned()),
            _ => (
                flags(Some(true)),
                format!("a column {name} of another type;"),
            ),
        };
        let message = refusal(&name, Some(values));
        assert!(message.contains(&expected), "{message}");
    }
    // One kind of number is not taken for the other.
    let message = refusal("images", Some(numbers(Some(20.0))));
    assert!(message.contains("a column images of"), "{message}");
    let message = refusal("epsilon", Some(integers(Some(1))));
    assert!(message.contains("a column epsilon of"), "{message}");
}

#[test]
fn only_measurements_and_the_norm_may_be_empty() {
    for name in [
        "epsilon",
        "learning_rate",
        "l2",
        "head_deviation",
        "seconds",
    ] {
        let message = refusal(name, Some(numbers(None)));
        let expected = format!("found no {name} in row 0;");
        assert!(message.contains(&expected), "{message}");
    }
    let expected = Row {
        test_accuracy: None,
        ..row()
    };
    let found = read_with("test_accuracy", Some(numbers(None)));
    assert_eq!(found.unwrap(), [expected]);
    let expected = Row {
        norm: None,
        ..row()
    };
    let found = read_with("norm", Some(words(None)));
    assert_eq!(found.unwrap(), [expected]);
}

#[test]
fn a_norm_or_number_of_blocks_that_there_is_none_of_is_refused() {
    for (name, value) in [("norm", "l3"), ("norm", "L2"), ("blocks", "most")] {
        let message = refusal(name, Some(words(Some(value))));
        let expected = format!("found another {name} in row 0;");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn numbers_that_are_none_are_refused_by_their_row() {
    for value in [f64::NAN, f64::INFINITY] {
        for name in ["epsilon", "test_accuracy", "test_loss"] {
            let message = refusal(name, Some(numbers(Some(value))));
            let expected = format!("found {name} {value} in row 0;");
            assert!(message.contains(&expected), "{message}");
        }
    }
    for name in ["images", "epochs", "epoch", "test_images"] {
        let message = refusal(name, Some(integers(Some(-1))));
        assert!(
            message.contains(&format!("another {name} in row 0")),
            "{message}"
        );
        let message = refusal(name, Some(integers(None)));
        assert!(
            message.contains(&format!("no {name} in row 0")),
            "{message}"
        );
    }
    let seed = read_with("seed", Some(integers(Some(-1)))).unwrap()[0].seed;
    assert_eq!(seed, u64::MAX);
    assert!(refusal("diverged", Some(flags(None))).contains("another diverged in row 0"));
}
