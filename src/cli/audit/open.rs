//! A finished run of `ascribe rank` with everything that its page needs.

use crate::artefact::{DIGESTS, RunFolder, RunRecord};
use crate::audit::{RunGroups, Subject, Through};
use crate::cli::rank::{Material, Recorded, Transferred, reopen};
use crate::cli::train_groups::{TrainImages, recorded_groups};
use crate::data::{EXCLUDED, RELABELLED};
use crate::influence::{
    Groups, Measurement, Normalise, QueryRanking, RankJob, RankOptions, RankedImage, StoredGroups,
    StoredScores, read_helpful_shares, read_rankings, read_self_influence,
};
use crate::report::Fact;
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// A run, reopened.
pub(super) struct Opened {
    pub(super) record: RunRecord,
    pub(super) recorded: Recorded,
    /// Of a run through residual blocks that kept it.
    scores: Option<StoredScores>,
    rankings: Vec<QueryRanking>,
    has_harmful: bool,
    train_rankings: Vec<QueryRanking>,
    self_influence: Vec<(usize, f64)>,
    shares: Vec<(String, f64)>,
    group_scores: StoredGroups,
    /// Whose scores these are.
    groups: Option<Groups>,
    facts: Vec<Fact>,
}

impl Opened {
    /// Takes up a run, whose data must be as they were.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let record = RunFolder::read(folder)?;
        let recorded = reopen(&record)?;
        let mut rankings = read_rankings(&folder.join("rankings.parquet"))?;
        let has_harmful = add_harmful(&mut rankings, &record, &recorded)?;
        let facts = match record.options.get("model").and_then(|path| path.as_str()) {
            Some(model) => of_transfer(&record.located(Path::new(model)))?,
            None => Vec::new(),
        };
        Ok(Self {
            scores: scores(&record, &recorded)?,
            rankings,
            has_harmful,
            train_rankings: if_there(&record, "train_rankings.parquet", read_rankings)?,
            self_influence: if_there(&record, "self_influence.parquet", read_self_influence)?,
            shares: if_there(&record, "shares.parquet", read_helpful_shares)?,
            group_scores: if_there(&record, "train_groups.parquet", |_| {
                StoredGroups::read(folder)
            })?,
            groups: groups(&record, &recorded)?,
            record,
            recorded,
            facts,
        })
    }

    /// Whether its queries have labels of their own.
    pub(super) fn is_labelled(&self) -> bool {
        Measurement::of(&self.record) == Measurement::Label
    }

    /// Where the run is of a model and images, not of features alone.
    pub(super) fn seen(&self) -> Option<&Transferred> {
        self.recorded.transferred.as_ref()
    }

    pub(super) fn subject<'a>(&'a self, name: &str) -> Subject<'a> {
        let Recorded {
            material,
            head,
            options,
            through_blocks,
            ..
        } = &self.recorded;
        let through = match through_blocks {
            None => Through::Head,
            Some(through) => Through::Blocks {
                blocks: through.blocks,
                scores: self.scores.as_ref(),
            },
        };
        Subject {
            name: name.to_owned(),
            record: &self.record,
            facts: self.facts.clone(),
            normalise: options.normalise,
            through,
            job: RankJob {
                train: material.train.set(),
                test: material.test.set(),
                head,
                classes: material.classes.clone().unwrap_or_default(),
                // Means over queries are of scores that were not divided, and nothing is proven of them.
                options: RankOptions {
                    normalise: Normalise::None,
                    certify: None,
                    ..options.clone()
                },
                digests: material.digests(),
                device: candle_core::Device::Cpu,
            },
            rankings: &self.rankings,
            has_harmful: self.has_harmful,
            train_rankings: &self.train_rankings,
            self_influence: &self.self_influence,
            shares: &self.shares,
            groups: self.groups.as_ref().map(|members| RunGroups {
                stored: &self.group_scores,
                members,
            }),
        }
    }
}

/// The groups of training images that the run scored.
fn groups(record: &RunRecord, recorded: &Recorded) -> Result<Option<Groups>> {
    let Material {
        train,
        classes,
        inputs,
        ..
    } = &recorded.material;
    let images = TrainImages {
        ids: &train.ids,
        labels: &train.labels,
        classes: classes.as_deref().unwrap_or_default(),
    };
    recorded_groups(record, &images, inputs)
}

/// A run's full score matrix, where it kept that.
const SCORES: &str = "scores.npy";
/// Most harmful images of a query that are taken from the scores of a run that ranked none.
const HARMFUL: usize = 20;
/// Queries whose scores are held at once.
const STEP: usize = 256;

