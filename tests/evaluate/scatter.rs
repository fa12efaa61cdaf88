//! The scatter of leave-one-out, and the table of all changes: the same numbers under the same names.

use crate::command::{place, succeed};
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// Predicted and actual rise by query and image left out.
type Rises = BTreeMap<(usize, usize), (f64, f64)>;

fn of_figure(path: &Path) -> Rises {
    let mut table = csv::Reader::from_path(path).unwrap();
    assert_eq!(
        table.headers().unwrap(),
        ["query", "train", "predicted_rise", "actual_rise", "unit"].as_slice()
    );
    let rows = table.deserialize::<(usize, usize, f64, f64, String)>();
    let row = |(query, train, predicted, actual, unit): (_, _, _, _, String)| {
        assert_eq!(unit, "nats");
        ((query, train), (predicted, actual))
    };
    rows.map(|found| row(found.unwrap())).collect()
}

/// Of the run's own scores.
fn of_table(path: &Path) -> Rises {
    let table = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mut rises = Rises::new();
    for batch in table.build().unwrap() {
        let batch = batch.unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let estimators = column("estimator").as_string::<i32>();
        let [queries, images] =
            ["query", "train"].map(|name| column(name).as_primitive::<Int64Type>());
        let [predicted, actual] =
            ["predicted", "actual"].map(|name| column(name).as_primitive::<Float64Type>());
        for at in (0..batch.num_rows()).filter(|&at| estimators.value(at) == "run") {
            let pair = (queries.value(at) as usize, images.value(at) as usize);
            rises.insert(pair, (predicted.value(at), actual.value(at)));
        }
    }
    rises
}

#[test]
fn the_scatter_draws_what_the_table_holds() {
    let place = place();
    let words = "evaluate run --leave-one-out 7 --compare identity --draws 20 --out evidence";
    succeed(place.path(), words);
    let folder = place.path().join("evidence");
    let drawn = of_figure(&folder.join("leave_one_out.csv"));
    assert_eq!(drawn.len(), 20 * 7);
    assert!(
        drawn
            .values()
            .any(|(predicted, actual)| predicted != actual)
    );
    assert_eq!(drawn, of_table(&folder.join("leave_one_out.parquet")));
}
