//! A step of training on a device: the products of [`TrainingNetwork`](super::super::TrainingNetwork), over the same parameters.
//!
//! A batch goes through in one pass, since its images meet in its moments; so many vectors lie side by side as memory allows.

use super::assembly::assemble;
use super::coordinates::Coordinates;
use super::dual::Directions;
use super::program::{Norm, Program, TangentsOf, Trace};
use super::softmax::Softmax;
use super::way_back::Pull;
use super::{ALONG, PASS_BYTES, SHARED, SIDE_BY_SIDE, check_vectors, labels_on, stored};
use crate::artefact::gib;
use crate::derivative::network::assembly::{Mode, space};
use crate::derivative::network::running_statistics::RunningStatistics;
use crate::derivative::network::{ParameterSpace, StepProducts, TrainingDerivatives};
use crate::device::{free_memory, room};
use crate::model::{Blocks, ResNet};
use crate::{Error, Result};
use candle_core::{D, DType, Device, Tensor};
use std::collections::BTreeMap;

/// The fine-tuned part of a model in training mode, on a device.
pub struct DeviceTrainingNetwork {
    program: Program,
    space: ParameterSpace,
    coordinates: Coordinates,
    statistics: RunningStatistics,
    /// The program's parameters, in the order of the space.
    inner: Vec<Tensor>,
    dtype: DType,
    device: Device,
    /// What a pass may take.
    pass_bytes: usize,
}

impl DeviceTrainingNetwork {
    /// The last `blocks` blocks and the head of `model` on `device`, in the model's precision.
    ///
    /// # Errors
    /// More blocks than the model has, or a device that does not say how much is free.
    pub fn new(model: &ResNet, blocks: Blocks, device: &Device) -> Result<Self> {
        let first = blocks.first_segment(model.architecture())?;
        let space = space(model, first);
        let program = assemble(model, &space, (first, Mode::Training))?;
        let coordinates = Coordinates::default();
        let names = program.norms.iter().map(|norm| &*norm.name);
        Ok(Self {
            statistics: RunningStatistics::of(model, &space, names)?,
            inner: coordinates.inward_one(&space, &stored(model, &space, device)?)?,
            program,
            coordinates,
            space,
            dtype: model.dtype()?,
            device: device.clone(),
            pass_bytes: room(device, PASS_BYTES, 4)?,
        })
    }

    /// The same with passes of at most so many bytes, but of one vector at least.
    #[must_use]
    pub fn with_pass_bytes(self, pass_bytes: usize) -> Self {
        Self { pass_bytes, ..self }
    }

    /// The trained tensors in the order of a parameter vector.
    pub fn space(&self) -> &ParameterSpace {
        &self.space
    }

    /// Numbers of a vector over the statistics.
    pub fn statistics_size(&self) -> usize {
        self.statistics.size()
    }

    /// Refuses a batch whose tangents and gradients have no room beside its values, even along one vector.
    fn check_room(&self, trace: &Trace) -> Result<()> {
        let needed = ALONG * trace.elements() * self.dtype.size_in_bytes();
        check_room(&self.device, trace.images()?, needed)
    }

    /// So many vectors that their tangents and gradients lie beside what a pass over `trace` holds.
    fn side_by_side(&self, trace: &Trace) -> usize {
        let bytes = trace.elements() * self.dtype.size_in_bytes();
        let traces = self.pass_bytes / bytes.max(1);
        (traces.saturating_sub(SHARED) / ALONG).clamp(1, SIDE_BY_SIDE)
    }

    /// What pulls at the moments of every batch norm for the rows of `statistics` `[k, s]`, times the images.
    fn pulls(&self, trace: &Trace, statistics: &Tensor) -> Result<BTreeMap<usize, Pull>> {
        // A head alone has none, and a device no tensors of nothing.
        if self.program.norms.is_empty() {
            return Ok(BTreeMap::new());
        }
        let statistics = statistics.to_device(&self.device)?;
        let images = trace.images()? as f64;
        let mut start = 0;
        let pull = |norm: &Norm| {
            let (count, channels) = trace.of_channel(norm.node)?;
            let [mean, variance] =
                [start, start + channels].map(|start| statistics.narrow(1, start, channels));
            start += 2 * channels;
            let count = count as f64;
            let unbiased = count / (count - 1.0).max(1.0);
            let pull = Pull {
                mean: (mean? * (images / count))?,
                variance: (variance? * (images * unbiased / count))?,
            };
            Ok((norm.node, pull))
        };
        self.program.norms.iter().map(pull).collect()
    }
}

