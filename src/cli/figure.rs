//! `ascribe figure`: a figure of the paper from finished runs of `ascribe rank`, or from a study.

mod named_run;
mod of_study;

use self::named_run::NamedRun;
use self::of_study::OfStudy;
use super::recorded_data::{recorded_data, recorded_model};
use super::run_names::{check_same_class_names, run_names};
use crate::artefact::RunRecord;
use crate::audit::sensitivity;
use crate::data::Dataset;
use crate::figure::{
    ClassMatch, Format, HelpfulExamples, InfluenceMatrix, LossSensitivity, MatrixQueries,
    ModelImages, ModelRankings, ModelScores, ModelSensitivity, QueryExample, Style, one_per_class,
    write,
};
use crate::influence::QueryRanking;
use crate::model::ResNet;
use crate::study::Variable;
use crate::{Error, Result};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `ascribe figure`.
#[derive(Debug, Args)]
pub struct Figure {
    #[command(subcommand)]
    number: Number,
}

#[derive(Debug, Subcommand)]
enum Number {
    /// Test accuracy against the number of training images, and the difference to the natural source
    #[command(
        name = "1",
        after_help = "Example:\n  ascribe figure 1 study --blocks 3 --out figures"
    )]
    Images(OfStudy),
    /// The same against the epoch
    #[command(
        name = "2",
        after_help = "Example:\n  ascribe figure 2 study --images 3200 --out figures"
    )]
    Epochs(OfStudy),
    /// The same against the number of fine-tuned blocks
    #[command(after_help = "Example:\n  ascribe figure blocks study --images 400 --out figures")]
    Blocks(OfStudy),
    /// The same against ε and norm of the source
    #[command(after_help = "Example:\n  ascribe figure epsilon study --images 400 --out figures")]
    Epsilon(OfStudy),
    /// Test images above how their loss responds to their pixels, by every run's model
    #[command(
        name = "4",
        after_help = "Example:\n  ascribe figure 4 natural robust --images 3,14,15 --out figures"
    )]
    Sensitivity {
        #[command(flatten)]
        common: Common,
        /// Test images to show, by id (default: a random one of each class)
        #[arg(long, value_name = "ID,…", value_delimiter = ',')]
        images: Vec<usize>,
        /// Draws the test images
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
    },
    /// Test images above the most helpful training image of each, by every run
    #[command(
        name = "5",
        after_help = "Example:\n  ascribe figure 5 robust natural --seed 1 --out figures"
    )]
    Examples {
        #[command(flatten)]
        common: Common,
        /// Which test images are shown
        #[arg(long, value_enum, default_value_t = Queries::OnePerClass)]
        queries: Queries,
        /// Draws the test images
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
    },
    /// How often the training image at each rank is of the query's class, by every run
    #[command(
        name = "6",
        after_help = "Example:\n  ascribe figure 6 natural robust --out figures"
    )]
    ClassMatch {
        #[command(flatten)]
        common: Common,
    },
    /// Mean scores between classes, of test and training images as queries, by every run (made with --scores)
    #[command(
        name = "matrix",
        after_help = "Example:\n  ascribe figure matrix natural robust --out figures"
    )]
    Matrix {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Queries {
    /// A random one of each class
    OnePerClass,
}

/// What every figure of runs asks for.
#[derive(Debug, Args)]
struct Common {
    /// Folders left by ascribe rank, in the order they are to be shown
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// What the runs are called in the figure (default: the folders' names)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    names: Option<Vec<String>>,
    #[command(flatten)]
    drawn: Pictures,
}

/// Where a figure goes.
#[derive(Debug, Args)]
pub(super) struct Pictures {
    /// Pictures to draw; the data behind them is always written, as CSV
    #[arg(
        long,
        value_name = "FORMAT,…",
        value_delimiter = ',',
        default_value = "svg,png"
    )]
    pub(super) format: Vec<Format>,
    /// Look of the pictures: paper (for print), or screen (larger type, heavier lines: slides, web pages)
    #[arg(long, value_name = "STYLE", default_value_t)]
    pub(super) style: Style,
    /// Folder for the figure; files of the same name are replaced
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: PathBuf,
}

impl Figure {
    /// Runs the command.
    ///
    /// # Errors
    /// A run that is missing, unfinished or without what the figure needs; data that has changed since.
    pub fn run(self) -> Result<ExitCode> {
        let written = match &self.number {
            Number::Images(of) => of.write(Variable::Images, "figure1"),
            Number::Epochs(of) => of.write(Variable::Epoch, "figure2"),
            Number::Blocks(of) => of.write(Variable::Blocks, "blocks"),
            Number::Epsilon(of) => of.write(Variable::Epsilon, "epsilon"),
            Number::Sensitivity {
                common,
                images,
                seed,
            } => {
                let figure = loss_sensitivity(&common.open()?, images, *seed)?;
                common.drawn.write(&figure, "figure4")
            }
            Number::Examples {
                common,
                queries: Queries::OnePerClass,
                seed,
            } => {
                let figure = helpful_examples(&common.open()?, *seed)?;
                common.drawn.write(&figure, "figure5")
            }
            Number::ClassMatch { common } => {
                let figure = class_match(&common.open()?)?;
                common.drawn.write(&figure, "figure6")
            }
            Number::Matrix { common } => {
                let figure = influence_matrix(&common.open()?)?;
                common.drawn.write(&figure, "influence_matrix")
            }
        };
        written?.iter().for_each(|path| say!("{}", path.display()));
        Ok(ExitCode::SUCCESS)
    }
}

