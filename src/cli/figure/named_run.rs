//! A finished run of `ascribe rank`, as figures take it up.

use crate::artefact::{DIGESTS, RunFolder, RunRecord};
use crate::cli::rank::{check_has_rankings, labels_of};
use crate::influence::{
    Measurement, Normalise, QueryRanking, RecordedSolves, StoredScores, read_rankings,
};
use crate::{Error, Result};
use clap::ValueEnum;
use ndarray::Array2;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A finished run and what it is called in a figure.
pub(super) struct NamedRun {
    pub(super) name: String,
    pub(super) record: RunRecord,
}

impl NamedRun {
    /// The unit of its scores.
    pub(super) fn unit(&self) -> &'static str {
        let normalise = self.record.options.get("normalise");
        let normalise = normalise.and_then(|name| Normalise::from_str(name.as_str()?, false).ok());
        normalise.unwrap_or(Normalise::None).unit()
    }

    /// Takes up a run of `ascribe rank`.
    pub(super) fn open(folder: &Path, name: String) -> Result<Self> {
        let record = RunFolder::read(folder)?;
        check_has_rankings(&record)?;
        let RecordedSolves { all, failed, .. } = RecordedSolves::of(&record);
        if failed > 0 {
            note!(
                "ascribe: {name}: {failed} of {all} solves missed their tolerance, so that its scores and ranks are not to be trusted; \
                 rank again with another --solver or more --iterations"
            );
        }
        Ok(Self { name, record })
    }

    /// Whether its test images count as images of the class that is predicted.
    pub(super) fn is_predicted(&self) -> bool {
        Measurement::of(&self.record) == Measurement::Prediction
    }

    /// A file of the run, or what to do where it is missing.
    fn file(&self, name: &str, remedy: &str) -> Result<PathBuf> {
        let path = self.record.folder.join(name);
        if path.exists() {
            return Ok(path);
        }
        let reason = format!("holds no {name}");
        Err(Error::conflict(&self.record.folder, reason, remedy))
    }

    /// What tells its training and its test images from others': the list of both, and the data that it is of. Features are of their own
    /// model; that they are of the same images is known by their number and labels alone.
    pub(super) fn images(&self) -> Option<[String; 2]> {
        let listed = self.record.results.get(DIGESTS)?.get("examples.parquet")?;
        let of_features = self.record.options.get("model").is_none_or(Value::is_null);
        let images = |role: &str| {
            let input = self.record.inputs.iter().find(|input| input.role == role)?;
            let data = if of_features {
                "features"
            } else {
                &input.digest
            };
            Some(format!("{data} {listed}"))
        };
        Some([images("train")?, images("test")?])
    }

    fn rankings(&self, file: &str, remedy: &str) -> Result<Vec<QueryRanking>> {
        let path = self.file(file, remedy)?;
        let rankings = read_rankings(&path)?;
        self.check_labels(&path, rankings.iter().map(|ranking| ranking.query_label))?;
        Ok(rankings)
    }

    /// Refuses a file of the run whose labels go beyond its classes.
    fn check_labels(&self, path: &Path, labels: impl Iterator<Item = usize>) -> Result<()> {
        let classes = self.record.classes.as_ref().map_or(usize::MAX, Vec::len);
        let Some(label) = labels.max().filter(|label| *label >= classes) else {
            return Ok(());
        };
        let (expected, found) = (format!("labels below {classes}"), label.to_string());
        let remedy = "run ascribe rank again";
        Err(Error::format(path, "table", expected, found, remedy))
    }

    /// Scores `[query, train]` of so many queries and training images.
    pub(super) fn scores(
        &self,
        file: &str,
        remedy: &str,
        [queries, training]: [usize; 2],
    ) -> Result<Array2<f32>> {
        let path = self.file(file, remedy)?;
        StoredScores::open(&path, queries, training)?.whole()
    }

    pub(super) fn test_rankings(&self) -> Result<Vec<QueryRanking>> {
        self.rankings("rankings.parquet", "give a folder made by ascribe rank")
    }

    /// The same where they name the most helpful images, of which a run with `--top 0` keeps none.
    pub(super) fn helpful_rankings(&self) -> Result<Vec<QueryRanking>> {
        let rankings = self.test_rankings()?;
        if rankings.iter().any(|ranking| !ranking.helpful.is_empty()) {
            return Ok(rankings);
        }
        let reason = "ranks no helpful images (--top 0)";
        let remedy = "give a run of ascribe rank with a larger --top";
        Err(Error::conflict(&self.record.folder, reason, remedy))
    }

    pub(super) fn has_train_rankings(&self) -> bool {
        self.record.folder.join("train_rankings.parquet").exists()
    }

    /// The labels of its images of `set`, `test` or `train`, in the order of the scores.
    pub(super) fn labels(&self, set: &str) -> Result<Vec<usize>> {
        let labels = |rankings: Vec<QueryRanking>| {
            rankings.iter().map(|ranking| ranking.query_label).collect()
        };
        // Runs of before have no such list; a run that kept no ranks has no rankings.
        if !self.record.folder.join("examples.parquet").exists() {
            match set {
                "test" => return self.test_rankings().map(labels),
                _ if self.has_train_rankings() => return self.train_rankings().map(labels),
                _ => {}
            }
        }
        let path = self.file("examples.parquet", "run ascribe rank again")?;
        let labels = labels_of(&path, set)?;
        self.check_labels(&path, labels.iter().copied())?;
        Ok(labels)
    }

    pub(super) fn train_rankings(&self) -> Result<Vec<QueryRanking>> {
        self.rankings(
            "train_rankings.parquet",
            "run ascribe rank without --skip-train",
        )
    }
}
