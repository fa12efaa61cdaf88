//! One run as the page shows it.

use super::confusions::{Cell, cells, ends, groups};
use super::facts::facts;
use super::fitted::Fitted;
use super::measured::{MeasureOptions, Measured, measure};
use super::statements::{of_held_out, of_missed, of_overfitting, statements};
use super::subject::{Lists, Subject, places};
use super::through::Through;
use super::trained_again::{self, Retraining};
use crate::evaluate::HeldOut;
use crate::figure::{Curve, ModelRankings, QuerySet};
use crate::influence::{Examples, Normalise, QueryRanking, RankedImage};
use crate::report::{
    Absence, AuditedModel, ClassMatchCurve, Confusion, ModelQuery, ModelTrainingImage, Quantity,
    Ranked, Statement, TrainingGroup,
};
use crate::{Error, Result};
use candle_core::DType;
use ndarray::{Array2, ArrayView1};
use std::collections::HashMap;
use std::path::Path;

/// Between probabilities that rounding may put in either order.
const TIE: f64 = 1e-3;

/// The run as the page shows it, and how many of the solves and refits made for it missed their tolerance, which it says too; scores
/// that do not end at the head are held against the `retraining` of the transfer. `folder` takes what memory does not hold, `progress` is
/// told how many queries, of how many, were measured.
///
/// # Errors
/// Files of the run that do not fit its data, or whatever stops a solve or a refit; one that does not converge says so.
pub fn audited(
    subject: &Subject,
    lists: &Lists,
    (options, retraining): (&MeasureOptions, &Retraining),
    (folder, progress): (&Path, &mut dyn FnMut(usize, usize)),
) -> Result<(AuditedModel, usize)> {
    let is_measured = options.groups > 0 || !options.queries.is_empty();
    let needed = options.held_out || subject.through.is_head() && is_measured;
    let fitted = Fitted::of(&subject.job, needed)?;
    let held_out = fitted.as_ref().filter(|_| options.held_out);
    let held_out = held_out.map(Fitted::held_out).transpose()?;
    let held_out = held_out.as_ref();
    let missed_fits = held_out.map_or(0, |held_out| held_out.work.not_converged);
    let scores = match subject.through {
        // Scores that were divided predict no rise of a loss, and have another unit than means of those that were not.
        Through::Head if subject.normalise == Normalise::None => {
            return subject.job.prepared(folder, |prepared| {
                let examples = (prepared.training(), prepared.queries());
                let view = View::new(subject, lists, examples, held_out);
                let means = prepared.mean_losses(&view.groups())?;
                let (job, rankings) = (&subject.job, subject.rankings);
                let fitted = fitted.as_ref();
                let measured = measure(job, prepared, rankings, options, (fitted, progress))?;
                let missed_refits = measured.as_ref().map_or(0, Measured::missed);
                let mut model = view.model(Some(&means), measured)?;
                model.groups = view.training_groups(fitted, options.groups)?;
                let missed = prepared.missed();
                model.statements.extend(of_missed(missed));
                let missed_groups = model.groups.iter().filter(|group| {
                    let measured = group.measured.as_ref();
                    measured.is_some_and(|measured| !measured.converged)
                });
                let missed = missed + missed_refits + missed_groups.count();
                Ok((model, missed + missed_fits))
            });
        }
        Through::Head => None,
        Through::Blocks { scores, .. } => scores,
    };
    let measured = trained_again::measure(subject, retraining, options.removed, folder)?;
    let (training, queries) = subject.job.outputs()?;
    let view = View::new(subject, lists, (&training, &queries), held_out);
    let means = scores.map(|scores| scores.means(&view.groups()));
    let mut model = view.model(means.transpose()?.as_ref(), measured)?;
    // Heads fitted again say nothing of what goes through blocks, nor of divided scores.
    model.groups = view.training_groups(None, 0)?;
    Ok((model, missed_fits))
}

struct View<'a> {
    subject: &'a Subject<'a>,
    lists: &'a Lists,
    training: &'a Examples,
    queries: &'a Examples,
    /// By heads fitted without some of the training images.
    held_out: Option<&'a HeldOut>,
    training_places: HashMap<usize, usize>,
    query_places: HashMap<usize, usize>,
    /// Positions in the run of the queries that are on the page.
    listed: Vec<usize>,
    cells: Vec<Cell>,
}

impl<'a> View<'a> {
    fn new(
        subject: &'a Subject,
        lists: &'a Lists,
        (training, queries): (&'a Examples, &'a Examples),
        held_out: Option<&'a HeldOut>,
    ) -> Self {
        let query_places = places(&lists.queries);
        let listed = |row: &usize| query_places.contains_key(&queries.ids()[*row]);
        let listed: Vec<usize> = (0..queries.count()).filter(listed).collect();
        Self {
            subject,
            lists,
            training,
            queries,
            held_out,
            training_places: places(&lists.training),
            query_places,
            cells: cells(queries, &listed),
            listed,
        }
    }
}

