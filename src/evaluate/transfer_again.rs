//! The transfer itself once more without some images: blocks and head trained again, not the head alone.
//!
//! What scores through residual blocks predict cannot be had by fitting a head. Here the source model is fine-tuned on what a
//! subset keeps, by the recipe of the transfer (its epochs, so fewer steps), with several seeds: order, augmentation and the new
//! head differ, and the seeds' mean loss is the measurement. Seed 0 on all images is the transfer that was evaluated, bit for bit.
//!
//! A subset's effect is small beside what a seed does, so [`SeedAgreement`] says how much of the measured order is the
//! subsets'. With reliability r of the seeds' mean (how well it would agree with the mean of as many others), even the true effect of
//! each subset agrees with the measured one no better than √r.
//!
//! With [`TransferAgain::keep_batches`] an image that is left out keeps its place: it is in its batches, and in their moments, and its loss
//! alone is not there; the divisor of a batch stays. Order, augmentation and head are then those of the transfer, so that what an image
//! does is not hidden by what another order does, and one seed will do: it is what the way back through training differentiates
//! ([`crate::influence::Unrolled`]). Like that it is in f32 with sums in a fixed order, whatever the transfer's own precision was.
//!
//! Trainings run side by side, one thread each, and each is recorded when it ends: a killed evaluation goes on after those that
//! ended, and the result does not depend on the number of threads.

use super::agreement::Agreement;
use super::bootstrap::Bootstrap;
use super::heads::Kept;
use super::refit::Work;
use super::retrained::{Retrained, material};
use crate::artefact::{read_json, write_json};
use crate::data::{Pixels, batches};
use crate::model::{ResNet, images_at_once};
use crate::train::{Crew, TransferOptions, Unobserved, check_last_batch, judged, transfer};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Of a training that diverges: what helps whoever trains again.
const REMEDY: &str = "leave out fewer images or train with fewer seeds, or take a transfer of a lower --learning-rate";

/// A transfer that can be had again on fewer images.
pub struct TransferAgain {
    /// The model it starts from.
    pub source: ResNet,
    /// The classes of the target set.
    pub classes: Vec<String>,
    /// How it trains; seed k trains with the options' seed + k.
    pub options: TransferOptions,
    /// The training images, in the order of the run's.
    pub train: Pixels,
    /// The images that losses are measured at.
    pub queries: Pixels,
    /// Trainings of each subset.
    pub seeds: usize,
    /// Whether nothing but the losses of images is left out.
    pub keep_batches: bool,
}

/// How far seeds agree on what a subset does, means over queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedAgreement {
    /// Trainings of each subset.
    pub seeds: usize,
    /// Spearman of the rises under one seed with those under another, mean over pairs of seeds.
    pub one_with_another: f64,
    /// What the mean of all seeds would reach with the mean of as many others: its reliability (Spearman 1910, Brown 1910).
    pub mean_with_another_mean: f64,
    /// What the true effects would reach with the mean of all seeds, the root of that; 0 where seeds do not agree at all.
    pub most_to_expect: f64,
}

/// One training, as recorded.
#[derive(Serialize, Deserialize)]
struct Part {
    material: String,
    losses: Vec<f64>,
    hits: Vec<bool>,
}

/// All trainings of all subsets.
pub struct TrainedAgain {
    /// The mean over seeds.
    pub retrained: Retrained,
    /// How far the seeds agree; nothing where there is one.
    pub agreement: Option<SeedAgreement>,
}

