//! A whole run for the head: every test image and every training image as a query, and the files that a run leaves.

use super::checkpoint;
use super::faint::{FaintCount, faint};
use super::pass::{Certified, Pass};
use super::placement::placed;
use super::undamped::check_determined;
use super::{
    BlockSizes, Correction, DampingPath, Examples, FeatureSet, GroupScores, Groups, Normalise,
    Provenance, RankOptions, ScoringRecord, Solves, corrected, write_solves,
};
use crate::Result;
use crate::derivative::head::{HeadCoordinates, SoftmaxHead};
use crate::device::check_full_precision;
use crate::operator::{Damped, HeadHessian};
use crate::solve::{Inverse, Method};
use candle_core::{DType, Device};
use std::collections::BTreeMap;
use std::path::Path;

/// Training images, queries and head of one run.
pub struct RankJob<'a> {
    /// The images the head was trained on.
    pub train: FeatureSet<'a>,
    /// The images whose predictions are to be explained.
    pub test: FeatureSet<'a>,
    /// The head at which everything is evaluated.
    pub head: &'a SoftmaxHead,
    /// Class names, where there are any: names of groups.
    pub classes: Vec<String>,
    /// What decides the numbers.
    pub options: RankOptions,
    /// SHA-256 of what went in, by role.
    pub digests: BTreeMap<String, String>,
    /// Where products and solves are computed.
    pub device: Device,
}

/// Follows a run from outside.
pub trait Progress {
    /// A stage begins: `coordinates`, `curvature`, `leverage`, `scores` …
    ///
    /// # Errors
    /// What the follower cannot note.
    fn stage(&mut self, name: &'static str) -> Result<()>;

    /// So many scores of the set (`test` or `train` images as queries) are done, of how many.
    fn scores(&mut self, set: &str, done: usize, total: usize);

    /// So many of them were there before this process; says nothing of how fast they come.
    fn resumed(&mut self, set: &str, done: usize, total: usize) {
        self.scores(set, done, total);
    }

    /// Something that the user should know of.
    fn note(&mut self, _text: &str) {}
}

/// What a run says about itself.
#[derive(Debug)]
pub struct RankSummary {
    /// Mean loss of the training images in nats, without the L2 term.
    pub train_loss: f64,
    /// Share of training images predicted right.
    pub train_accuracy: f64,
    /// Mean loss of the test images in nats.
    pub test_loss: f64,
    /// Share of test images predicted right.
    pub test_accuracy: f64,
    /// ‖∇‖ of the training objective at the head: influence assumes that it is small.
    pub gradient_norm: f64,
    /// The unit of the scores.
    pub unit: &'static str,
    /// How the solves ended: those of the test queries, or of the training images where these are fewer or queries too; then
    /// those of the correction and of groups.
    pub solves: Vec<Solves>,
    /// The method of the solves.
    pub method: Method,
    /// What the solver says of itself.
    pub notes: BTreeMap<&'static str, f64>,
    /// Images whose scores an earlier process had recorded.
    pub resumed: usize,
    /// Of the wanted ranks of the test queries, the share that is certified, and the share of queries with all of them.
    pub certified: Option<Certified>,
    /// How rankings change with the damping.
    pub damping_path: Option<DampingPath>,
    /// How gradients met solutions, where there was a choice.
    pub scoring: Option<ScoringRecord>,
    /// The scores of groups of training images, where these were asked for, of each query.
    pub group_scores: Option<GroupScores>,
    /// How many such groups were scored.
    pub train_groups: Option<usize>,
}

impl RankJob<'_> {
    /// Scores everything and writes `rankings.parquet`, `solves.parquet` and, as the options ask for them,
    /// `scores.npy`, `train_scores.npy`, `self_influence.parquet`, `train_rankings.parquet`, `group_rankings.parquet`,
    /// `train_group_rankings.parquet`, `train_groups.parquet` and `damping_path.parquet` into `folder`.
    ///
    /// A run that was killed goes on in its folder after the last block that it recorded there, to the same bytes.
    ///
    /// Train-on-train rankings hold one rank more than `top`, so that `top` are left when the image itself is passed over.
    ///
    /// # Errors
    /// Input that does not fit, a curvature that cannot be inverted, scores that are not finite, files that cannot be
    /// written. A solve that stops short of its tolerance is in the summary instead.
    pub fn run(&self, folder: &Path, progress: &mut dyn Progress) -> Result<RankSummary> {
        self.options.check()?;
        progress.stage("coordinates")?;
        let exact = self.exact_sides(folder)?;
        let sides = match &exact {
            Some(exact) => exact.to_dtype(self.options.precision)?,
            None => self.sides(self.options.precision, folder)?,
        };
        // Devices work on their own: a stage is over when its work is.
        self.device.synchronize()?;
        progress.stage("solver")?;
        self.with_inverse(&sides, |hessian, inverse| {
            let provenance = Provenance {
                digests: self.digests.clone(),
                unit: self.options.normalise.unit(),
            };
            self.device.synchronize()?;
            if self.options.correction != Correction::None {
                progress.stage("leverage")?;
            }
            let (training, leverages) = self.left_out(&sides, hessian, inverse)?.unzip();
            let pass = Pass {
                job: self,
                folder,
                sides: &sides,
                exact: exact.as_ref().unwrap_or(&sides),
                training: training.as_ref().unwrap_or(&sides.train),
                inverse,
                provenance: &provenance,
            };
            let mut summary = self.summary(&sides)?;
            summary.notes = inverse.notes().into_iter().collect();
            let scored = match self.options.certify {
                Some(_) => pass.exact,
                None => &sides,
            };
            summary.notes.extend(self.told_faint(scored, progress)?);
            progress.stage("scores")?;
            let scored = pass.score(progress)?;
            summary.certified = scored.certified;
            summary.resumed = scored.resumed;
            summary.group_scores = scored.group_scores;
            summary.solves.push(scored.solves);
            summary.solves.extend(leverages);
            summary.solves.extend(pass.groups()?);
            summary.damping_path = pass.damping_path(progress)?;
            let solves: Vec<&Solves> = summary.solves.iter().collect();
            write_solves(&folder.join("solves.parquet"), &solves, &provenance)?;
            checkpoint::remove(folder)?;
            Ok(summary)
        })
    }

