//! A residual network as plain named tensors, run segment by segment.
//!
//! Images enter as `[B, 3, H, W]` with pixels in `[0, 1]`; the normalisation is part of the model, so that an
//! adversary's ε is in pixel units. Parameter names are torchvision's. Layers hold no state of their own: a model is
//! its map of tensors, and what is trained is decided by which of them are variables.

use super::architecture::Architecture;
use super::layers::Segment;
use super::normalisation::Normalisation;
#[cfg(feature = "cuda")]
use super::op::cuda::in_bf16;
use super::op::{RunningStatistics, folded_norm};
use super::pass::Pass;
use crate::data::Framing;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;

/// Added to a variance before its root, as in PyTorch.
pub(crate) const EPSILON: f64 = 1e-5;
/// Weight of the newest batch in the running statistics, as in PyTorch.
pub(crate) const MOMENTUM: f64 = 0.1;

/// A ResNet with its weights, running statistics, classes and normalisation.
#[derive(Debug, Clone)]
pub struct ResNet {
    architecture: Architecture,
    segments: Vec<Segment>,
    classes: Vec<String>,
    normalisation: Normalisation,
    framing: Framing,
    tensors: BTreeMap<String, Tensor>,
    activations: DType,
    /// Scale and shift of the pixels, `[3]` each, where the head is and as it is.
    pixel_scale: (Tensor, Tensor),
    /// Batch norms as scale and shift, where they were folded beforehand.
    folded: BTreeMap<String, (Tensor, Tensor)>,
}