impl TransferAgain {
    /// Trains on what each of `kept` keeps, and on all images, and keeps what is done in `folder`; `done` hears of each training.
    ///
    /// # Errors
    /// A training diverged, a subset keeps too few images or leaves a batch of one that cannot be trained on, or a result cannot be
    /// recorded.
    pub fn table(
        &self,
        folder: &Path,
        name: &str,
        kept: &[Kept],
        done: impl Fn(usize, usize) + Sync,
    ) -> Result<TrainedAgain> {
        let all = Kept::all(self.train.len());
        let subsets: Vec<&Kept> = std::iter::once(&all).chain(kept).collect();
        self.check_batches(&subsets)?;
        let tasks: Vec<(usize, usize)> = (0..subsets.len())
            .flat_map(|subset| (0..self.seeds).map(move |seed| (subset, seed)))
            .collect();
        let finished = Mutex::new(0);
        // One thread for each: small steps do not gain from two, and sums come out the same on any machine.
        let crew = Crew::of(
            rayon::current_num_threads(),
            None,
            self.options.recipe.device,
        );
        let mut usual = self.options.clone();
        usual.recipe.share_memory(crew.at_once);
        if self.keep_batches {
            usual = usual.repeatable();
        }
        // The queries are measured below, image by image.
        usual.recipe.evaluate_every = 0;
        let parts = crew.each(tasks.len(), &|turn| {
            let (subset, seed) = tasks[turn];
            let path = part(folder, name, subset, seed);
            let mut options = usual.clone();
            options.recipe.seed = options.recipe.seed.wrapping_add(seed as u64);
            let part = self.recorded_or_trained(&path, subsets[subset], &options)?;
            let mut finished = finished.lock().unwrap_or_else(|broken| broken.into_inner());
            *finished += 1;
            done(*finished, tasks.len());
            Ok(part)
        })?;
        let by_seed: Vec<Array2<f64>> = (0..self.seeds)
            .map(|seed| self.losses(&parts, seed, subsets.len()))
            .collect();
        let mean = by_seed.iter().fold(
            Array2::zeros((subsets.len(), self.queries.len())),
            |sum: Array2<f64>, losses| sum + losses,
        ) / self.seeds as f64;
        Ok(TrainedAgain {
            agreement: SeedAgreement::of(&by_seed)?,
            retrained: Retrained {
                left_out: kept.iter().map(Kept::left_out).collect(),
                before: mean.row(0).to_vec(),
                losses: mean.slice(ndarray::s![1.., ..]).to_owned(),
                hits: self.hits(&parts),
                hits_before: (self.seeds == 1).then(|| parts[0].hits.clone()),
                refits: Vec::new(),
                work: Work::default(),
                losses_alone: self.keep_batches,
            },
        })
    }

