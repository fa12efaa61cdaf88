//! `solves.parquet`: how every solve of a run ended.

use super::{Provenance, table};
use crate::Result;
use crate::solve::Report;
use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// How the solves of one side ended.
#[derive(Debug, Clone)]
pub struct Solves {
    /// Whose gradients were the right-hand sides: `test`, `train` or `group`; `leverage`: those of each output of the training
    /// images.
    pub set: &'static str,
    /// The image of each solve, or the place of the group in the order of names.
    pub ids: Vec<usize>,
    /// The names of groups; none where the solves are for images.
    pub groups: Vec<String>,
    /// One report each.
    pub reports: Vec<Report>,
}

impl Solves {
    /// How often each outcome occurred, by its name.
    pub fn outcomes(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for report in &self.reports {
            *counts.entry(report.outcome.name()).or_default() += 1;
        }
        counts
    }

    /// The first image whose solve did not succeed.
    pub fn first_failure(&self) -> Option<(usize, Report)> {
        let failed = self
            .reports
            .iter()
            .position(|report| !report.outcome.is_success())?;
        Some((self.ids[failed], self.reports[failed]))
    }

    /// What is solved for under `id`, in words.
    pub fn name(&self, id: usize) -> String {
        match self.groups.get(id) {
            Some(group) => format!("the group {group}"),
            None => format!("image {id}"),
        }
    }

    /// The largest true residual.
    pub fn largest_residual(&self) -> f64 {
        self.reports
            .iter()
            .fold(0.0, |largest, report| largest.max(report.residual))
    }
}

/// Writes the table: set, image, outcome, residual (‖b − A x‖ / ‖b‖; null where it was not
/// measured), iterations and, where groups were solved for, group (null for images).
///
/// # Errors
/// The file cannot be written.
pub fn write_solves(path: &Path, solves: &[&Solves], provenance: &Provenance) -> Result<()> {
    let reports = || solves.iter().flat_map(|solves| &solves.reports);
    let sets: StringArray = solves
        .iter()
        .flat_map(|solves| solves.ids.iter().map(|_| Some(solves.set)))
        .collect();
    let images: Int64Array = solves
        .iter()
        .flat_map(|solves| &solves.ids)
        .map(|&id| id as i64)
        .collect();
    let outcomes: StringArray = reports()
        .map(|report| Some(report.outcome.name()))
        .collect();
    let known = |residual: f64| (!residual.is_nan()).then_some(residual);
    let residuals: Float64Array = reports().map(|report| known(report.residual)).collect();
    let iterations: Int32Array = reports().map(|report| report.iterations as i32).collect();
    let mut columns = vec![
        ("set", Arc::new(sets) as _, false),
        ("image", Arc::new(images) as _, false),
        ("outcome", Arc::new(outcomes) as _, false),
        ("residual", Arc::new(residuals) as _, true),
        ("iterations", Arc::new(iterations) as _, false),
    ];
    if solves.iter().any(|solves| !solves.groups.is_empty()) {
        let names = solves
            .iter()
            .flat_map(|solves| solves.ids.iter().map(|&id| solves.groups.get(id)));
        let names: StringArray = names.collect();
        columns.push(("group", Arc::new(names) as _, true));
    }
    table::write(path, provenance, columns)
}
