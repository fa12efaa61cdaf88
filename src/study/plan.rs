//! How long a study will take, from steps timed on this machine.
//!
//! For every source and number of blocks that is to be run, a few images are trained on for two epochs and as many measured, as
//! many times side by side as the study will; a run is then so many of each. The last runs may leave cores idle, so that the
//! whole takes no less than the longest of them.

use super::run::Quiet;
use super::work::once;
use super::{Job, Study};
use crate::data::Pixels;
use crate::train::{Crew, Performance, transfer};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::time::Instant;

/// Images that are trained on while the clock runs, at most.
const TIMED: usize = 256;

/// Seconds an image takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// In one epoch of training.
    pub training: f64,
    /// Measured.
    pub testing: f64,
    /// Before training, where the frozen blocks compute once for all epochs.
    pub once: f64,
    /// A run beside its images: its files, and what is computed once.
    pub run: f64,
}

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// Runs whose test accuracy is wanted; those that several cells come to count once.
    pub measured: usize,
    /// Runs that judge candidates.
    pub judging: usize,
    /// Runs of both kinds that are finished.
    pub finished: usize,
    /// By source and blocks, as far as there is something to do.
    pub timings: BTreeMap<(usize, String), Timing>,
    /// Of the whole, `crew` runs at a time.
    pub seconds: f64,
}

impl Plan {
    /// Counts, times and predicts.
    ///
    /// # Errors
    /// As the runs that are timed.
    pub fn of(study: &Study, crew: Crew) -> Result<Self> {
        let [judging, measured] = [study.judging()?, study.measured_as_written()?].map(once);
        let (judging_count, measured_count) = (judging.len(), measured.len());
        let mut left = study.to_do(judging)?;
        // Which options the search finds is not known: with one, finished measured runs count once it is done.
        let known = left.is_empty();
        left.extend(match known {
            true => study.to_do(measured)?,
            false => measured,
        });
        let key = |job: &Job| (job.cell.source, job.options.blocks.to_string());
        // The largest run of its kind has the usual batches.
        let mut largest: BTreeMap<(usize, String), &Job> = BTreeMap::new();
        for job in &left {
            let known = largest.entry(key(job)).or_insert(job);
            if job.cell.images > known.cell.images {
                *known = job;
            }
        }
        let timed = largest
            .into_iter()
            .map(|(key, job)| Ok((key, time(study, job, crew)?)));
        let timings = timed.collect::<Result<BTreeMap<_, _>>>()?;
        let seconds = |job: &Job| {
            (timings.get(&key(job))).map_or(0.0, |timing| timing.run(job, study.test_images(job)))
        };
        let each: Vec<f64> = left.iter().map(seconds).collect();
        let longest = each.iter().copied().fold(0.0, f64::max);
        let whole: f64 = each.iter().sum::<f64>() / crew.at_once as f64;
        Ok(Self {
            measured: measured_count,
            judging: judging_count,
            finished: measured_count + judging_count - left.len(),
            seconds: whole.max(longest),
            timings,
        })
    }

    /// Runs that are not finished.
    #[must_use]
    pub fn left(&self) -> usize {
        self.measured + self.judging - self.finished
    }
}

impl Timing {
    /// Seconds of a run.
    fn run(&self, job: &Job, test_images: usize) -> f64 {
        let recipe = job.options.recipe();
        let (epochs, images) = (recipe.epochs as f64, job.cell.images as f64);
        let (tests, test_images) = (recipe.measurements() as f64, test_images as f64);
        self.run
            + epochs * images * self.training
            + tests * test_images * self.testing
            + (images + test_images) * self.once
    }
}

/// Times a job's steps, as many times side by side as the study runs at once; the mean.
fn time(study: &Study, job: &Job, crew: Crew) -> Result<Timing> {
    let target = &study.material.targets[job.cell.target];
    let source = &study.material.sources[job.cell.source].model;
    let ids = target.training(job.cell.images, job.cell.seed)?.ids;
    // A last batch of one image, which no run may have, is not timed either.
    let most = TIMED - usize::from(TIMED % job.options.recipe.batch_size == 1);
    let ids = &ids[..ids.len().min(most)];
    let framing = source.framing();
    let train = Pixels::transformed(&target.train, ids, target.transform, framing)?;
    let one = train.select(&ids[..1])?;
    let mut options = job.options.clone();
    options.recipe.epochs = 2;
    options.recipe.evaluate_every = 0;
    // What is timed must not diverge.
    options.recipe.learning_rate = 1e-6;
    let classes = target.train.classes().to_vec();
    let timed = crew.each(crew.at_once, &|_| {
        let folder = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir(), "write"))?;
        let began = Instant::now();
        let images = (&train, &one);
        let done = transfer(
            source.clone(),
            classes.clone(),
            &options,
            images,
            folder.path(),
            &mut Quiet::default(),
        )?;
        let whole = began.elapsed().as_secs_f64();
        let within: f64 = done.history.iter().map(|epoch| epoch.seconds).sum();
        let began = Instant::now();
        Performance::measure(&done.model, &train, None)?;
        let testing = began.elapsed().as_secs_f64() / train.len() as f64;
        let first_segment = options.blocks.first_segment(source.architecture())?;
        let constant = options.recipe().kept_variants(first_segment).is_some();
        let (beside, images) = (whole - within, train.len() as f64);
        Ok(Timing {
            training: within / (2.0 * images),
            // From kept activations, it is measured at about a third of the cost of training on them.
            testing: if constant {
                within / (6.0 * images)
            } else {
                testing
            },
            once: if constant { beside / images } else { 0.0 },
            run: if constant { 0.0 } else { beside },
        })
    })?;
    let mean = |part: fn(&Timing) -> f64| timed.iter().map(part).sum::<f64>() / timed.len() as f64;
    Ok(Timing {
        training: mean(|it| it.training),
        testing: mean(|it| it.testing),
        once: mean(|it| it.once),
        run: mean(|it| it.run),
    })
}