    /// Refuses, before any training, subsets that leave a batch of one image where batch norm has no statistics for it.
    fn check_batches(&self, subsets: &[&Kept]) -> Result<()> {
        if self.keep_batches {
            return Ok(());
        }
        let first_segment = (self.options.blocks).first_segment(self.source.architecture())?;
        let recipe = self.options.recipe();
        let size = [self.train.height(), self.train.width()];
        let counts: BTreeSet<usize> = subsets.iter().map(|kept| kept.count()).collect();
        for images in counts {
            match check_last_batch(&self.source, first_segment, &recipe, (images, size)) {
                Err(Error::Config { .. }) => {
                    let reason = format!(
                        "{images} images at the transfer's batch size of {} leave a batch of one, which batch norm has no statistics \
                         for; choose another --share or other groups, or a transfer of another --batch-size",
                        recipe.batch_size
                    );
                    return Err(Error::config("retrain", reason));
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn recorded_or_trained(
        &self,
        path: &Path,
        kept: &Kept,
        options: &TransferOptions,
    ) -> Result<Part> {
        let material = material(std::slice::from_ref(kept));
        if path.exists() {
            let part: Part = read_json(path)?;
            if part.material == material && part.losses.len() == self.queries.len() {
                return Ok(part);
            }
        }
        let (losses, hits) = self.train_on(kept, options)?;
        if !losses.iter().all(|loss| loss.is_finite()) {
            let place = "after the last step".to_owned();
            return Err(Error::diverged("loss at the queries", place, REMEDY));
        }
        let part = Part {
            material,
            losses,
            hits,
        };
        write_json(path, &part)?;
        Ok(part)
    }

    /// Losses in nats and hits at the queries, after training on what is kept.
    fn train_on(&self, kept: &Kept, options: &TransferOptions) -> Result<(Vec<f64>, Vec<bool>)> {
        let few = self.queries.select(&self.queries.ids()[..1])?;
        let room = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir(), "write"))?;
        let transferred = transfer(
            self.source.clone(),
            self.classes.clone(),
            options,
            (&self.training_on(kept)?, &few),
            room.path(),
            &mut Unobserved,
        )
        .map_err(with_own_remedy)?;
        self.measured(&transferred.model)
    }

    fn training_on(&self, kept: &Kept) -> Result<Pixels> {
        if self.keep_batches {
            let left_out = kept.images.iter().map(|kept| !kept).collect();
            return Ok(self.train.clone().without_losses_of(left_out));
        }
        let ids = self.train.ids().iter().zip(&kept.images);
        let ids: Vec<usize> = ids.filter(|(_, kept)| **kept).map(|(&id, _)| id).collect();
        self.train.select(&ids)
    }

    fn measured(&self, model: &ResNet) -> Result<(Vec<f64>, Vec<bool>)> {
        let positions: Vec<usize> = (0..self.queries.len()).collect();
        let (mut losses, mut hits) = (Vec::new(), Vec::new());
        for batch in batches(&positions, images_at_once(model.side())) {
            let images = self.queries.batch(batch, &Device::Cpu)?;
            let labels = Tensor::new(self.queries.labels_of(batch), &Device::Cpu)?;
            let judged = judged(model, &images, &labels)?;
            losses.extend(judged.0);
            hits.extend(judged.1);
        }
        Ok((losses, hits))
    }

    /// `[subset, query]` under one seed, all images first.
    fn losses(&self, parts: &[Part], seed: usize, subsets: usize) -> Array2<f64> {
        let shape = (subsets, self.queries.len());
        Array2::from_shape_fn(shape, |(subset, query)| {
            parts[subset * self.seeds + seed].losses[query]
        })
    }

    /// Whether each label is predicted after training on each subset; seeds may differ, so only one of them has an answer.
    fn hits(&self, parts: &[Part]) -> Option<Array2<bool>> {
        let shape = (parts.len() - 1, self.queries.len());
        (self.seeds == 1)
            .then(|| Array2::from_shape_fn(shape, |(subset, query)| parts[subset + 1].hits[query]))
    }
}

impl SeedAgreement {
    /// Of losses `[subset, query]` for each seed, all images first.
    fn of(by_seed: &[Array2<f64>]) -> Result<Option<Self>> {
        let seeds = by_seed.len();
        if seeds < 2 || by_seed[0].nrows() < 4 {
            return Ok(None);
        }
        let rises: Vec<Array2<f64>> = (by_seed.iter())
            .map(|losses| losses.slice(ndarray::s![1.., ..]).t().to_owned())
            .collect();
        // Intervals are not asked for here.
        let bootstrap = Bootstrap { seed: 0, draws: 20 };
        let mut pairs = Vec::new();
        for one in 0..seeds {
            for other in 0..one {
                let agreement = Agreement::of(&rises[one], &rises[other], &bootstrap)?;
                pairs.push(agreement.spearman.value);
            }
        }
        let r = pairs.iter().sum::<f64>() / pairs.len() as f64;
        let n = seeds as f64;
        // Seeds that contradict each other say nothing together (Spearman and Brown's formula is for r ≥ 0).
        let reliability = n * r.max(0.0) / (1.0 + (n - 1.0) * r.max(0.0));
        Ok(Some(Self {
            seeds,
            one_with_another: r,
            mean_with_another_mean: reliability,
            most_to_expect: reliability.sqrt(),
        }))
    }
}

/// The recipe is the transfer's: its options are not those of an evaluation.
fn with_own_remedy(error: Error) -> Error {
    match error {
        Error::Diverged { what, place, .. } => Error::diverged(what, place, REMEDY),
        other => other,
    }
}

fn part(folder: &Path, name: &str, subset: usize, seed: usize) -> PathBuf {
    folder.join(format!(".{name}-{subset:05}-{seed:03}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digits_train;
    use crate::model::Normalisation;
    use crate::train::AugmentationName;

    /// Of images whose channels come down to one pixel, thirty a step.
    fn again(images: usize) -> TransferAgain {
        let ids: Vec<usize> = (0..images).collect();
        let train = Pixels::decode(&digits_train().unwrap(), &ids, 4).unwrap();
        let classes: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
        let architecture = "cifar-resnet8-w4".parse().unwrap();
        let pixels = Normalisation {
            mean: [0.3; 3],
            deviation: [0.3; 3],
        };
        let source =
            ResNet::initialise(architecture, classes.clone(), pixels, 4, 1, &Device::Cpu).unwrap();
        let mut options = TransferOptions::with_defaults(1).unwrap();
        options.recipe.batch_size = 30;
        options.recipe.augmentation = AugmentationName::None;
        TransferAgain {
            source,
            classes,
            options,
            queries: train.select(&[0, 1]).unwrap(),
            train,
            seeds: 1,
            keep_batches: false,
        }
    }

    #[test]
    fn a_subset_that_leaves_a_batch_of_one_is_refused_before_any_training() {
        let folder = tempfile::tempdir().unwrap();
        let trained = |images: usize| {
            let positions: Vec<usize> = (0..images).collect();
            let kept = [Kept::subset(62, &positions)];
            again(62).table(folder.path(), "lds", &kept, |_, _| ())
        };
        let message = trained(31).err().unwrap().to_string();
        let expected =
            "--retrain: 31 images at the transfer's batch size of 30 leave a batch of one";
        assert!(message.starts_with(expected), "{message}");
        assert!(message.contains("another --share"), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(trained(32).unwrap().retrained.losses.dim(), (1, 2));
    }

    #[test]
    fn an_image_that_keeps_its_place_is_left_out_of_the_loss_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut again = again(62);
        again.options.recipe.learning_rate = 0.01;
        let options = again.options.clone();
        let trained = |again: &TransferAgain, kept: &Kept| again.train_on(kept, &options).unwrap();
        let all = Kept::all(62);
        let usual = trained(&again, &all);
        // 31 images would leave a batch of one.
        let some = Kept::subset(62, &(0..31).collect::<Vec<_>>());
        again.keep_batches = true;
        let kept = std::slice::from_ref(&some);
        let table = again.table(folder.path(), "lds", kept, |_, _| ()).unwrap();
        assert_eq!(trained(&again, &all), usual);
        assert!(table.retrained.losses_alone);
        assert_eq!(table.retrained.before, usual.0);
        assert!(table.retrained.losses.row(0).to_vec() != usual.0);
        // Other labels of images that have no loss change nothing: their pixels alone are there.
        let labels = (31..62).map(|image| (image, 0)).collect();
        again.train = again.train.relabelled(&labels);
        let relabelled = trained(&again, &some).0;
        assert_eq!(table.retrained.losses.row(0).to_vec(), relabelled);
        assert!(trained(&again, &all).0 != usual.0);
    }

    #[test]
    fn a_training_that_diverges_names_what_an_evaluation_can_change() {
        let folder = tempfile::tempdir().unwrap();
        let mut again = again(62);
        again.options.recipe.learning_rate = 1e30;
        let kept = [Kept::all(62)];
        let message = again.table(folder.path(), "lds", &kept, |_, _| ());
        let message = message.err().unwrap().to_string();
        let remedy = "train with fewer seeds, or take a transfer of a lower --learning-rate";
        assert!(
            message.starts_with("training loss: ") && message.ends_with(remedy),
            "{message}"
        );
    }
}
