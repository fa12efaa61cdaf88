//! Whatever `ascribe rank` computes, with any of its solvers and options.

use super::{Estimate, Estimator, Setting};
use crate::Result;
use crate::artefact::scratch_folder;
use crate::influence::{Progress, RankJob, RankOptions, RankSummary, StoredScores};
use std::collections::BTreeMap;
use std::path::Path;

/// Influence with these options.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// What it is called.
    pub name: String,
    /// How it is computed.
    pub options: RankOptions,
}

impl Estimator for Ranked {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> &'static str {
        self.options.normalise.unit()
    }

    fn estimate(&self, setting: &Setting) -> Result<Estimate> {
        let folder = scratch_folder(setting.scratch)?;
        let options = RankOptions {
            top: 1,
            bottom: 0,
            query_groups: None,
            damping_path: None,
            scores: true,
            train_queries: false,
            ..self.options.clone()
        };
        let mut notes = Notes::default();
        let summary = run(setting, options, folder.path(), &mut notes)?;
        let path = folder.path().join("scores.npy");
        let (queries, training) = (setting.queries.labels.len(), setting.train.labels.len());
        let all: Vec<usize> = (0..queries).collect();
        let scores = StoredScores::open(&path, queries, training)?.at(&all)?;
        Ok(Estimate {
            scores,
            failures: failures(&summary),
            notes: notes.0,
            certified: summary.certified.map(|share| share.share_of_ranks),
        })
    }
}

/// The self-influence of each training image, in nats; and how many solves missed their tolerance.
///
/// # Errors
/// As for [`Estimator::estimate`].
pub fn self_influence(setting: &Setting, options: &RankOptions) -> Result<(Vec<f64>, usize)> {
    let folder = scratch_folder(setting.scratch)?;
    let options = RankOptions {
        top: 1,
        bottom: 0,
        certify: None,
        query_groups: None,
        damping_path: None,
        scores: false,
        train_queries: true,
        ..options.clone()
    };
    let summary = run(setting, options, folder.path(), &mut Notes::default())?;
    let path = folder.path().join("self_influence.parquet");
    let batch = crate::evaluate::table::read(&path, &BTreeMap::new())?;
    Ok((batch.numbers("self_influence")?, failures(&summary)))
}

/// Solves that missed their tolerance.
fn failures(summary: &RankSummary) -> usize {
    let reports = summary.solves.iter().flat_map(|solves| &solves.reports);
    reports
        .filter(|report| !report.outcome.is_success())
        .count()
}

fn run(
    setting: &Setting,
    options: RankOptions,
    folder: &Path,
    notes: &mut Notes,
) -> Result<RankSummary> {
    let job = RankJob {
        train: setting.train,
        test: setting.queries,
        head: setting.head,
        classes: Vec::new(),
        options: RankOptions {
            l2: setting.l2,
            ..options
        },
        digests: BTreeMap::new(),
        device: candle_core::Device::Cpu,
    };
    job.run(folder, notes)
}

/// Says nothing, and keeps what should be said.
#[derive(Default)]
struct Notes(Vec<String>);

impl Progress for Notes {
    fn stage(&mut self, _name: &'static str) -> Result<()> {
        Ok(())
    }

    fn scores(&mut self, _set: &str, _done: usize, _total: usize) {}

    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
}