impl Pictures {
    /// Writes it, and returns the paths.
    pub(super) fn write(
        &self,
        figure: &impl crate::figure::Figure,
        stem: &str,
    ) -> Result<Vec<PathBuf>> {
        write(figure, &self.out, stem, &self.format, self.style)
    }
}

impl Common {
    fn open(&self) -> Result<Vec<NamedRun>> {
        let names = run_names(&self.runs, self.names.as_deref())?;
        let runs = self.runs.iter().zip(names);
        runs.map(|(folder, name)| NamedRun::open(folder, name))
            .collect()
    }
}

/// Figure 4, of the given test images of the first run, or one of each class.
fn loss_sensitivity(runs: &[NamedRun], images: &[usize], seed: u64) -> Result<LossSensitivity> {
    let Some(first) = runs.first() else {
        return Err(no_runs());
    };
    let test = recorded_data(&first.record, "test")?;
    let ids = match images.is_empty() {
        true => one_per_class(&first.test_rankings()?, seed),
        false => images.to_vec(),
    };
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
            maps: sensitivity(network, &other, &ids)?,
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
fn class_match(runs: &[NamedRun]) -> Result<ClassMatch> {
    let read = |run: &NamedRun| {
        if run.has_train_rankings() {
            let train = run.train_rankings()?;
            let labels = train.iter().map(|query| query.query_label).collect();
            return Ok((train, run.test_rankings()?, labels));
        }
        let (test, labels) = (run.test_rankings()?, run.train_labels()?);
        note!(
            "ascribe: {} has no training images as queries (--skip-train, or scores through blocks): test images alone are drawn",
            run.name
        );
        Ok((Vec::new(), test, labels))
    };
    let rankings = runs.iter().map(read).collect::<Result<Vec<_>>>()?;
    let models = (runs.iter().zip(&rankings)).map(|(run, (train, test, labels))| ModelRankings {
        model: &run.name,
        train,
        test,
        labels,
    });
    ClassMatch::of(&models.collect::<Vec<_>>())
}

/// The influence matrix of test and training images as queries, by every run.
fn influence_matrix(runs: &[NamedRun]) -> Result<InfluenceMatrix> {
    let Some(first) = runs.first() else {
        return Err(no_runs());
    };
    for run in runs {
        let classes = [first, run].map(|run| &run.record.classes);
        check_same_class_names(classes, [&first.name, &run.name])?;
    }
    let read = |run: &NamedRun| {
        let remedy = "run ascribe rank with --scores and without --skip-train";
        let test = (
            labels(&run.test_rankings()?),
            run.scores("scores.npy", remedy)?,
        );
        let train = (
            labels(&run.train_rankings()?),
            run.scores("train_scores.npy", remedy)?,
        );
        Ok((test, train))
    };
    let material = runs.iter().map(read).collect::<Result<Vec<_>>>()?;
    let models = runs.iter().zip(&material).flat_map(|(run, (test, train))| {
        [(MatrixQueries::Test, test), (MatrixQueries::Train, train)].map(
            |(queries, (labels, scores))| ModelScores {
                model: &run.name,
                queries,
                scores: scores.view(),
                unit: run.unit(),
                query_labels: labels,
                train_labels: &train.0,
            },
        )
    });
    let models: Vec<ModelScores> = models.collect();
    InfluenceMatrix::of(class_names(&first.record, &models), &models)
}

fn labels(rankings: &[QueryRanking]) -> Vec<usize> {
    rankings.iter().map(|ranking| ranking.query_label).collect()
}

/// The run's class names, or numbers where it has none.
fn class_names(record: &RunRecord, models: &[ModelScores]) -> Vec<String> {
    let numbered = || {
        let labels = models.iter().flat_map(|model| model.train_labels);
        let most = labels.max().map_or(0, |most| most + 1);
        (0..most).map(|class| class.to_string()).collect()
    };
    record.classes.clone().unwrap_or_else(numbered)
}

/// Figure 5, with queries drawn from those of the first run.
fn helpful_examples(runs: &[NamedRun], seed: u64) -> Result<HelpfulExamples> {
    let read = |run: &NamedRun| {
        Ok((
            run.test_rankings()?,
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
            rankings,
            train,
        });
    HelpfulExamples::of(
        &one_per_class(first, seed),
        &models.collect::<Vec<_>>(),
        test,
    )
}
