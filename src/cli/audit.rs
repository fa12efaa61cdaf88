//! `ascribe audit`: one finished run, or two side by side, as a page that a person reads.
//!
//! [`open`] takes a run up with its images, [`measuring`] says what is measured, [`pictures`] gives the images, [`crate::audit`] finds what
//! the page says, [`crate::report`] writes it.

mod measuring;
mod open;
mod pictures;

use super::counting::Counting;
use super::output::{Json, shown};
use super::rank::Transferred;
use super::run_names::{check_same_class_names, run_names};
use crate::artefact::{Input, Invocation, RunFolder, effective};
use crate::audit::{Lists, Side, Subject, audited, duplicates, paired, sensitivity};
use crate::data::{Dataset, numbered};
use crate::evaluate::forget_recorded;
use crate::influence::RecordedSolves;
use crate::report::{self, LabelledImage};
use crate::{Error, Result};
use clap::Args;
use open::Opened;
use pictures::{GetImage, all_pictures, images};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLE: &str = "\
Examples:
  ascribe audit robust-rank --out audit
  ascribe audit natural-rank robust-rank --names natural,robust --out audit
  ascribe audit head-rank blocks-rank --names head,blocks --out audit

Open audit/index.html in a browser; it needs no server and no network. Decisions that are made
there are exported as a file that ascribe transfer and ascribe adopt take: --exclude FILE
--relabel FILE.

Exit code 3: finished, but a solve or a refit made for the page missed its tolerance;
the page says which.";

/// Options of `ascribe audit`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(after_help = EXAMPLE)]
pub struct Audit {
    /// One or two folders left by ascribe rank, through the head or through blocks too, with the same test images
    #[arg(value_name = "RUN", required = true, num_args = 1..=2)]
    runs: Vec<PathBuf>,
    /// What the runs are called on the page (default: the folders' names)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    names: Option<Vec<String>>,
    /// The page's heading (default: the runs' names)
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Test images that scores are held against measured rises for: half of them, if there are so many, are images that a model gets
    /// wrong. Through the head it is fitted again: without the most helpful images, and for the fewest images that hold the prediction;
    /// unless this is 0, up to 20 groups of training images that the run scored are left out as a whole too. Through blocks, and
    /// --unrolled, the transfer is trained again for each, without the losses of the most helpful images [default: 50 through the head,
    /// 8 of --unrolled, none through blocks by a curvature]
    #[arg(long, value_name = "N")]
    measure: Option<usize>,
    /// Most helpful images that are taken away at once
    #[arg(long, value_name = "K", default_value_t = 10)]
    removed: usize,
    /// Images are near-duplicates where they are at least so alike (the mean of the cosines of features and of small thumbnails);
    /// the page begins there, and can be asked for more and fewer
    #[arg(
        long,
        value_name = "COSINE",
        default_value_t = 0.95,
        allow_hyphen_values = true
    )]
    alike: f64,
    /// Leave out the pictures of loss sensitivity, which take a pass forward and back for each test image
    #[arg(long)]
    skip_sensitivity: bool,
    /// Leave out the losses of training images by heads fitted without them
    #[arg(long)]
    // Not recorded where it is not given, as in runs from before there was such an option.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skip_held_out: bool,
    /// Put everything into index.html, pictures and data too
    #[arg(long)]
    embed: bool,
    /// Folder for the page
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    #[serde(skip)]
    json: Json,
}

/// Refuses runs of images from different files: the page would take them for the same ones.
fn check_same_images(opened: &[Opened], names: &[String]) -> Result<()> {
    let [first, second] = opened else {
        return Ok(());
    };
    let classes = [first, second].map(|opened| &opened.recorded.material.classes);
    check_same_class_names(classes, [&names[0], &names[1]])?;
    if first.seen().is_none() || second.seen().is_none() {
        return Ok(());
    }
    let digests = [first, second].map(|opened| opened.recorded.material.digests());
    for (role, images) in [("train", "training"), ("test", "test")] {
        if digests[0].get(role) != digests[1].get(role) {
            return Err(Error::mismatch(
                format!("{images} images of {}", names[1]),
                format!("the file that {} has", names[0]),
                "another",
                "give runs of the same images, or audit each alone",
            ));
        }
    }
    Ok(())
}

