//! The runs of an audit, and the images that they share.

use super::groups::RunGroups;
use super::through::Through;
use crate::artefact::RunRecord;
use crate::data::evenly_spaced;
use crate::influence::{FeatureSet, Measurement, Normalise, QueryRanking, RankJob};
use crate::report::{Fact, LabelledImage};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The images of all runs of an audit, each list in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists {
    /// The test images.
    pub queries: Vec<LabelledImage>,
    /// Test images that are left out: each counts as one of the class that is predicted, and the runs predict different ones.
    pub left_out: usize,
    /// The training images.
    pub training: Vec<LabelledImage>,
}

/// A finished run of `ascribe rank` with what it was made from.
pub struct Subject<'a> {
    /// What it is called.
    pub name: String,
    /// Its record.
    pub record: &'a RunRecord,
    /// What is known of the model besides.
    pub facts: Vec<Fact>,
    /// What its scores go through.
    pub through: Through<'a>,
    /// The job it was; through residual blocks that of the head, which says what the model predicts.
    pub job: RankJob<'a>,
    /// What the run's scores were divided by; those of `job` are not.
    pub normalise: Normalise,
    /// `rankings.parquet`
    pub rankings: &'a [QueryRanking],
    /// Whether these have the most harmful images of each query, where any are.
    pub has_harmful: bool,
    /// `train_rankings.parquet`, where it has that.
    pub train_rankings: &'a [QueryRanking],
    /// `self_influence.parquet`: ids and values in nats.
    pub self_influence: &'a [(usize, f64)],
    /// `shares.parquet`, where it has that: what of the helpful scores comes by each segment, the head last, in nats.
    pub shares: &'a [(String, f64)],
    /// Groups of training images, where the run scored any.
    pub groups: Option<RunGroups<'a>>,
}

impl Lists {
    /// Those of some runs, which must agree on the queries; where all of them measured predictions, on one prediction at least. A
    /// training image has the label that the first run gives it; others may have relabelled it.
    ///
    /// # Errors
    /// Other queries, or labels of these.
    pub fn of(subjects: &[Subject]) -> Result<Self> {
        let labels = |set: &FeatureSet| -> BTreeMap<usize, usize> {
            let labels = set.labels.iter().copied();
            set.ids.iter().copied().zip(labels).collect()
        };
        let mut runs = subjects.iter().map(|subject| labels(&subject.job.test));
        let first = runs.next().unwrap_or_default();
        let (mut queries, mut training) = (first.clone(), BTreeMap::new());
        let predicts = |it: &Subject| Measurement::of(it.record) == Measurement::Prediction;
        let may_differ = subjects.iter().all(predicts);
        for (own, subject) in runs.zip(subjects.iter().skip(1)) {
            queries.retain(|id, label| own.get(id) == Some(&*label));
            let agrees = queries.len() == first.len() || may_differ && !queries.is_empty();
            if !agrees || !own.keys().eq(first.keys()) {
                let what = format!("test images of {}", subject.name);
                let expected = format!("those of {}", subjects[0].name);
                let remedy = "give runs that ranked for the same test images (of --measurement prediction: that predict the same for one at least)";
                return Err(Error::mismatch(what, expected, "others", remedy));
            }
        }
        for subject in subjects {
            for (id, label) in labels(&subject.job.train) {
                training.entry(id).or_insert(label);
            }
        }
        let list = |images: BTreeMap<usize, usize>| {
            let images = images.into_iter();
            images
                .map(|(id, label)| LabelledImage { id, label })
                .collect()
        };
        Ok(Self {
            left_out: first.len() - queries.len(),
            queries: list(queries),
            training: list(training),
        })
    }
}

/// Ids of `count` of the queries `among` these that are worth a measurement: half of them such as a model gets wrong, the others among
/// the rest; both evenly spaced, and the same for all models.
pub fn worth_measuring(
    subjects: &[Subject],
    among: &BTreeSet<usize>,
    count: usize,
) -> BTreeSet<usize> {
    let rankings = subjects.iter().flat_map(|subject| subject.rankings);
    let wrong: BTreeSet<usize> = rankings
        .filter(|ranking| ranking.query_prediction != ranking.query_label)
        .map(|ranking| ranking.query)
        .collect();
    let wrong: Vec<usize> = wrong.intersection(among).copied().collect();
    let mut chosen: BTreeSet<usize> = spaced(&wrong, count / 2).collect();
    let rest: Vec<usize> = among.difference(&chosen).copied().collect();
    chosen.extend(spaced(&rest, count - chosen.len()));
    chosen
}

/// `count` of the ids, or all where these are fewer, evenly spaced.
fn spaced(ids: &[usize], count: usize) -> impl Iterator<Item = usize> {
    let places = evenly_spaced(ids.len(), count).into_iter();
    places.map(|place| ids[place])
}

/// Positions in a list by id.
pub(super) fn places(images: &[LabelledImage]) -> HashMap<usize, usize> {
    let numbered = images.iter().enumerate();
    numbered.map(|(place, image)| (image.id, place)).collect()
}
