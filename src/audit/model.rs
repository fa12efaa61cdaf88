//! One run as the page shows it.

use super::measured::{MeasureOptions, Measured, measure};
use super::statements::{facts, statements};
use crate::artefact::RunRecord;
use crate::figure::{Curve, ModelRankings, QuerySet};
use crate::influence::{Examples, Prepared, QueryRanking, RankJob, RankedImage, evenly_spaced};
use crate::report::{
    AuditedModel, ClassMatchCurve, Confusion, Fact, LabelledImage, ModelQuery, ModelTrainingImage,
    Ranked,
};
use crate::{Error, Result};
use candle_core::DType;
use ndarray::{Array2, ArrayView1};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Training images that a confusion lists at either end.
const LISTED: usize = 24;
/// Most cells of the confusion matrix that are solved for, the fullest first.
const CELLS: usize = 400;

/// The images of all runs of an audit, each list in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lists {
    /// The test images.
    pub queries: Vec<LabelledImage>,
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
    /// The job it was.
    pub job: RankJob<'a>,
    /// `rankings.parquet`
    pub rankings: &'a [QueryRanking],
    /// `train_rankings.parquet`, where it has that.
    pub train_rankings: &'a [QueryRanking],
    /// `self_influence.parquet`: ids and values in nats.
    pub self_influence: &'a [(usize, f64)],
}

impl Lists {
    /// Those of some runs, which must agree on the queries. A training image has the label that the first run gives it; others
    /// may have relabelled it.
    ///
    /// # Errors
    /// Other queries, or labels of these.
    pub fn of(subjects: &[Subject]) -> Result<Self> {
        let mut queries: Option<BTreeMap<usize, usize>> = None;
        let mut training = BTreeMap::new();
        for subject in subjects {
            let sets = [&subject.job.test, &subject.job.train];
            let [test, train] = sets.map(|set| {
                let labels = set.labels.iter().copied();
                set.ids.iter().copied().zip(labels)
            });
            let own: BTreeMap<usize, usize> = test.collect();
            if queries.as_ref().is_some_and(|first| *first != own) {
                let what = format!("test images of {}", subject.name);
                let expected = format!("those of {}", subjects[0].name);
                let remedy = "give runs that ranked for the same test images";
                return Err(Error::mismatch(what, expected, "others", remedy));
            }
            queries = Some(own);
            for (id, label) in train {
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
            queries: list(queries.unwrap_or_default()),
            training: list(training),
        })
    }
}

/// Ids of `count` queries that are worth a measurement: half of them such as a model gets wrong, the others among all; both
/// evenly spaced, and the same for all models.
pub fn worth_measuring(subjects: &[Subject], lists: &Lists, count: usize) -> BTreeSet<usize> {
    let rankings = subjects.iter().flat_map(|subject| subject.rankings);
    let wrong: BTreeSet<usize> = rankings
        .filter(|ranking| ranking.query_prediction != ranking.query_label)
        .map(|ranking| ranking.query)
        .collect();
    let wrong: Vec<usize> = wrong.into_iter().collect();
    let all: Vec<usize> = lists.queries.iter().map(|image| image.id).collect();
    let mut chosen = BTreeSet::new();
    for (ids, wanted) in [(&wrong, count / 2), (&all, count)] {
        let spaced = evenly_spaced(ids.len(), wanted.min(ids.len()));
        let room = wanted.saturating_sub(chosen.len());
        let new = spaced
            .into_iter()
            .map(|at| ids[at])
            .filter(|id| !chosen.contains(id));
        let new: Vec<usize> = new.take(room).collect();
        chosen.extend(new);
    }
    chosen
}

/// Positions in a list by id.
fn places(images: &[LabelledImage]) -> HashMap<usize, usize> {
    let numbered = images.iter().enumerate();
    numbered.map(|(place, image)| (image.id, place)).collect()
}

