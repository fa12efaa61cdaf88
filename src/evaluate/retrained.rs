//! Retrained measurements: a table `[subset, query]`, whoever computed it.
//!
//! Two Parquet files make one: `NAME_subsets.parquet` (`subset`, `left_out`: one row for each training image, by id, that a
//! subset leaves out) and `NAME_measurements.parquet` (`subset`, `query`, `loss` in nats, `correct`, `gradient_norm`, `converged`, `steps`). The
//! subset −1 leaves nothing out: the model that all others are compared with. Measurements made elsewhere, as by training
//! a network again with several seeds, need `subset` (−1 too), `query` and `loss` alone; where a pair occurs more than once, losses are
//! averaged.
//!
//! While the refits run, each finished block is a hidden file of its own, whole or absent: a killed evaluation goes on after
//! the last of them, to the same bytes.

use super::full_fit::FullFit;
use super::heads::Kept;
use super::refit::{Refit, Refitting, Work};
use crate::artefact::{digest_bytes, read_json, write_json};
use crate::derivative::head::HeadInputs;
use crate::{Error, Result};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// Measurements after retraining.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrained {
    /// Positions of the training images that each subset leaves out.
    pub left_out: Vec<Vec<usize>>,
    /// Losses in nats, `[subset, query]`.
    pub losses: Array2<f64>,
    /// Whether each label is predicted, `[subset, query]`; nothing where that is unknown.
    pub hits: Option<Array2<bool>>,
    /// The losses of the model that leaves nothing out.
    pub before: Vec<f64>,
    /// Whether that model predicts each label; nothing where that is unknown.
    pub hits_before: Option<Vec<bool>>,
    /// How each refit ended, where they are ours.
    pub refits: Vec<RefitEnd>,
    /// What the refits took, where they are ours.
    pub work: Work,
    /// Whether the losses of images alone were left out, and the images kept their places in the batches of a training.
    pub losses_alone: bool,
}

/// How a refit ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RefitEnd {
    /// ‖∇F‖
    pub gradient_norm: f64,
    /// Whether that is within the tolerance.
    pub converged: bool,
    /// Steps taken.
    pub steps: usize,
}

impl Retrained {
    /// What refits of a head to each of `kept` measured, and `before` the one to all images.
    pub fn of_refits(kept: &[Kept], refits: Vec<Refit>, before: Refit, work: Work) -> Self {
        let shape = (refits.len(), before.losses.len());
        let end = |refit: &Refit| RefitEnd {
            gradient_norm: refit.gradient_norm,
            converged: refit.converged,
            steps: refit.steps,
        };
        Self {
            left_out: kept.iter().map(Kept::left_out).collect(),
            losses: Array2::from_shape_fn(shape, |(subset, query)| refits[subset].losses[query]),
            hits: Some(Array2::from_shape_fn(shape, |(subset, query)| {
                refits[subset].hits[query]
            })),
            before: before.losses,
            hits_before: Some(before.hits),
            refits: refits.iter().map(end).collect(),
            work,
            losses_alone: false,
        }
    }

    /// Whether heads were fitted again, with the other images' weight as it was where single images or groups were left out.
    pub fn is_of_heads(&self) -> bool {
        !self.refits.is_empty()
    }

    /// The actual rise of each query's loss, `[query, subset]`.
    pub fn rises(&self) -> Array2<f64> {
        let shape = (self.before.len(), self.left_out.len());
        Array2::from_shape_fn(shape, |(query, subset)| {
            self.losses[[subset, query]] - self.before[query]
        })
    }

    /// The rises that `scores` `[query, train]` predict: the sum over what a subset leaves out, `[query, subset]`.
    pub fn predicted(&self, scores: &Array2<f64>) -> Array2<f64> {
        let shape = (scores.nrows(), self.left_out.len());
        Array2::from_shape_fn(shape, |(query, subset)| {
            let row = scores.row(query);
            self.left_out[subset].iter().map(|&at| row[at]).sum()
        })
    }
}

