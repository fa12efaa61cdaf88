//! `solves.parquet`: how every solve of a run ended.

use super::{Provenance, table};
use crate::Result;
use crate::artefact::Columns;
use crate::solve::Report;
use std::collections::BTreeMap;
use std::path::Path;

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

    /// The largest true residual of those that were measured; none where none was.
    pub fn largest_residual(&self) -> Option<f64> {
        let residuals = self.reports.iter().map(|report| report.residual);
        residuals.filter(|it| !it.is_nan()).reduce(f64::max)
    }

    /// How many residuals were not measured.
    pub fn unmeasured(&self) -> usize {
        let residuals = self.reports.iter().map(|report| report.residual);
        residuals.filter(|it| it.is_nan()).count()
    }
}

/// Writes the table: set, image, outcome, residual (‖b − A x‖ / ‖b‖; null where it was not
/// measured), iterations and, where groups were solved for, group (null for images).
///
/// # Errors
/// The file cannot be written.
pub fn write_solves(path: &Path, solves: &[&Solves], provenance: &Provenance) -> Result<()> {
    let rows = solves.iter().flat_map(|&solves| {
        let solved = solves.ids.iter().zip(&solves.reports);
        solved.map(move |(&id, report)| (solves, id, report))
    });
    let known = |residual: f64| (!residual.is_nan()).then_some(residual);
    let columns = Columns::of(rows)
        .words("set", |(solves, ..)| solves.set)
        .integers("image", |(_, id, _)| id as i64)
        .words("outcome", |(.., report)| report.outcome.name())
        .optional_numbers("residual", |(.., report)| known(report.residual))
        .narrow_integers("iterations", |(.., report)| report.iterations as i32);
    let columns = match solves.iter().any(|solves| !solves.groups.is_empty()) {
        true => columns.optional_words("group", |(solves, id, _)| solves.groups.get(id)),
        false => columns,
    };
    table::write(path, provenance, columns.done())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solve::Outcome;

    fn of(residuals: &[f64]) -> Solves {
        let report = |&residual: &f64| Report {
            outcome: Outcome::Approximate,
            residual,
            iterations: 0,
        };
        Solves {
            set: "test",
            ids: (0..residuals.len()).collect(),
            groups: Vec::new(),
            reports: residuals.iter().map(report).collect(),
        }
    }

    #[test]
    fn a_residual_that_was_not_measured_is_not_told_as_none() {
        let told = |residuals: &[f64]| {
            let solves = of(residuals);
            (solves.largest_residual(), solves.unmeasured())
        };
        assert_eq!(told(&[0.25, 0.5, 0.0]), (Some(0.5), 0));
        assert_eq!(told(&[f64::NAN, 0.25, f64::NAN]), (Some(0.25), 2));
        assert_eq!(told(&[f64::NAN]), (None, 1));
        assert_eq!(told(&[]), (None, 0));
    }
}