/// The run as the page shows it; `folder` takes what memory does not hold.
///
/// # Errors
/// Files of the run that do not fit its data, or whatever stops a solve or a refit; one that does not converge says so.
pub fn audited(
    subject: &Subject,
    lists: &Lists,
    options: &MeasureOptions,
    folder: &Path,
) -> Result<AuditedModel> {
    subject.job.prepared(folder, |prepared| {
        let view = View {
            subject,
            prepared,
            queries: places(&lists.queries),
            training: places(&lists.training),
        };
        view.model(lists, options)
    })
}

struct View<'a> {
    subject: &'a Subject<'a>,
    prepared: &'a Prepared<'a>,
    queries: HashMap<usize, usize>,
    training: HashMap<usize, usize>,
}

impl View<'_> {
    fn model(&self, lists: &Lists, options: &MeasureOptions) -> Result<AuditedModel> {
        let subject = self.subject;
        let cells = cells(self.prepared.queries());
        let everything: Vec<usize> = (0..self.prepared.queries().count()).collect();
        let mut groups: Vec<Vec<usize>> =
            cells.iter().map(|(_, members)| members.clone()).collect();
        groups.push(everything);
        let mean = self.prepared.mean_losses(&groups)?;
        let measured = measure(&subject.job, self.prepared, subject.rankings, options)?;
        let mut facts = facts(subject.record);
        facts.splice(0..0, subject.facts.iter().cloned());
        Ok(AuditedModel {
            name: subject.name.clone(),
            facts,
            statements: statements(subject.record, measured.as_ref()),
            unit: subject.job.options.normalise.unit().to_owned(),
            class_match: self.class_match()?,
            queries: self.model_queries(lists, measured)?,
            training: self.model_training(lists, mean.row(groups.len() - 1))?,
            confusions: self.confusions(&cells, &mean),
        })
    }

    fn class_match(&self) -> Result<Vec<ClassMatchCurve>> {
        let (train, test) = (self.subject.train_rankings, self.subject.rankings);
        let rankings = ModelRankings {
            model: &self.subject.name,
            train,
            test,
        };
        let mut sets = vec![QuerySet::Test];
        if !train.is_empty() {
            sets.push(QuerySet::TrainingItselfExcluded);
        }
        let ranked = test.iter().all(|ranking| !ranking.helpful.is_empty());
        // Without training images as queries the classes of the training set are not in the files.
        if train.is_empty() || !ranked {
            return Ok(Vec::new());
        }
        let curve = |set: QuerySet| {
            let curve = Curve::of(&rankings, set)?;
            Ok(ClassMatchCurve {
                queries: set.description().into(),
                chance_percent: curve.chance_percent,
                percent: curve
                    .points
                    .iter()
                    .map(|point| point.match_percent)
                    .collect(),
            })
        };
        sets.into_iter().map(curve).collect()
    }

    fn model_queries(&self, lists: &Lists, measured: Option<Measured>) -> Result<Vec<ModelQuery>> {
        let queries = self.prepared.queries();
        let probabilities = rows(queries)?;
        let mut ranked: HashMap<usize, &QueryRanking> = HashMap::new();
        for ranking in self.subject.rankings {
            ranked.insert(ranking.query, ranking);
        }
        let (mut removals, mut flips) = measured
            .map(|measured| (measured.removals, measured.flips))
            .unwrap_or_default();
        let mut found: Vec<Option<ModelQuery>> = vec![None; lists.queries.len()];
        for (row, id) in queries.ids().iter().enumerate() {
            let ranking = ranked.get(id).ok_or_else(|| {
                let what = format!("rankings of {}", self.subject.name);
                let expected = format!("query {id}");
                Error::mismatch(what, expected, "none", "run ascribe rank again")
            })?;
            let flip = flips.remove(&row).map(|mut flip| {
                flip.images = flip
                    .images
                    .iter()
                    .map(|&image| self.train_place(image))
                    .collect();
                flip
            });
            found[self.queries[id]] = Some(ModelQuery {
                prediction: queries.outputs().predictions[row],
                probabilities: probabilities.row(row).to_vec(),
                loss: queries.outputs().losses[row],
                helpful: self.ranked(&ranking.helpful)?,
                harmful: self.ranked(&ranking.harmful)?,
                removal: removals.remove(&row),
                flip,
            });
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// From a position in the run to one in the list.
    fn train_place(&self, position: usize) -> usize {
        self.training[&self.prepared.training().ids()[position]]
    }

    fn ranked(&self, images: &[RankedImage]) -> Result<Vec<Ranked>> {
        let ranked = |image: &RankedImage| {
            let place = self.training.get(&image.train).copied();
            let train = place.ok_or_else(|| {
                let what = format!("rankings of {}", self.subject.name);
                let found = format!("training image {}", image.train);
                let remedy = "run ascribe rank again";
                Error::mismatch(what, "images of its training set", found, remedy)
            })?;
            Ok(Ranked {
                train,
                score: image.score,
                certified: image.certificate.map(|certificate| certificate.certified),
            })
        };
        images.iter().map(ranked).collect()
    }

    fn model_training(
        &self,
        lists: &Lists,
        mean: ArrayView1<f64>,
    ) -> Result<Vec<Option<ModelTrainingImage>>> {
        let training = self.prepared.training();
        let probabilities = rows(training)?;
        let own: HashMap<usize, f64> = self.subject.self_influence.iter().copied().collect();
        let mut found = vec![None; lists.training.len()];
        for (row, id) in training.ids().iter().enumerate() {
            found[self.training[id]] = Some(ModelTrainingImage {
                label: training.labels()[row],
                prediction: training.outputs().predictions[row],
                probability: probabilities[[row, training.labels()[row]]],
                loss: training.outputs().losses[row],
                self_influence: own.get(id).copied(),
                mean_score: Some(mean[row]),
            });
        }
        Ok(found)
    }

    fn confusions(&self, cells: &[(Cell, Vec<usize>)], mean: &Array2<f64>) -> Vec<Confusion> {
        let confusion = |(row, ((label, prediction), members)): (usize, &(Cell, Vec<usize>))| {
            let scores = mean.row(row);
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let ranked = |image: &usize| Ranked {
                train: self.train_place(*image),
                score: scores[*image],
                certified: None,
            };
            let ids = self.prepared.queries().ids();
            Confusion {
                label: *label,
                prediction: *prediction,
                queries: members
                    .iter()
                    .map(|&member| self.queries[&ids[member]])
                    .collect(),
                helpful: order.iter().take(LISTED).map(ranked).collect(),
                harmful: order.iter().rev().take(LISTED).map(ranked).collect(),
            }
        };
        cells.iter().enumerate().map(confusion).collect()
    }
}

/// Label and prediction.
type Cell = (usize, usize);

/// The queries of each label and prediction; the fullest cells where there are very many.
fn cells(queries: &Examples) -> Vec<(Cell, Vec<usize>)> {
    let mut cells: BTreeMap<Cell, Vec<usize>> = BTreeMap::new();
    let predictions = queries.outputs().predictions.iter();
    for (row, (&label, &prediction)) in queries.labels().iter().zip(predictions).enumerate() {
        cells.entry((label, prediction)).or_default().push(row);
    }
    let mut cells: Vec<_> = cells.into_iter().collect();
    cells.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    cells.truncate(CELLS);
    cells.sort_by_key(|(cell, _)| *cell);
    cells
}

/// Probabilities `[n, C]`.
fn rows(examples: &Examples) -> Result<Array2<f64>> {
    let tensor = examples.outputs().probabilities.to_dtype(DType::F64)?;
    let values = tensor.flatten_all()?.to_vec1::<f64>()?;
    Ok(Array2::from_shape_vec(tensor.dims2()?, values)
        .map_err(ndarray_linalg::error::LinalgError::from)?)
}
