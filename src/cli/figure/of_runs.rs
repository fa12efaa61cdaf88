//! Figures of runs: 4, 5 and 6 of the paper, and the influence between classes.

use super::drawn::{Asked, Pictures};
use super::named_run::NamedRun;
use super::test_images::TestImages;
use crate::artefact::RunRecord;
use crate::audit::sensitivity;
use crate::cli::recorded_data::{recorded_data, recorded_model};
use crate::cli::run_names::{check_same_class_names, run_names};
use crate::data::{Dataset, numbered};
use crate::figure::{
    ClassMatch, Figure, HelpfulExamples, InfluenceMatrix, LossSensitivity, MatrixQueries,
    ModelImages, ModelRankings, ModelScores, ModelSensitivity, QueryExample,
};
use crate::model::ResNet;
use crate::{Error, Result};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What every figure of runs asks for.
#[derive(Debug, Args)]
pub(super) struct OfRuns {
    /// Folders left by ascribe rank, in the order they are to be shown
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// What the runs are called in the figure (default: the folders' names)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    names: Option<Vec<String>>,
    #[command(flatten)]
    drawn: Pictures,
}

impl OfRuns {
    fn open(&self) -> Result<Vec<NamedRun>> {
        let names = run_names(&self.runs, self.names.as_deref())?;
        let runs = self.runs.iter().zip(names);
        runs.map(|(folder, name)| NamedRun::open(folder, name))
            .collect()
    }

