//! The scatter of leave-one-out, and the table of all changes: the same numbers under the same names.

use crate::command_line::run;
use crate::evaluate::command::place;
use crate::parquet_table::{numbers, words};
use std::collections::BTreeMap;
use std::path::Path;

/// Predicted and actual rise by query and image left out.
type Rises = BTreeMap<(usize, usize), (f64, f64)>;

fn of_figure(path: &Path) -> Rises {
    let mut table = csv::Reader::from_path(path).unwrap();
    assert_eq!(
        table.headers().unwrap(),
        [
            "query",
            "train",
            "predicted_rise",
            "actual_rise",
            "unit",
            "predicted_unit"
        ]
        .as_slice()
    );
    let rows = table.deserialize::<(usize, usize, f64, f64, String, String)>();
    let row = |(query, train, predicted, actual, unit, other): (_, _, _, _, String, String)| {
        assert_eq!((&*unit, &*other), ("nats", "nats"));
        ((query, train), (predicted, actual))
    };
    rows.map(|found| row(found.unwrap())).collect()
}

/// Of the run's own scores.
fn of_table(file: &Path) -> Rises {
    let numbers = |name: &str| numbers(file, name);
    let estimators = words(file, "estimator");
    let (queries, images) = (numbers("query"), numbers("train"));
    let (predicted, actual) = (numbers("predicted"), numbers("actual"));
    let own = (0..estimators.len()).filter(|&at| estimators[at].as_deref() == Some("run"));
    let rise = |at: usize| {
        let pair = (queries[at] as usize, images[at] as usize);
        (pair, (predicted[at], actual[at]))
    };
    own.map(rise).collect()
}

#[test]
fn the_scatter_draws_what_the_table_holds() {
    let place = place();
    let line = "evaluate run --leave-one-out 7 --compare identity --draws 20 --out evidence";
    run(place.path(), line);
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
