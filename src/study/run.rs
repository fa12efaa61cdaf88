//! One run: the transfer that `ascribe transfer` with the same options would be, in a folder of its own.

use super::material::Images;
use super::{Job, Material, Spec, material::located};
use crate::artefact::{
    Options, RunFolder, RunRecord, Status, effective, read_json, scratch_folder,
};
use crate::data::{Pixels, TrainingImages};
use crate::model::write_model;
use crate::train::{Crew, Epoch, Observer, remove_checkpoint, transfer};
use crate::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// One row an epoch; empty where the loss stopped being finite.
    pub history: Vec<Epoch>,
    /// Where the loss stopped being finite.
    pub diverged: Option<String>,
    /// Of all of it, its files included.
    pub seconds: f64,
}

/// What a run is made from, and where.
pub(super) struct Bench<'a> {
    pub(super) spec: &'a Spec,
    pub(super) material: &'a Material,
    pub(super) images: &'a Images,
    pub(super) out: &'a Path,
    /// How many runs share the memory.
    pub(super) crew: Crew,
    /// What was typed.
    pub(super) arguments: &'a [String],
}

/// The folder of a run.
pub(super) fn folder(out: &Path, job: &Job) -> PathBuf {
    out.join("runs").join(&job.digest)
}

/// Removes a finished run that is to be done again, since its model was not kept: all of it or nothing, also where it is killed.
fn make_room(out: &Path, folder: &Path) -> Result<()> {
    let file = folder.join("run.json");
    if file.exists() && read_json::<RunRecord>(&file)?.status == Status::Finished {
        let aside = scratch_folder(out)?;
        std::fs::rename(folder, aside.path().join("run")).map_err(Error::io(folder, "remove"))?;
    }
    Ok(())
}

