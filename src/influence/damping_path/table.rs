//! `damping_path.parquet`: every sampled query at every damping.

use super::QueryPoint;
use crate::Result;
use crate::influence::{Provenance, table};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array};
use std::path::Path;
use std::sync::Arc;

/// Writes the columns damping, query, jaccard_next, rbo_next (null at the largest damping), jaccard_chosen, rbo_chosen,
/// rbo_smallest, top_train, top_score, converged, iterations.
pub(super) fn write(path: &Path, rows: &[QueryPoint], provenance: &Provenance) -> Result<()> {
    let number = |value: fn(&QueryPoint) -> f64| -> ArrayRef {
        Arc::new(
            rows.iter()
                .map(|row| Some(value(row)))
                .collect::<Float64Array>(),
        )
    };
    let known = |value: fn(&QueryPoint) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<Float64Array>())
    };
    let queries: Int64Array = rows.iter().map(|row| Some(row.query as i64)).collect();
    let images = rows.iter().map(|row| row.top_train.map(|id| id as i64));
    let converged: BooleanArray = rows.iter().map(|row| Some(row.converged)).collect();
    let iterations: Int32Array = rows.iter().map(|row| Some(row.iterations as i32)).collect();
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("damping", number(|row| row.damping), false),
        ("query", Arc::new(queries), false),
        ("jaccard_next", known(|row| row.jaccard_next), true),
        ("rbo_next", known(|row| row.rbo_next), true),
        ("jaccard_chosen", number(|row| row.jaccard_chosen), false),
        ("rbo_chosen", number(|row| row.rbo_chosen), false),
        ("rbo_smallest", number(|row| row.rbo_smallest), false),
        ("top_train", Arc::new(images.collect::<Int64Array>()), true),
        ("top_score", number(|row| row.top_score), false),
        ("converged", Arc::new(converged), false),
        ("iterations", Arc::new(iterations), false),
    ];
    table::write(path, provenance, columns)
}