/// Refuses a batch of `images` whose way back needs more bytes than are free.
pub(super) fn check_room(device: &Device, images: usize, needed: usize) -> Result<()> {
    match free_memory(device)? {
        Some(free) if free < needed => {
            let [needed, free] = [needed, free].map(|bytes| gib(bytes as f64));
            let reason = format!(
                "the way back through a batch of {images} images needs {needed} GiB of it, found {free} GiB free; use --device cpu, or transfer with a \
                 smaller --batch-size"
            );
            Err(Error::config("device", reason))
        }
        _ => Ok(()),
    }
}

/// Refuses labels that are not one for each row of `logits` `[B, C]`, or no class.
fn check_labels(labels: &[usize], logits: &Tensor) -> Result<()> {
    let (images, classes) = logits.dims2()?;
    let wrong = |what: &str, expected: String, found: String| {
        let remedy = "give the labels that the model is trained on";
        Err(Error::mismatch(what, expected, found, remedy))
    };
    if labels.len() != images {
        return wrong(
            "labels of a batch",
            images.to_string(),
            labels.len().to_string(),
        );
    }
    match labels.iter().find(|&&label| label >= classes) {
        None => Ok(()),
        Some(label) => wrong(
            "a label",
            format!("a class below {classes}"),
            label.to_string(),
        ),
    }
}

impl TrainingDerivatives for DeviceTrainingNetwork {
    fn statistics_gradients(&self, gradients: &Tensor) -> Result<Tensor> {
        self.statistics.gradients(gradients)
    }

    fn move_to(&mut self, parameters: &Tensor) -> Result<()> {
        let parameters = parameters.to_dtype(self.dtype)?.to_device(&self.device)?;
        check_vectors(&parameters.unsqueeze(0)?, (self.space.size(), self.dtype))?;
        self.inner = self.coordinates.inward_one(&self.space, &parameters)?;
        Ok(())
    }

    fn step_products(
        &self,
        (input, labels): (&Tensor, &[usize]),
        vectors: &Tensor,
        statistics: &Tensor,
    ) -> Result<StepProducts> {
        let count = check_vectors(vectors, (self.space.size(), self.dtype))?;
        self.statistics.check(statistics, count)?;
        let input = input.to_dtype(self.dtype)?.to_device(&self.device)?;
        let (program, inner) = (&self.program, &self.inner);
        let trace = program.trace(&input, inner)?;
        self.check_room(&trace)?;
        check_labels(labels, trace.logits())?;
        let softmax = Softmax::of(trace.logits(), &labels_on(&self.device, labels)?)?;
        let residuals = softmax.residuals(DType::F64)?;
        let gradients = program.gradients(&trace, inner, &residuals.to_dtype(self.dtype)?)?;
        let (mut pulled_back, mut of_images) = (Vec::new(), Vec::with_capacity(count));
        let at_once = self.side_by_side(&trace);
        for start in (0..count).step_by(at_once) {
            let rows = at_once.min(count - start);
            let vectors = vectors.narrow(0, start, rows)?;
            let directions =
                Directions::new(self.coordinates.inward(&self.space, &vectors)?, true)?;
            let tangents = program.tangents(&trace, inner, &directions)?;
            let slopes = tangents.logits()?.to_dtype(DType::F64)?;
            let slopes = (residuals.unsqueeze(1)?.broadcast_mul(&slopes)?)
                .sum(D::Minus1)?
                .t()?;
            of_images.extend(slopes.to_vec2::<f64>()?);
            let seeds = softmax.curvature(tangents.logits()?)?;
            let of = TangentsOf {
                gradients: &gradients,
                tangents,
                directions: &directions,
                pulls: self.pulls(&trace, &statistics.narrow(0, start, rows)?)?,
            };
            let found = program.pulled_back(&trace, inner, Some(&of), seeds)?;
            pulled_back.push(self.coordinates.outward(found)?);
        }
        // The passes were of Σ ℓ_i.
        Ok(StepProducts {
            pulled_back: (Tensor::cat(&pulled_back, 0)? / labels.len() as f64)?,
            of_images,
        })
    }
}