/// Fits again, block by block, and keeps what is done.
pub struct Retrainer<'a> {
    fit: &'a FullFit,
    queries: &'a HeadInputs,
    folder: PathBuf,
    /// Factorised when the first refit is needed.
    refitting: OnceCell<Refitting<'a>>,
}

/// A finished block.
#[derive(Serialize, Deserialize)]
struct Part {
    material: String,
    refits: Vec<Refit>,
    work: Work,
}

impl<'a> Retrainer<'a> {
    /// For refits of `fit` that are measured at `queries`, recorded in `folder`.
    pub fn new(fit: &'a FullFit, queries: &'a HeadInputs, folder: &Path) -> Self {
        Self {
            fit,
            queries,
            folder: folder.to_path_buf(),
            refitting: OnceCell::new(),
        }
    }

    fn refitting(&self) -> Result<&Refitting<'a>> {
        match self.refitting.get() {
            Some(refitting) => Ok(refitting),
            None => {
                let refitting = self.fit.refitting(self.queries)?;
                Ok(self.refitting.get_or_init(|| refitting))
            }
        }
    }

    /// Operations of the factor that all refits share; 0 where none was made here.
    pub fn factor_operations(&self) -> f64 {
        self.refitting
            .get()
            .map_or(0.0, Refitting::factor_operations)
    }

    /// Every refit of `kept`, in order; `done` hears of each finished block.
    ///
    /// # Errors
    /// A tensor operation failed, or a block cannot be recorded.
    pub fn retrain(
        &self,
        name: &str,
        kept: &[Kept],
        mut done: impl FnMut(usize, usize),
    ) -> Result<(Vec<Refit>, Work)> {
        let size = self.fit.block();
        let (mut refits, mut work) = (Vec::with_capacity(kept.len()), Work::default());
        for (index, block) in kept.chunks(size).enumerate() {
            let path = self.part(name, index);
            let material = material(block);
            let recorded = match path.exists() {
                true => Some(read_json::<Part>(&path)?),
                false => None,
            };
            let part = match recorded.filter(|part| part.material == material) {
                Some(part) => part,
                None => {
                    let (refits, work) = self.refitting()?.refit(block)?;
                    let part = Part {
                        material,
                        refits,
                        work,
                    };
                    write_json(&path, &part)?;
                    part
                }
            };
            refits.extend(part.refits);
            work = work.and(part.work);
            done(refits.len(), kept.len());
        }
        Ok((refits, work))
    }

    /// The same as a table; subsets leave out the images that `kept` does not keep.
    ///
    /// # Errors
    /// As for [`Retrainer::retrain`].
    pub fn table(
        &self,
        name: &str,
        kept: &[Kept],
        done: impl FnMut(usize, usize),
    ) -> Result<Retrained> {
        let (refits, work) = self.retrain(name, kept, done)?;
        Ok(Retrained::of_refits(kept, refits, self.before()?, work))
    }

    /// The measurements of the model that leaves nothing out.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn before(&self) -> Result<Refit> {
        self.fit.measured(self.queries)
    }

    fn part(&self, name: &str, index: usize) -> PathBuf {
        self.folder.join(format!(".{name}-{index:05}.json"))
    }
}

/// Removes what was recorded in a folder, blocks of refits and trainings: all tables stand now, or another run left it.
///
/// # Errors
/// A file cannot be removed.
pub fn forget_recorded(folder: &Path) -> Result<()> {
    let failed = || Error::io(folder, "read");
    for entry in std::fs::read_dir(folder).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".json") {
            std::fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
        }
    }
    Ok(())
}

/// What decides a block besides the run itself.
pub(super) fn material(block: &[Kept]) -> String {
    let mut bytes = Vec::new();
    for kept in block {
        bytes.extend((kept.divisor as u64).to_le_bytes());
        bytes.extend(kept.images.iter().map(|&kept| u8::from(kept)));
    }
    digest_bytes(&bytes)
}
