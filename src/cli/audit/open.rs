//! A finished run of `ascribe rank` with everything that its page needs.

use crate::Result;
use crate::artefact::{RunFolder, RunRecord};
use crate::audit::Subject;
use crate::cli::rank::{Recorded, reopen};
use crate::cli::recorded_data::{recorded_data, recorded_model};
use crate::data::Dataset;
use crate::influence::{
    Correction, Normalise, QueryRanking, RankJob, RankOptions, read_rankings, read_self_influence,
};
use crate::model::ResNet;
use crate::report::Fact;
use std::path::Path;

/// A run, reopened.
pub(super) struct Opened {
    pub(super) record: RunRecord,
    pub(super) recorded: Recorded,
    /// Where the run is of a model and images, not of features alone.
    pub(super) seen: Option<Seen>,
    rankings: Vec<QueryRanking>,
    train_rankings: Vec<QueryRanking>,
    self_influence: Vec<(usize, f64)>,
    facts: Vec<Fact>,
}

/// The model and its images.
pub(super) struct Seen {
    pub(super) model: ResNet,
    pub(super) train: Dataset,
    pub(super) test: Dataset,
}

impl Opened {
    /// Takes up a run, whose data must be as they were.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let record = RunFolder::read(folder)?;
        let recorded = reopen(&record)?;
        let rankings = folder.join("rankings.parquet");
        let train_rankings = folder.join("train_rankings.parquet");
        let self_influence = folder.join("self_influence.parquet");
        let (seen, facts) = match record.options.get("model").and_then(|path| path.as_str()) {
            Some(model) => (Some(seen(&record)?), of_transfer(Path::new(model))?),
            None => (None, Vec::new()),
        };
        Ok(Self {
            rankings: read_rankings(&rankings)?,
            train_rankings: if_there(&train_rankings, read_rankings)?,
            self_influence: if_there(&self_influence, read_self_influence)?,
            record,
            recorded,
            seen,
            facts,
        })
    }

    pub(super) fn subject<'a>(&'a self, name: &str) -> Subject<'a> {
        let Recorded {
            material,
            head,
            options,
        } = &self.recorded;
        Subject {
            name: name.to_owned(),
            record: &self.record,
            facts: self.facts.clone(),
            job: RankJob {
                train: material.train.set(),
                test: material.test.set(),
                head,
                classes: material.classes.clone().unwrap_or_default(),
                // Means over queries are of plain scores, and nothing is proven of them.
                options: RankOptions {
                    normalise: Normalise::None,
                    correction: Correction::None,
                    certify: None,
                    ..options.clone()
                },
                digests: material.digests(),
                device: candle_core::Device::Cpu,
            },
            rankings: &self.rankings,
            train_rankings: &self.train_rankings,
            self_influence: &self.self_influence,
        }
    }
}

fn if_there<T>(path: &Path, read: impl Fn(&Path) -> Result<Vec<T>>) -> Result<Vec<T>> {
    match path.exists() {
        true => read(path),
        false => Ok(Vec::new()),
    }
}

fn seen(record: &RunRecord) -> Result<Seen> {
    Ok(Seen {
        model: recorded_model(record)?,
        train: recorded_data(record, "train")?,
        test: recorded_data(record, "test")?,
    })
}

/// What the transfer's record says that the ranking's does not.
fn of_transfer(folder: &Path) -> Result<Vec<Fact>> {
    let record = RunFolder::read(folder)?;
    let words = [
        ("source", "source"),
        ("blocks", "fine-tuned blocks"),
        ("images", "images"),
        ("epochs", "epochs"),
        ("l2", "L2 term"),
    ];
    let fact = |(option, name): (&str, &str)| {
        let value = record
            .options
            .get(option)
            .filter(|value| !value.is_null())?;
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let name = name.to_owned();
        Some(Fact { name, value })
    };
    Ok(words.into_iter().filter_map(fact).collect())
}