impl Audit {
    /// Runs the command, which was asked for by `invocation`.
    ///
    /// # Errors
    /// A run that is missing, unfinished or of changed data; a score matrix that is not the run's; runs of different test images;
    /// an output folder that holds something else.
    pub fn run(mut self, invocation: Invocation) -> Result<ExitCode> {
        if !(0.0..=1.0).contains(&self.alike) {
            let reason = format!("{} is not between 0 and 1", self.alike);
            return Err(Error::config("alike", reason));
        }
        RunFolder::check_place(&self.out)?;
        let names = run_names(&self.runs, self.names.as_deref())?;
        self.names = Some(names.clone());
        let opened = (self.runs.iter())
            .map(|run| Opened::open(run))
            .collect::<Result<Vec<_>>>()?;
        check_same_images(&opened, &names)?;
        self.measure = measuring::recorded(self.measure, &opened);
        let mut run = RunFolder::open_or_create(
            &self.out,
            "audit",
            invocation,
            effective(&self)?,
            Input::of_runs(opened.iter().map(|run| run.record.folder.as_path()))?,
        )?;
        if !run.is_resuming() {
            forget_recorded(run.path())?;
        }
        let subjects: Vec<Subject> = (opened.iter().zip(&names))
            .map(|(opened, name)| opened.subject(name))
            .collect();
        let lists = Lists::of(&subjects)?;
        let classes = classes(&opened);
        run.stage("models")?;
        let asked = (self.measure, self.removed, self.skip_held_out);
        let options = measuring::options(asked, &subjects, &lists);
        let models = (subjects.iter().enumerate())
            .map(|(at, subject)| {
                let asked = (self.measure, &options.queries);
                let retraining = measuring::retraining(&subjects, at, asked);
                let mut counting = Counting::new("measured", "test images");
                let mut show = |done, total| counting.show(done, total);
                let measuring = (&options, &retraining);
                audited(subject, &lists, measuring, (run.path(), &mut show))
            })
            .collect::<Result<Vec<_>>>()?;
        let (models, missed): (Vec<_>, Vec<_>) = models.into_iter().unzip();
        run.stage("duplicates")?;
        let images = images(&opened, &lists);
        let (duplicates, compared) = self.duplicates(&opened, &lists, images.as_ref())?;
        run.stage("sensitivity")?;
        let maps = self.maps(&opened, &lists)?;
        run.stage("page")?;
        let title = self.title.clone().unwrap_or_else(|| names.join(" and "));
        let audit = report::Audit {
            title,
            classes,
            queries: lists.queries.clone(),
            left_out: lists.left_out,
            training: lists.training.clone(),
            labelled: opened.iter().all(Opened::is_labelled),
            training_data: training_data(&opened, &lists),
            models,
            paired: paired(&subjects),
            duplicates,
            compared,
            alike: self.alike,
        };
        let pictures = all_pictures(&audit, images.as_ref(), &maps)?;
        report::write(&audit, &pictures, self.embed, run.path())?;
        report::write_tables(&audit, run.path())?;
        forget_recorded(run.path())?;
        let seconds = run.finish()?.seconds;
        let page = shown(&self.out.join("index.html"));
        let missed: usize = missed.into_iter().sum();
        let result = || {
            json!({
                "out": shown(&self.out),
                "page": page,
                "results": self.found(&audit, &opened),
                "missed": missed,
                "seconds": seconds,
            })
        };
        self.json.print(result, || say!("{page}"));
        if missed == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        note!(
            "ascribe: {missed} of the page's own solves and refits missed their tolerance; it says where"
        );
        Ok(ExitCode::from(3))
    }
}

impl Audit {
    /// What the page lists, in numbers.
    fn found(&self, audit: &report::Audit, opened: &[Opened]) -> Value {
        let leaks = audit.alike().filter(|group| !group.queries.is_empty());
        let models = audit.models.iter().zip(opened);
        let models = models.zip(&self.runs).map(|((model, opened), folder)| {
            let mistaken = |cell: &&report::Confusion| cell.label != cell.prediction;
            let confusions: Vec<_> = model.confusions.iter().filter(mistaken).collect();
            let images = model.training.iter().flatten();
            let solves = RecordedSolves::of(&opened.record);
            json!({
                "name": model.name,
                "run": shown(folder),
                "solves": solves.all,
                "missed": solves.failed,
                "confusions": confusions.len(),
                "confused": confusions.iter().map(|cell| cell.queries.len()).sum::<usize>(),
                "suspects": images.filter(|image| image.prediction != image.label).count(),
            })
        });
        json!({
            "queries": audit.queries.len(),
            "training": audit.training.len(),
            "duplicates": audit.alike().count(),
            "leaks": leaks.count(),
            "models": models.collect::<Vec<_>>(),
        })
    }

