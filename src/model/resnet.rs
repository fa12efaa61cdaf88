//! A residual network as plain named tensors, run segment by segment.
//!
//! Images enter as `[B, 3, H, W]` with pixels in `[0, 1]`; the normalisation is part of the model, so that an
//! adversary's ε is in pixel units. Parameter names are torchvision's. Layers hold no state of their own: a model is
//! its map of tensors, and what is trained is decided by which of them are variables.

use super::architecture::{Architecture, Block};
use super::normalisation::Normalisation;
use super::op::{RunningStatistics, folded_norm};
use super::pass::Pass;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;

/// Added to a variance before its root, as in PyTorch.
pub(crate) const EPSILON: f64 = 1e-5;
/// Weight of the newest batch in the running statistics, as in PyTorch.
const MOMENTUM: f64 = 0.1;

/// A ResNet with its weights, running statistics, classes and normalisation.
#[derive(Debug, Clone)]
pub struct ResNet {
    architecture: Architecture,
    blocks: Vec<Block>,
    classes: Vec<String>,
    normalisation: Normalisation,
    side: usize,
    tensors: BTreeMap<String, Tensor>,
    activations: DType,
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
        side: usize,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self> {
        super::parameters::check_description(&classes, normalisation, side)?;
        super::parameters::check(&architecture, classes.len(), &tensors)?;
        let blocks = architecture.blocks();
        Ok(Self {
            architecture,
            blocks,
            classes,
            normalisation,
            side,
            activations: tensors["fc.weight"].dtype(),
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
        self.side
    }

    /// All tensors by torchvision name, running statistics included.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The residual blocks, in segments 1 to B.
    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Number of the head's segment, B + 1.
    #[must_use]
    pub fn head_segment(&self) -> usize {
        self.blocks.len() + 1
    }

    /// The same model for images of another height and width.
    ///
    /// # Errors
    /// Where the side is 0.
    pub fn with_side(self, side: usize) -> Result<Self> {
        super::parameters::check_description(&self.classes, self.normalisation, side)?;
        Ok(Self { side, ..self })
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
        Ok(Self {
            tensors,
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
            let (scale, shift) = folded_norm(statistics.map(Tensor::detach).each_ref(), EPSILON)?;
            let (scale, shift) = (
                scale.to_dtype(self.activations)?,
                shift.to_dtype(self.activations)?,
            );
            Ok((norm.to_owned(), (scale, shift)))
        };
        model.folded = norms.map(fold).collect::<Result<_>>()?;
        for tensor in model
            .tensors
            .values_mut()
            .filter(|tensor| tensor.rank() == 4)
        {
            *tensor = tensor.to_dtype(self.activations)?;
        }
        Ok(model)
    }

    /// Batch norm as scale and shift, if it was folded beforehand.
    pub(super) fn folded(&self, norm: &str) -> Option<&(Tensor, Tensor)> {
        self.folded.get(norm)
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
            self.side,
            self.tensors,
        )?;
        Ok(model.with_activations(self.activations))
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
        for (layer, moments) in pass.observed {
            let [mean, variance] =
                ["running_mean", "running_var"].map(|statistic| format!("{layer}.{statistic}"));
            let running = RunningStatistics {
                mean: self.tensor(&mean)?.clone(),
                variance: self.tensor(&variance)?.clone(),
            };
            let moved = running.moved(&moments, MOMENTUM)?;
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
}

/// Whether a tensor is a running statistic of batch norm rather than a parameter.
pub(crate) fn is_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}