impl Bench<'_> {
    /// Does the run, which is not finished, or goes on with it.
    pub(super) fn run(&self, job: &Job) -> Result<Outcome> {
        let source = &self.material.sources[job.cell.source];
        let target = &self.material.targets[job.cell.target];
        let training = target.training(job.cell.images, job.cell.seed)?;
        let (train, test) = self.images_of(job, &training)?;
        let mut inputs = vec![target.train.input("train")];
        // What judges a candidate is held back from the training images.
        if job.candidate.is_none() {
            inputs.push(target.test.input("test"));
        }
        inputs.push(source.input.clone());
        inputs.extend(target.decision_inputs.iter().cloned());
        let (command, arguments) = self.command(job);
        let path = folder(self.out, job);
        make_room(self.out, &path)?;
        let mut run =
            RunFolder::open_or_create(&path, command, arguments, self.options(job)?, inputs)?;
        source.note_classifier(&mut run)?;
        run.stage("training")?;
        let classes = target.train.classes().to_vec();
        let images = (&train, test.as_ref().unwrap_or(self.test(job)));
        let mut options = job.options.clone();
        options.recipe.share_memory(self.crew.at_once);
        let (history, diverged) = match transfer(
            source.model.clone(),
            classes,
            &options,
            images,
            run.path(),
            &mut Quiet::default(),
        ) {
            Ok(transferred) => {
                if self.spec.keep_models && job.candidate.is_none() {
                    write_model(&transferred.model, &run.file("model.safetensors"))?;
                }
                run.note_result("test", transferred.test)?;
                (transferred.history, None)
            }
            Err(Error::Diverged { place, .. }) => (Vec::new(), Some(place)),
            Err(other) => return Err(other),
        };
        run.note_result("train_ids", train.ids())?;
        for (name, value) in training.changes() {
            run.note_result(name, value)?;
        }
        run.note_result("history", &history)?;
        run.note_result("diverged", &diverged)?;
        run.set_classes(target.train.classes().to_vec())?;
        remove_checkpoint(run.path())?;
        Ok(Outcome {
            history,
            diverged,
            seconds: run.finish()?.seconds,
        })
    }

    fn decoded(&self, job: &Job) -> &super::material::Decoded {
        let framing = self.material.sources[job.cell.source].model.framing();
        &self.images[&(job.cell.target, framing)]
    }

    fn test(&self, job: &Job) -> &Pixels {
        &self.decoded(job).test
    }

    /// What is trained on; and for a candidate what it is judged by in place of the test images.
    fn images_of(&self, job: &Job, training: &TrainingImages) -> Result<(Pixels, Option<Pixels>)> {
        let target = &self.material.targets[job.cell.target];
        let pixels = |ids: &[usize]| -> Result<Pixels> {
            let held = self.decoded(job).train.select(ids)?;
            Ok(held.relabelled(&training.labels))
        };
        let search = self.spec.search.as_ref();
        let Some(search) = search.filter(|_| job.candidate.is_some()) else {
            return Ok((pixels(&training.ids)?, None));
        };
        let (kept, held) = (target.split(training, search.validation, job.cell.seed))
            .map_err(|error| located(self.spec, "search.validation", error))?;
        Ok((pixels(&kept)?, Some(pixels(&held)?)))
    }

    /// A run that `ascribe transfer` could do is recorded as one, so that other commands take it up.
    fn command(&self, job: &Job) -> (&'static str, Vec<String>) {
        let command = if self.is_transfer(job) {
            "transfer"
        } else {
            "study"
        };
        (command, self.arguments.to_vec())
    }

    fn is_transfer(&self, job: &Job) -> bool {
        let target = &self.material.targets[job.cell.target];
        let plain = target.transform.is_identity() && target.test_ids.len() == target.test.len();
        plain && job.candidate.is_none()
    }

    fn options(&self, job: &Job) -> Result<Options> {
        let mut options = effective(&job.options)?;
        options.insert("images".into(), job.cell.images.into());
        options.extend(match self.is_transfer(job) {
            true => self.transfer_options(job)?,
            false => self.own_options(job),
        });
        Ok(options)
    }

    /// Those that `ascribe transfer` has besides the recipe.
    fn transfer_options(&self, job: &Job) -> Result<Options> {
        let source = &self.spec.sources[job.cell.source];
        let target = &self.spec.targets[job.cell.target];
        effective(&json!({
            "source": source.model,
            "source-mean": source.settings.normalisation.map(|it| it.mean),
            "source-deviation": source.settings.normalisation.map(|it| it.deviation),
            "side": source.settings.side,
            "resize": source.settings.resize,
            "train": target.train,
            "test": target.test,
            "exclude": target.exclude,
            "relabel": target.relabel,
            "flip-labels": target.flip_labels,
        }))
    }

    /// Those that `ascribe transfer` does not have.
    fn own_options(&self, job: &Job) -> Options {
        let target = &self.material.targets[job.cell.target];
        let search = self.spec.search.as_ref();
        let validation = search.filter(|_| job.candidate.is_some());
        Options::from([
            ("transform".into(), target.transform.to_string().into()),
            (
                "flip-labels".into(),
                self.spec.targets[job.cell.target].flip_labels.into(),
            ),
            (
                "test-images".into(),
                (job.candidate.is_none().then_some(target.test_ids.len())).into(),
            ),
            (
                "validation".into(),
                validation.map(|it| it.validation).into(),
            ),
        ])
    }
}

/// A run costs no checkpoint before this many seconds, and none within as many of the last.
const BETWEEN_CHECKPOINTS: f64 = 10.0;

/// Runs side by side are followed run by run; small ones are sooner done again than saved.
pub(super) struct Quiet {
    saved: Instant,
}

impl Default for Quiet {
    fn default() -> Self {
        Self {
            saved: Instant::now(),
        }
    }
}

impl Observer for Quiet {
    fn batch(&mut self, _: usize, _: usize, _: usize) {}
    fn epoch(&mut self, _: &Epoch) {}
    fn wants_checkpoint(&mut self) -> bool {
        let due = self.saved.elapsed().as_secs_f64() >= BETWEEN_CHECKPOINTS;
        if due {
            self.saved = Instant::now();
        }
        due
    }
}
