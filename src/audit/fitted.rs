//! The head at its minimum, and heads fitted again from there without some training images.

use crate::derivative::head::{HeadInputs, HeadOutputs};
use crate::evaluate::{FullFit, HeldOut, Kept, Refit, RefitOptions, Refitting, Work};
use crate::influence::RankJob;
use crate::{Error, Result};
use candle_core::DType;

/// The head at its minimum, where all fits without some images begin, and the training images in f64.
pub(super) struct Fitted {
    training: HeadInputs,
    fit: FullFit,
}

impl Fitted {
    /// `None` where it is not `needed`, for a head without an L2 term, which has no minimum, or with one so small that it is not reached.
    pub(super) fn of(job: &RankJob, needed: bool) -> Result<Option<Self>> {
        if !needed || job.options.l2 <= 0.0 {
            return Ok(None);
        }
        let training = HeadInputs::new(job.train.features, job.train.labels, DType::F64)?;
        let (head, options) = (job.head.clone(), RefitOptions::default());
        match FullFit::new(&training, head, job.options.l2, options) {
            Ok(fit) => Ok(Some(Self { training, fit })),
            Err(Error::Config { option: "l2", .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Heads to be fitted without some training images, and measured on `queries`.
    pub(super) fn refits(&self, queries: &HeadInputs) -> Result<Refits<'_>> {
        Ok(Refits {
            refitting: self.fit.refitting(queries)?,
            full: self.fit.measured(queries)?,
            block: self.fit.block(),
            count: self.training.count(),
        })
    }

    /// What the head fitted to all images says of `queries`, class by class.
    pub(super) fn outputs(&self, queries: &HeadInputs) -> Result<HeadOutputs> {
        self.fit.head.outputs(queries)
    }

    /// The loss of each training image by a head fitted without it.
    pub(super) fn held_out(&self) -> Result<HeldOut> {
        HeldOut::of(&self.fit, &self.training)
    }
}

/// Heads fitted without some training images, all measured on the same queries.
pub(super) struct Refits<'a> {
    refitting: Refitting<'a>,
    /// The head fitted to all images.
    pub(super) full: Refit,
    block: usize,
    count: usize,
}

impl Refits<'_> {
    /// A refit without each of these sets.
    pub(super) fn without(&self, sets: &[Vec<usize>]) -> Result<Vec<Refit>> {
        let kept = sets.iter().map(|set| Kept::without(self.count, set));
        let kept: Vec<Kept> = kept.collect();
        Ok(self.of(&kept)?.0)
    }

    /// A refit to each of `kept`, so many at a time.
    pub(super) fn of(&self, kept: &[Kept]) -> Result<(Vec<Refit>, Work)> {
        let (mut refits, mut work) = (Vec::with_capacity(kept.len()), Work::default());
        for part in kept.chunks(self.block) {
            let (found, more) = self.refitting.refit(part)?;
            refits.extend(found);
            work = work.and(more);
        }
        Ok((refits, work))
    }
}