    /// Says so where images are predicted too surely for their scores, in the precision of these, to mean anything: queries, and
    /// training images where scores are divided by the size of these. Proven scores are in f64, and a file of them may not be.
    fn told_faint(
        &self,
        sides: &Sides,
        progress: &mut dyn Progress,
    ) -> Result<Vec<(&'static str, f64)>> {
        let normalise = self.options.normalise;
        let precision = sides.test.residuals().dtype();
        let count = |side: &Examples, precision, divided| -> Result<usize> {
            let faint = faint(&side.outputs().residuals, precision, divided)?;
            Ok(faint.into_iter().filter(|&faint| faint).count())
        };
        let divided = normalise == Normalise::Cosine;
        let queries = FaintCount {
            name: "queries_too_faint",
            one: "test image",
            count: count(&sides.test, precision, divided)?,
            scores: "scores",
        };
        let in_file = self.options.precision;
        let rows = FaintCount {
            name: "rows_too_faint",
            one: "test image",
            count: match self.options.scores && in_file != precision {
                true => count(&sides.test, in_file, divided)?.saturating_sub(queries.count),
                false => 0,
            },
            scores: "scores in scores.npy (not in rankings.parquet)",
        };
        let training = FaintCount {
            name: "training_images_too_faint",
            one: "training image",
            count: match normalise {
                Normalise::None => 0,
                _ => count(&sides.train, precision, true)?,
            },
            scores: "scores",
        };
        let told = [(queries, precision), (rows, in_file), (training, precision)]
            .map(|(faint, precision)| faint.told(precision, progress));
        Ok(told.into_iter().flatten().collect())
    }

    /// Both sides in the Kronecker axes of the training images; the folder takes what memory does not hold.
    pub(super) fn sides(&self, precision: DType, folder: &Path) -> Result<Sides> {
        let train = self.examples(&self.train, precision)?;
        let test = self.examples(&self.test, precision)?;
        let coordinates = match self.needs_kronecker_axes() {
            true => HeadCoordinates::of(train.inputs(), train.outputs())?,
            false => HeadCoordinates::of_strong_axes(train.inputs(), train.outputs())?,
        };
        let coordinates = match self.options.certify {
            Some(_) => coordinates.accurately(),
            None => coordinates,
        };
        Ok(Sides {
            train: train.in_coordinates_within(&coordinates, Some(folder))?,
            test: test.in_coordinates_within(&coordinates, Some(folder))?,
            coordinates,
        })
    }

    /// Both sides in f64, where some work is to be done in it and the rest is not.
    fn exact_sides(&self, folder: &Path) -> Result<Option<Sides>> {
        let options = &self.options;
        let wanted = options.certify.is_some() || options.damping_path.is_some();
        match wanted && options.precision != DType::F64 {
            true => self.sides(DType::F64, folder).map(Some),
            false => Ok(None),
        }
    }

