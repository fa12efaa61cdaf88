//! `damping_path.parquet`: every sampled query at every damping.

use super::QueryPoint;
use crate::Result;
use crate::artefact::Columns;
use crate::influence::{Provenance, table};
use std::path::Path;

/// Writes the columns damping, query, jaccard_next, rbo_next (null at the largest damping), jaccard_chosen, rbo_chosen,
/// rbo_smallest, top_train, top_score, converged, iterations.
pub(super) fn write(path: &Path, rows: &[QueryPoint], provenance: &Provenance) -> Result<()> {
    let columns = Columns::of(rows.iter())
        .numbers("damping", |row| row.damping)
        .integers("query", |row| row.query as i64)
        .optional_numbers("jaccard_next", |row| row.jaccard_next)
        .optional_numbers("rbo_next", |row| row.rbo_next)
        .numbers("jaccard_chosen", |row| row.jaccard_chosen)
        .numbers("rbo_chosen", |row| row.rbo_chosen)
        .numbers("rbo_smallest", |row| row.rbo_smallest)
        .optional_integers("top_train", |row| row.top_train.map(|id| id as i64))
        .numbers("top_score", |row| row.top_score)
        .flags("converged", |row| row.converged)
        .narrow_integers("iterations", |row| row.iterations as i32);
    table::write(path, provenance, columns.done())
}