impl ResNet {
    /// Assembles a model from named tensors, which must be complete and of the right shapes
    /// ([`super::expected_shapes`]).
    ///
    /// # Errors
    /// Names the first tensor that is missing, left over, of the wrong shape or dtype; or no classes, no side, a
    /// deviation that is not positive.
    pub fn new(
        architecture: Architecture,
        classes: Vec<String>,
        normalisation: Normalisation,
        framing: impl Into<Framing>,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self> {
        let framing = framing.into();
        super::parameters::check_description(&classes, normalisation, framing)?;
        super::parameters::check(&architecture, classes.len(), &tensors)?;
        let segments = architecture.segments();
        let head = &tensors["fc.weight"];
        let pixel_scale = normalisation.scale_and_shift(head.dtype(), head.device())?;
        Ok(Self {
            architecture,
            segments,
            classes,
            normalisation,
            framing,
            activations: head.dtype(),
            pixel_scale,
            tensors,
            folded: BTreeMap::new(),
        })
    }

    /// The architecture.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Class names, in the order of the logits.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The input normalisation.
    #[must_use]
    pub fn normalisation(&self) -> Normalisation {
        self.normalisation
    }

    /// Height and width of the images the model was trained on.
    #[must_use]
    pub fn side(&self) -> usize {
        self.framing.height
    }

    /// What it sees of an image.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// All tensors by torchvision name, running statistics included.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The segments before the head's, 0 to B.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Number of the head's segment, B + 1.
    #[must_use]
    pub fn head_segment(&self) -> usize {
        self.segments.len()
    }

    /// The same model for images of another height and width, or another part of them.
    ///
    /// # Errors
    /// Where there are no such squares.
    pub fn with_framing(self, framing: Framing) -> Result<Self> {
        super::parameters::check_description(&self.classes, self.normalisation, framing)?;
        Ok(Self { framing, ..self })
    }

    /// The same model with weights that are constants; it shares their storage.
    #[must_use]
    pub fn detached(&self) -> Self {
        let tensors = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.detach()))
            .collect();
        Self {
            tensors,
            ..self.clone()
        }
    }

    /// The same model, its weights constants, on another device.
    ///
    /// # Errors
    /// Where the device has no memory for it.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let moved = |(name, tensor): (&String, &Tensor)| {
            Ok((name.clone(), tensor.detach().to_device(device)?))
        };
        let tensors = self.tensors.iter().map(moved).collect::<Result<_>>()?;
        let (scale, shift) = &self.pixel_scale;
        Ok(Self {
            tensors,
            pixel_scale: (scale.to_device(device)?, shift.to_device(device)?),
            folded: BTreeMap::new(),
            ..self.clone()
        })
    }

    /// The same model, whose convolutions and what is between them are computed in `activations`; parameters, running
    /// statistics, features and head stay as they are.
    #[must_use]
    pub fn with_activations(self, activations: DType) -> Self {
        Self {
            activations,
            folded: BTreeMap::new(),
            ..self
        }
    }

    /// The same model with constant weights, for many passes in evaluation mode: kernels are converted and batch norms folded
    /// here, not in each pass.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn for_evaluation(&self) -> Result<Self> {
        let mut model = self.detached();
        let norms = model
            .tensors
            .keys()
            .filter_map(|name| name.strip_suffix(".running_mean"));
        let fold = |norm: &str| {
            let part = |part: &str| self.tensor(&format!("{norm}.{part}"));
            let statistics = [
                part("weight")?,
                part("bias")?,
                part("running_mean")?,
                part("running_var")?,
            ];
            let folded = folded_norm(statistics.map(Tensor::detach).each_ref(), EPSILON)?;
            Ok((norm.to_owned(), folded))
        };
        model.folded = norms.map(fold).collect::<Result<_>>()?;
        let scales = model.folded.values_mut();
        let scales = scales.flat_map(|(scale, shift)| [scale, shift]);
        let kernels = (model.tensors.values_mut()).filter(|tensor| tensor.rank() == 4);
        convert(scales.chain(kernels).collect(), self.activations)?;
        Ok(model)
    }

    /// The same model with constant weights, for one `pass` from what enters the segment `first`: kernels, and scale and shift
    /// of the norms that use the batch's moments, are converted to the dtype of activations at once.
    ///
    /// # Errors
    /// Where memory runs out.
    pub(crate) fn for_pass(&self, first: usize, pass: &Pass) -> Result<Self> {
        let mut model = self.detached();
        let (architecture, head) = (&model.architecture, model.segments.len());
        let taken = |name: &str, tensor: &Tensor| {
            let segment = architecture.segment_of(name);
            let part_of_norm = !is_statistic(name) && pass.has_batch_statistics(segment);
            (first..head).contains(&segment) && (tensor.rank() == 4 || part_of_norm)
        };
        let tensors = model.tensors.iter_mut();
        let taken = tensors.filter_map(|(name, tensor)| taken(name, tensor).then_some(tensor));
        convert(taken.collect(), self.activations)?;
        Ok(model)
    }

    /// Batch norm as scale and shift, if it was folded beforehand.
    pub(super) fn folded(&self, norm: &str) -> Option<&(Tensor, Tensor)> {
        self.folded.get(norm)
    }

    /// Scale and shift of the pixels of `images`, `[3]` each.
    pub(super) fn pixel_scale(&self, images: &Tensor) -> Result<(Tensor, Tensor)> {
        let (scale, shift) = &self.pixel_scale;
        match scale.dtype() == images.dtype() && scale.device().same_device(images.device()) {
            true => Ok((scale.clone(), shift.clone())),
            false => (self.normalisation).scale_and_shift(images.dtype(), images.device()),
        }
    }

    /// What activations are computed in.
    #[must_use]
    pub fn activations(&self) -> DType {
        self.activations
    }

    /// The same model in another dtype.
    ///
    /// # Errors
    /// Where candle cannot convert.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let convert = |(name, tensor): (&String, &Tensor)| {
            Ok((name.clone(), tensor.detach().to_dtype(dtype)?))
        };
        let tensors = self.tensors.iter().map(convert).collect::<Result<_>>()?;
        Ok(Self {
            tensors,
            pixel_scale: (self.normalisation).scale_and_shift(dtype, self.device()?)?,
            activations: dtype,
            folded: BTreeMap::new(),
            ..self.clone()
        })
    }

    /// Turns the parameters of the segments from `first` on into variables and returns them by name;
    /// everything else becomes a constant.
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn make_trainable(&mut self, first: usize) -> Result<BTreeMap<String, Var>> {
        let mut variables = BTreeMap::new();
        self.folded.clear();
        for (name, tensor) in &mut self.tensors {
            *tensor = tensor.detach();
            if !is_statistic(name) && self.architecture.segment_of(name) >= first {
                let variable = Var::from_tensor(tensor)?;
                *tensor = variable.as_tensor().clone();
                variables.insert(name.clone(), variable);
            }
        }
        Ok(variables)
    }

    /// Replaces the classifier head; the classes become those given.
    ///
    /// # Errors
    /// Where the shapes do not fit: `weight` is `[classes, feature dimension]`, `bias` `[classes]`.
    pub fn with_head(mut self, classes: Vec<String>, weight: Tensor, bias: Tensor) -> Result<Self> {
        self.tensors.insert("fc.weight".into(), weight);
        self.tensors.insert("fc.bias".into(), bias);
        let model = Self::new(
            self.architecture,
            classes,
            self.normalisation,
            self.framing,
            self.tensors,
        )?;
        Ok(model.with_activations(self.activations))
    }

    /// The same model with other names of its classes, in the order of the logits.
    ///
    /// # Errors
    /// Where they are not as many.
    pub fn with_classes(self, classes: Vec<String>) -> Result<Self> {
        if classes.len() != self.classes.len() {
            let expected = format!("{} classes", self.classes.len());
            let remedy = "give as many names as the model has classes";
            return Err(Error::mismatch(
                "class names",
                expected,
                classes.len(),
                remedy,
            ));
        }
        Ok(Self { classes, ..self })
    }

    /// The head's weight `[C, d]` and bias `[C]`, as constants.
    ///
    /// # Errors
    /// Never for an assembled model.
    pub fn head_parameters(&self) -> Result<(Tensor, Tensor)> {
        Ok((
            self.tensor("fc.weight")?.detach(),
            self.tensor("fc.bias")?.detach(),
        ))
    }

    /// Moves the running statistics towards the moments seen during `pass` (momentum 0.1, unbiased variance).
    ///
    /// # Errors
    /// Where memory runs out.
    pub fn absorb(&mut self, pass: Pass) -> Result<()> {
        self.folded.clear();
        let names = |layer: &str| {
            ["running_mean", "running_var"].map(|statistic| format!("{layer}.{statistic}"))
        };
        let (mut layers, mut running) = (Vec::new(), Vec::new());
        for (layer, moments) in pass.observed {
            let [mean, variance] = names(&layer);
            let statistics = RunningStatistics {
                mean: self.tensor(&mean)?.clone(),
                variance: self.tensor(&variance)?.clone(),
            };
            layers.push(layer);
            running.push((statistics, moments));
        }
        let moved = RunningStatistics::all_moved(&running, MOMENTUM)?;
        for (layer, moved) in layers.iter().zip(moved) {
            let [mean, variance] = names(layer);
            self.tensors.insert(mean, moved.mean);
            self.tensors.insert(variance, moved.variance);
        }
        Ok(())
    }

    /// A parameter or running statistic by its name.
    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            Error::mismatch(
                format!("model {}", self.architecture),
                format!("a tensor {name}"),
                "none",
                "the weight file is incomplete",
            )
        })
    }

    /// The device the weights are on.
    ///
    /// # Errors
    /// Never for an assembled model.
    pub fn device(&self) -> Result<&Device> {
        Ok(self.tensor("fc.weight")?.device())
    }

    /// The precision of the weights.
    ///
    /// # Errors
    /// Never for an assembled model.
    pub fn dtype(&self) -> Result<DType> {
        Ok(self.tensor("fc.weight")?.dtype())
    }
}

/// Converts all of them; on a CUDA device to bf16 in one launch.
fn convert(tensors: Vec<&mut Tensor>, dtype: DType) -> Result<()> {
    let other = tensors.into_iter().filter(|it| it.dtype() != dtype);
    let other: Vec<&mut Tensor> = other.collect();
    #[cfg(feature = "cuda")]
    if dtype == DType::BF16 && other.iter().all(|tensor| tensor.device().is_cuda()) {
        let from: Vec<&Tensor> = other.iter().map(|tensor| &**tensor).collect();
        let converted = in_bf16(&from)?;
        for (tensor, converted) in other.into_iter().zip(converted) {
            *tensor = converted;
        }
        return Ok(());
    }
    for tensor in other {
        *tensor = tensor.to_dtype(dtype)?;
    }
    Ok(())
}

/// Whether a tensor is a running statistic of batch norm rather than a parameter.
pub(crate) fn is_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}