    /// One side on the device.
    pub(super) fn examples(&self, set: &FeatureSet, precision: DType) -> Result<Examples> {
        let features = &placed(set.features, precision, &self.device)?;
        Examples::new(&FeatureSet { features, ..*set }, self.head, precision)
    }

    /// Whether the curvature is to be nearly diagonal: a factor serves as well in other axes, which are found sooner, on a device
    /// much sooner. Certificates are tight in Kronecker axes.
    fn needs_kronecker_axes(&self) -> bool {
        let indifferent = matches!(
            self.options.solver.method,
            Method::Direct | Method::Identity
        );
        let others = self.options.certify.is_some() || self.options.damping_path.is_some();
        !indifferent || others
    }

    /// Hands the head's curvature, and A⁻¹ by the solver of the options, to `body`.
    pub(super) fn with_inverse<R>(
        &self,
        sides: &Sides,
        body: impl FnOnce(&HeadHessian, &dyn Inverse) -> Result<R>,
    ) -> Result<R> {
        check_full_precision(&self.device)?;
        let options = &self.options;
        let method = options.solver.method;
        let (l2, damping) = method.shifts(options.l2, options.damping);
        check_determined(method, l2 + damping, &sides.train)?;
        let hessian = sides.hessian(l2)?;
        let damped = Damped::new(&hessian, damping)?;
        let inverse = options.solver.solver(options.precision).prepare(&damped)?;
        body(&hessian, &*inverse)
    }

    /// The training images as those that are left out, where the correction makes them differ, and the solves for that.
    pub(super) fn left_out(
        &self,
        sides: &Sides,
        hessian: &HeadHessian,
        inverse: &dyn Inverse,
    ) -> Result<Option<(Examples, Solves)>> {
        if self.options.correction == Correction::None {
            return Ok(None);
        }
        let training = &sides.train;
        let block = self.blocks(training).gradients;
        let (left_out, reports) = corrected(training, hessian, inverse, block)?;
        let width = training.residuals().dims()[1];
        let ids = training.ids().iter();
        let solves = Solves {
            set: "leverage",
            ids: ids.flat_map(|&id| std::iter::repeat_n(id, width)).collect(),
            groups: Vec::new(),
            reports,
        };
        Ok(Some((left_out, solves)))
    }

    pub(super) fn blocks(&self, train: &Examples) -> BlockSizes {
        let usual = || BlockSizes::usual(train.parameter_count(), !self.device.is_cpu());
        self.options.blocks.unwrap_or_else(usual)
    }

    fn summary(&self, sides: &Sides) -> Result<RankSummary> {
        let (train, test) = (&sides.train, &sides.test);
        let head = self.head.to_dtype(self.options.precision)?;
        let head = head.to_device(train.inputs().rows().device())?;
        let (_, gradient) = head.objective(train.inputs(), self.options.l2)?;
        let squares = gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?;
        Ok(RankSummary {
            train_loss: train.outputs().mean_loss(),
            train_accuracy: train.outputs().accuracy(train.labels()),
            test_loss: test.outputs().mean_loss(),
            test_accuracy: test.outputs().accuracy(test.labels()),
            gradient_norm: squares.to_scalar::<f64>()?.sqrt(),
            unit: self.options.normalise.unit(),
            solves: Vec::new(),
            method: self.options.solver.method,
            notes: BTreeMap::new(),
            resumed: 0,
            certified: None,
            damping_path: None,
            scoring: None,
            group_scores: None,
            train_groups: self.options.train_groups.as_ref().map(Groups::count),
        })
    }
}

/// Training images and queries in one precision and the same axes.
pub(super) struct Sides {
    pub(super) train: Examples,
    pub(super) test: Examples,
    pub(super) coordinates: HeadCoordinates,
}

impl Sides {
    pub(super) fn hessian(&self, l2: f64) -> Result<HeadHessian> {
        HeadHessian::in_coordinates(
            &self.coordinates,
            self.train.axes_inputs(),
            self.train.outputs(),
            l2,
        )
    }

    /// The same, rounded to another precision.
    fn to_dtype(&self, precision: DType) -> Result<Self> {
        Ok(Self {
            train: self.train.to_dtype(precision)?,
            test: self.test.to_dtype(precision)?,
            coordinates: self.coordinates.clone(),
        })
    }
}