/// Gives the rankings of a run that ranked helpful images alone their harmful end, from the run's full scores or from rankings of all
/// images; whether they have it then.
fn add_harmful(
    rankings: &mut [QueryRanking],
    record: &RunRecord,
    recorded: &Recorded,
) -> Result<bool> {
    let (training, queries) = (&recorded.material.train, rankings.len());
    if rankings.iter().any(|ranking| !ranking.harmful.is_empty()) {
        return Ok(true);
    }
    if !is_there(record, SCORES)? {
        return Ok(add_lowest(rankings, training.ids.len()));
    }
    let path = record.folder.join(SCORES);
    let scores = StoredScores::open(&path, queries, training.ids.len())?;
    let positions: Vec<usize> = (0..queries).collect();
    for (rankings, positions) in rankings.chunks_mut(STEP).zip(positions.chunks(STEP)) {
        let scores = scores.at(positions)?;
        for (ranking, scores) in rankings.iter_mut().zip(scores.rows()) {
            let mut order: Vec<usize> = (0..scores.len()).filter(|&at| scores[at] < 0.0).collect();
            order.sort_by(|&a, &b| {
                let by_id = training.ids[a].cmp(&training.ids[b]);
                scores[a].total_cmp(&scores[b]).then(by_id)
            });
            order.truncate(HARMFUL);
            let ranked = |at: usize| RankedImage {
                train: training.ids[at],
                train_label: training.labels[at],
                score: scores[at],
                certificate: None,
            };
            ranking.harmful = order.into_iter().map(ranked).collect();
        }
    }
    Ok(true)
}

/// Where every query ranked all of so many training images, takes the harmful end from there; whether that is so.
fn add_lowest(rankings: &mut [QueryRanking], training: usize) -> bool {
    let is_whole = |ranking: &QueryRanking| ranking.helpful.len() == training;
    if !rankings.iter().all(is_whole) {
        return false;
    }
    for ranking in rankings {
        let lowest = ranking.helpful.iter().rev();
        let harmful = lowest.take_while(|image| image.score < 0.0);
        ranking.harmful = harmful.cloned().collect();
    }
    true
}

/// Whether a file of the run is there. One that it left and that is gone is an error: the page would say that there never was one.
fn is_there(record: &RunRecord, name: &str) -> Result<bool> {
    let path = record.folder.join(name);
    if path.exists() {
        return Ok(true);
    }
    let noted = record.results.get(DIGESTS);
    match noted.and_then(|files| files.get(name)) {
        None => Ok(false),
        Some(_) => Err(Error::conflict(
            &path,
            format!("is gone, which ascribe {} left here", record.command),
            "put it back, or run the command again with another --out",
        )),
    }
}

/// What a file of the run holds, or nothing where it never left one.
fn if_there<T: Default>(
    record: &RunRecord,
    name: &str,
    read: impl Fn(&Path) -> Result<T>,
) -> Result<T> {
    match is_there(record, name)? {
        true => read(&record.folder.join(name)),
        false => Ok(T::default()),
    }
}

/// The score matrix of a run through residual blocks; of a run of the head every mean is computed anew.
fn scores(record: &RunRecord, recorded: &Recorded) -> Result<Option<StoredScores>> {
    let Some(through) = &recorded.through_blocks else {
        return Ok(None);
    };
    if !is_there(record, SCORES)? {
        return Ok(None);
    }
    let (queries, training) = (&recorded.material.test.ids, &recorded.material.train.ids);
    StoredScores::open(&through.scores, queries.len(), training.len()).map(Some)
}

/// What the transfer's record says that the ranking's does not.
fn of_transfer(folder: &Path) -> Result<Vec<Fact>> {
    let record = RunFolder::read(folder)?;
    let words = [
        ("source", "source"),
        ("blocks", "fine-tuned blocks"),
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
    let count = |(result, name): (&str, &str)| {
        let entries = match record.results.get(result)? {
            Value::Object(entries) => entries.len(),
            value => value.as_array()?.len(),
        };
        let (name, value) = (name.to_owned(), entries.to_string());
        Some(Fact { name, value })
    };
    let changed = [
        ("train_ids", "training images"),
        (EXCLUDED, "left out by decisions"),
        (RELABELLED, "labels other than the file’s"),
        ("flipped", "labels flipped at first"),
    ];
    let facts = words.into_iter().filter_map(fact);
    Ok(facts.chain(changed.into_iter().filter_map(count)).collect())
}