impl View<'_> {
    /// The queries that scores are averaged over: all on the page, and those of the fullest cells.
    fn groups(&self) -> Vec<Vec<usize>> {
        groups(&self.cells, &self.listed)
    }

    /// With mean scores of the groups, where they are known, and what was measured.
    fn model(
        &self,
        means: Option<&Array2<f64>>,
        measured: Option<Measured>,
    ) -> Result<AuditedModel> {
        let subject = self.subject;
        let mut facts = facts(subject);
        facts.splice(0..0, subject.facts.iter().cloned());
        Ok(AuditedModel {
            name: subject.name.clone(),
            facts,
            statements: self.statements(measured.as_ref()),
            unit: subject.normalise.unit().to_owned(),
            class_match: self.class_match()?,
            queries: self.model_queries(measured)?,
            training: self.model_training(means.map(|means| means.row(0)))?,
            groups: Vec::new(),
            confusions: self.confusions(means),
            absences: self.absences(),
        })
    }

    fn absences(&self) -> Vec<Absence> {
        let subject = self.subject;
        let mut absences = subject.through.absences(
            subject.normalise,
            !subject.self_influence.is_empty(),
            self.held_out.is_some(),
        );
        let none_kept = |what, option: &str| Absence {
            what,
            reason: format!("None was kept: ascribe rank {option} K keeps them."),
        };
        let is_bare = |ranking: &QueryRanking| ranking.helpful.is_empty();
        if subject.rankings.iter().all(is_bare) {
            absences.push(none_kept(Quantity::HelpfulEnd, "--top"));
        }
        if !subject.has_harmful {
            absences.push(none_kept(Quantity::HarmfulEnd, "--bottom"));
        }
        absences
    }

    fn training_groups(&self, fitted: Option<&Fitted>, most: usize) -> Result<Vec<TrainingGroup>> {
        let Some(groups) = &self.subject.groups else {
            return Ok(Vec::new());
        };
        let place = |at: usize| self.train_place(at);
        groups.shown(&self.subject.job, fitted, most, place)
    }

    /// The groups behind a query.
    fn query_groups(&self, query: usize) -> Vec<(usize, f64)> {
        let stored = self.subject.groups.as_ref().map(|groups| groups.stored);
        stored
            .and_then(|stored| stored.by_query.get(&query).cloned())
            .unwrap_or_default()
    }

    fn statements(&self, measured: Option<&Measured>) -> Vec<Statement> {
        let (record, through) = (self.subject.record, &self.subject.through);
        let mut statements = statements(record, through, measured);
        let [training, test] = [self.training, self.queries].map(accuracy);
        statements.extend(of_overfitting(training, test));
        statements.extend(
            self.held_out
                .and_then(|held_out| of_held_out(&held_out.work)),
        );
        statements
    }

    /// Of the test images on the page, which of two runs may be fewer than a run's.
    fn class_match(&self) -> Result<Vec<ClassMatchCurve>> {
        let (train, test) = (self.subject.train_rankings, self.subject.rankings);
        let listed = |ranking: &&QueryRanking| self.query_places.contains_key(&ranking.query);
        let test: Vec<QueryRanking> = test.iter().filter(listed).cloned().collect();
        if test.iter().any(|ranking| ranking.helpful.is_empty()) {
            return Ok(Vec::new());
        }
        let rankings = ModelRankings {
            model: &self.subject.name,
            train,
            test: &test,
            labels: self.training.labels(),
            images: None,
            predicted: false,
        };
        let mut sets = vec![QuerySet::Test];
        if !train.is_empty() {
            sets.push(QuerySet::TrainingItselfExcluded);
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

    fn model_queries(&self, measured: Option<Measured>) -> Result<Vec<ModelQuery>> {
        let queries = self.queries;
        let probabilities = rows(queries)?;
        let mut ranked: HashMap<usize, &QueryRanking> = HashMap::new();
        for ranking in self.subject.rankings {
            ranked.insert(ranking.query, ranking);
        }
        let (mut removals, mut flips) = measured
            .map(|measured| (measured.removals, measured.flips))
            .unwrap_or_default();
        let mut found: Vec<Option<ModelQuery>> = vec![None; self.lists.queries.len()];
        for &row in &self.listed {
            let id = &queries.ids()[row];
            let ranking = ranked.get(id).ok_or_else(|| {
                let what = format!("rankings of {}", self.subject.name);
                let expected = format!("query {id}");
                Error::mismatch(what, expected, "none", "run ascribe rank again")
            })?;
            self.check_prediction(ranking, probabilities.row(row))?;
            let flip = flips.remove(&row).map(|mut flip| {
                flip.images = flip
                    .images
                    .iter()
                    .map(|&image| self.train_place(image))
                    .collect();
                flip
            });
            found[self.query_places[id]] = Some(ModelQuery {
                prediction: queries.outputs().predictions[row],
                probabilities: probabilities.row(row).to_vec(),
                loss: queries.outputs().losses[row],
                helpful: self.ranked(&ranking.helpful, |score| score > 0.0)?,
                harmful: self.ranked(&ranking.harmful, |score| score < 0.0)?,
                groups: self.query_groups(*id),
                removal: removals.remove(&row),
                flip,
            });
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// From a position in the run to one in the list.
    fn train_place(&self, position: usize) -> usize {
        self.training_places[&self.training.ids()[position]]
    }

    /// The run must have seen what the model predicts here, but for a tie.
    fn check_prediction(
        &self,
        ranking: &QueryRanking,
        probabilities: ArrayView1<f64>,
    ) -> Result<()> {
        let most = probabilities.fold(0.0, |most, &p| f64::max(most, p));
        let own = probabilities.get(ranking.query_prediction).copied();
        if own.is_some_and(|own| most - own <= TIE) {
            return Ok(());
        }
        let what = format!(
            "rankings of {}: prediction for query {}",
            self.subject.name, ranking.query
        );
        let expected = "the class that the model predicts";
        let found = format!("class {}", ranking.query_prediction);
        Err(Error::mismatch(
            what,
            expected,
            found,
            "run ascribe rank again",
        ))
    }

    /// Those of a sign: a list that reaches past 0 has images that are neither helpful nor harmful, or the other.
    fn ranked(&self, images: &[RankedImage], is_of: fn(f64) -> bool) -> Result<Vec<Ranked>> {
        let images = images.iter().filter(|image| is_of(image.score));
        let ranked = |image: &RankedImage| {
            let place = self.training_places.get(&image.train).copied();
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
        images.map(ranked).collect()
    }

    fn model_training(
        &self,
        mean: Option<ArrayView1<f64>>,
    ) -> Result<Vec<Option<ModelTrainingImage>>> {
        let training = self.training;
        let probabilities = rows(training)?;
        let own: HashMap<usize, f64> = self.subject.self_influence.iter().copied().collect();
        let mut found = vec![None; self.lists.training.len()];
        for (row, id) in training.ids().iter().enumerate() {
            found[self.training_places[id]] = Some(ModelTrainingImage {
                label: training.labels()[row],
                prediction: training.outputs().predictions[row],
                probability: probabilities[[row, training.labels()[row]]],
                loss: training.outputs().losses[row],
                held_out_loss: self.held_out.map(|held_out| held_out.losses[row]),
                self_influence: own.get(id).copied(),
                mean_score: mean.map(|mean| mean[row]),
            });
        }
        Ok(found)
    }

    fn confusions(&self, means: Option<&Array2<f64>>) -> Vec<Confusion> {
        let mean = |place: usize| means.filter(|means| place + 1 < means.nrows());
        let confusion = |(place, cell): (usize, &Cell)| {
            let train_place = |image| self.train_place(image);
            let ends = mean(place).map(|means| ends(means.row(place + 1), train_place));
            let computed = ends.is_some();
            let (helpful, harmful) = ends.unwrap_or_default();
            let query_place = |&query: &usize| self.query_places[&self.queries.ids()[query]];
            Confusion {
                label: cell.label,
                prediction: cell.prediction,
                queries: cell.queries.iter().map(query_place).collect(),
                computed,
                helpful,
                harmful,
            }
        };
        let mut confusions: Vec<Confusion> = self.cells.iter().enumerate().map(confusion).collect();
        confusions.sort_by_key(|confusion| (confusion.label, confusion.prediction));
        confusions
    }
}

/// In percent.
fn accuracy(examples: &Examples) -> f64 {
    let right = (examples.outputs().predictions.iter())
        .zip(examples.labels())
        .filter(|(prediction, label)| prediction == label);
    100.0 * right.count() as f64 / examples.count().max(1) as f64
}

/// Probabilities `[n, C]`.
fn rows(examples: &Examples) -> Result<Array2<f64>> {
    let tensor = examples.outputs().probabilities.to_dtype(DType::F64)?;
    let values = tensor.flatten_all()?.to_vec1::<f64>()?;
    Ok(Array2::from_shape_vec(tensor.dims2()?, values)
        .map_err(ndarray_linalg::error::LinalgError::from)?)
}