    /// By the pixels of all images, and by the features of the run that was trained on most: images that only another was trained
    /// on have none there.
    fn duplicates(
        &self,
        opened: &[Opened],
        lists: &Lists,
        images: Option<&[GetImage; 2]>,
    ) -> Result<(Vec<report::Duplicates>, report::Compared)> {
        let model = trained_on_most(opened);
        let own = &opened[model].recorded.material;
        let train = places(&own.train.ids, &lists.training);
        let is_listed = |at: &usize| {
            let id = own.test.ids[*at];
            (lists.queries.binary_search_by_key(&id, |image| image.id)).is_ok()
        };
        let part = (lists.left_out > 0).then(|| {
            let listed: Vec<usize> = (0..own.test.ids.len()).filter(is_listed).collect();
            own.test.part(&listed)
        });
        let part = part.transpose()?;
        let own_test = part.as_ref().unwrap_or(&own.test);
        let test = places(&own_test.ids, &lists.queries);
        let training = Side {
            count: lists.training.len(),
            pixels: images.map(|images| &*images[0]),
            features: &own.train.features,
            places: &train,
        };
        let queries = Side {
            count: lists.queries.len(),
            pixels: images.map(|images| &*images[1]),
            features: &own_test.features,
            places: &test,
        };
        let compared = report::Compared {
            model,
            images: train.len(),
        };
        Ok((duplicates(&training, &queries)?, compared))
    }

    /// Of every query by every model; none where a run is of features alone.
    fn maps(&self, opened: &[Opened], lists: &Lists) -> Result<Vec<GetImage<'static>>> {
        let ids: Vec<usize> = lists.queries.iter().map(|image| image.id).collect();
        let mut maps = Vec::new();
        for run in opened {
            let Some(seen) = run.seen().filter(|_| !self.skip_sensitivity) else {
                return Ok(Vec::new());
            };
            let mut counting = Counting::new("loss sensitivity", "images");
            let mut show = |done| counting.show(done, ids.len());
            let own = sensitivity(&seen.model, &seen.test, &ids, &mut show)?;
            maps.push(Box::new(move |at: usize| Ok(own[at].picture.clone().into())) as GetImage);
        }
        Ok(maps)
    }
}

/// The run that was trained on most images, the first of equals.
fn trained_on_most(opened: &[Opened]) -> usize {
    let images = |at: &usize| opened[*at].recorded.material.train.ids.len();
    let places = (0..opened.len()).rev();
    places.max_by_key(images).unwrap_or_default()
}

/// The first run's training file.
fn training_data(opened: &[Opened], lists: &Lists) -> report::TrainingData {
    let first = &opened[0];
    let inputs = &first.recorded.material.inputs;
    let input = inputs.iter().find(|input| input.role == "train");
    let files = |images: &[LabelledImage], of: fn(&Transferred) -> &Dataset| -> Vec<String> {
        let set = first.seen().map(of);
        let file = |image: &LabelledImage| set?.file(image.id).map(str::to_owned);
        let files: Option<Vec<String>> = images.iter().map(file).collect();
        files.unwrap_or_default()
    };
    report::TrainingData {
        digest: input.map_or_else(String::new, |input| input.digest.clone()),
        rows: input.and_then(|input| input.rows).unwrap_or(0),
        files: files(&lists.training, |seen| &seen.train),
        query_files: files(&lists.queries, |seen| &seen.test),
    }
}

/// The positions of `ids` in a list.
fn places(ids: &[usize], list: &[LabelledImage]) -> Vec<usize> {
    let place = |id: &usize| list.partition_point(|image| image.id < *id);
    ids.iter().map(place).collect()
}

/// The classes' names, or their numbers.
fn classes(opened: &[Opened]) -> Vec<String> {
    let material = &opened[0].recorded.material;
    let numbers = || numbered(material.class_count);
    material.classes.clone().unwrap_or_else(numbers)
}