    /// Draws what `figure` makes of the runs, with the effective values of its `own` options.
    pub(super) fn draw<F: Figure, const N: usize>(
        &self,
        asked: Asked,
        own: [(&'static str, Value); N],
        figure: impl FnOnce(&[NamedRun]) -> Result<F>,
    ) -> Result<()> {
        let runs = self.open()?;
        let folders: Vec<&Path> = self.runs.iter().map(PathBuf::as_path).collect();
        let names: Vec<&String> = runs.iter().map(|run| &run.name).collect();
        let shared = [("runs", json!(self.runs)), ("names", json!(names))];
        let options = own.into_iter().chain(shared);
        self.drawn.draw(asked, &folders, options, || figure(&runs))
    }
}

/// Figure 4, of the given test images of the first run, or one of each class.
pub(super) fn loss_sensitivity(runs: &[NamedRun], images: &TestImages) -> Result<LossSensitivity> {
    let Some(first) = runs.first() else {
        return Err(no_runs());
    };
    let test = recorded_data(&first.record, "test")?;
    let ids = images.of(&first.test_rankings()?)?;
    let networks = runs.iter().map(|run| recorded_model(&run.record));
    let networks = networks.collect::<Result<Vec<_>>>()?;
    let framing = networks[0].framing();
    let query = |&id: &usize| {
        let mut query = QueryExample::of(&test, id)?;
        let image = test.get(id)?.image;
        // Beside a map of the part that the model sees, that part.
        if !framing.takes_all(&image) {
            query.picture = image.framed(framing).into();
        }
        Ok(query)
    };
    let queries = ids.iter().map(query).collect::<Result<_>>()?;
    let model = |(run, network): (&NamedRun, &ResNet)| {
        let other = recorded_data(&run.record, "test")?;
        same_test_images(runs, &test, run, &other)?;
        Ok(ModelSensitivity {
            model: run.name.clone(),
            predicted: run.is_predicted(),
            maps: sensitivity(network, &other, &ids, &mut |_| {})?,
        })
    };
    Ok(LossSensitivity {
        queries,
        models: (runs.iter().zip(&networks))
            .map(model)
            .collect::<Result<_>>()?,
    })
}

fn no_runs() -> Error {
    let remedy = "give a folder made by ascribe rank";
    Error::mismatch("runs", "at least one", "none", remedy)
}

fn same_test_images(
    runs: &[NamedRun],
    test: &Dataset,
    run: &NamedRun,
    other: &Dataset,
) -> Result<()> {
    if other.digest() == test.digest() {
        return Ok(());
    }
    let what = format!("test images of {}", run.name);
    let expected = format!("those of {}, {}", runs[0].name, test.path().display());
    let remedy = "give runs with the same test images";
    Err(Error::mismatch(
        what,
        expected,
        other.path().display(),
        remedy,
    ))
}

/// Figure 6; without the panels of training images where a run has not ranked for these.
pub(super) fn class_match(runs: &[NamedRun]) -> Result<ClassMatch> {
    let read = |run: &NamedRun| {
        if run.has_train_rankings() {
            let train = run.train_rankings()?;
            let labels = train.iter().map(|query| query.query_label).collect();
            return Ok((train, run.helpful_rankings()?, labels));
        }
        let (test, labels) = (run.helpful_rankings()?, run.labels("train")?);
        note_test_images_alone(run);
        Ok((Vec::new(), test, labels))
    };
    let rankings = runs.iter().map(read).collect::<Result<Vec<_>>>()?;
    let images: Vec<_> = runs.iter().map(NamedRun::images).collect();
    let models =
        (runs.iter().zip(&rankings).zip(&images)).map(|((run, (train, test, labels)), images)| {
            ModelRankings {
                model: &run.name,
                train,
                test,
                labels,
                predicted: run.is_predicted(),
                images: images
                    .as_ref()
                    .map(|images| images.each_ref().map(String::as_str)),
            }
        });
    ClassMatch::of(&models.collect::<Vec<_>>())
}

fn note_test_images_alone(run: &NamedRun) {
    note!(
        "ascribe: {} has no training images as queries (--skip-train, or scores through blocks): test images alone are drawn",
        run.name
    );
}

/// The influence matrix of test and, where a run has ranked for them, training images as queries, by every run.
pub(super) fn influence_matrix(runs: &[NamedRun]) -> Result<InfluenceMatrix> {
    let Some(first) = runs.first() else {
        return Err(no_runs());
    };
    for run in runs {
        let classes = [first, run].map(|run| &run.record.classes);
        check_same_class_names(classes, [&first.name, &run.name])?;
    }
    let read = |run: &NamedRun| {
        let train_labels = run.labels("train")?;
        let scores = |file, labels: Vec<usize>| -> Result<_> {
            let remedy = "run ascribe rank with --scores";
            let shape = [labels.len(), train_labels.len()];
            Ok((run.scores(file, remedy, shape)?, labels))
        };
        let of_test = scores("scores.npy", run.labels("test")?)?;
        let mut panels = vec![(MatrixQueries::Test, of_test)];
        match run.has_train_rankings() {
            true => {
                let of_training = scores("train_scores.npy", train_labels.clone())?;
                panels.push((MatrixQueries::Train, of_training));
            }
            false => note_test_images_alone(run),
        }
        Ok((panels, train_labels))
    };
    let material = runs.iter().map(read).collect::<Result<Vec<_>>>()?;
    let models = runs
        .iter()
        .zip(&material)
        .flat_map(|(run, (panels, train_labels))| {
            let panels = panels.iter();
            panels.map(|(queries, (scores, query_labels))| ModelScores {
                model: &run.name,
                queries: *queries,
                predicted: *queries == MatrixQueries::Test && run.is_predicted(),
                scores: scores.view(),
                unit: run.unit(),
                query_labels,
                train_labels,
            })
        });
    let models: Vec<ModelScores> = models.collect();
    InfluenceMatrix::of(class_names(&first.record, &models), &models)
}

/// The run's class names, or numbers where it has none.
fn class_names(record: &RunRecord, models: &[ModelScores]) -> Vec<String> {
    let numbers = || {
        let labels = models.iter().flat_map(|model| model.train_labels);
        let most = labels.max().map_or(0, |most| most + 1);
        numbered(most)
    };
    record.classes.clone().unwrap_or_else(numbers)
}

/// Figure 5, with queries drawn from those of the first run.
pub(super) fn helpful_examples(runs: &[NamedRun], images: &TestImages) -> Result<HelpfulExamples> {
    let read = |run: &NamedRun| {
        Ok((
            run.helpful_rankings()?,
            recorded_data(&run.record, "train")?,
            recorded_data(&run.record, "test")?,
        ))
    };
    let material = runs.iter().map(read).collect::<Result<Vec<_>>>()?;
    let Some((first, _, test)) = material.first() else {
        return Err(no_runs());
    };
    for (run, (_, _, other)) in runs.iter().zip(&material) {
        same_test_images(runs, test, run, other)?;
    }
    let models = runs
        .iter()
        .zip(&material)
        .map(|(run, (rankings, train, _))| ModelImages {
            model: &run.name,
            unit: run.unit(),
            predicted: run.is_predicted(),
            rankings,
            train,
        });
    let (ids, models) = (images.of(first)?, models.collect::<Vec<_>>());
    Ok(HelpfulExamples {
        named: images.are_named(),
        ..HelpfulExamples::of(&ids, &models, test)?
    })
}
