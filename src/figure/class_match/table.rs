//! The data behind Figure 6.

use super::{ClassMatch, Panel};
use serde::Serialize;

/// One row.
#[derive(Debug, Serialize)]
struct Row<'a> {
    panel: &'a str,
    queries: &'a str,
    model: &'a str,
    query_count: usize,
    rank: usize,
    match_percent: f64,
    low_95_percent: f64,
    high_95_percent: f64,
    chance_percent: f64,
    three_of_top_five_percent: Option<f64>,
    /// In figures where some are.
    #[serde(skip_serializing_if = "Option::is_none")]
    query_class_predicted: Option<bool>,
}

/// A row for each model, set of queries and rank.
pub(super) fn write(figure: &ClassMatch, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
    let mut curves = figure.panels.iter().flat_map(|panel| &panel.curves);
    let some_predicted = curves.any(|curve| curve.predicted);
    for Panel {
        queries, curves, ..
    } in &figure.panels
    {
        for curve in curves {
            for point in &curve.points {
                rows.serialize(Row {
                    panel: queries.letter(),
                    queries: queries.description(),
                    model: &curve.model,
                    query_count: curve.query_count,
                    rank: point.rank,
                    match_percent: point.match_percent,
                    low_95_percent: point.low_percent,
                    high_95_percent: point.high_percent,
                    chance_percent: curve.chance_percent,
                    three_of_top_five_percent: curve.three_of_top_five_percent,
                    query_class_predicted: some_predicted.then_some(curve.predicted),
                })?;
            }
        }
    }
    Ok(())
}
