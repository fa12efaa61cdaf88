//! The fine-tuned part of a network as a function of its parameters: gradients, curvature products, per-example products.
//!
//! The loss of an image is the cross-entropy ℓ (nats) of the network's logits at its label, batch norm in evaluation mode; θ
//! are the parameters of the last blocks and the head ([`ParameterSpace`]). Everything before them is frozen and runs once
//! ([`Examples`]).
//!
//! | | |
//! |---|---|
//! | [`Network::gradient`] | Σ ∇ℓ_i over images |
//! | [`Network::example_gradients`] | ∇ℓ_i of each image |
//! | [`Network::linearise`] | what products over some images share |
//! | [`Network::curvature_products`] | Σ ∇²ℓ_i v or Σ J_iᵀ (diag π − ππᵀ) J_i v |
//! | [`Network::root_products`], [`Network::root_sums`], [`Network::add_root_gram`] | R v, Rᵀ t and RRᵀ with RᵀR = Σ J_iᵀ (diag π − ππᵀ) J_i |
//! | [`Network::example_products`] | ⟨∇ℓ_i, v⟩ of each image and vector |
//! | [`Network::pair`] | the same, prepared once for all images, by segment |
//! | [`TrainingNetwork`], [`DeviceTrainingNetwork`] | the same of a step of training, batch norm in training mode |
//! | [`WrittenGradients::kronecker_factors`] | second moments of patches and output gradients, layer by layer |
//!
//! # Why not a graph of tensors
//!
//! Reverse over forward on a tensor graph repeats the forward pass, its tangent and both backward passes for every vector:
//! about 8 times a forward pass in convolutions, and a gradient takes 3. But activations and output gradients do not
//! depend on the vector. Layers written out by hand (value, tangent, backward, tangent of backward; Pearlmutter 1994) share
//! them between all vectors of a block and, where they fit into memory, between products: 6 are left, 2 times a
//! gradient, and fewer where few layers are trained. Memory does not grow with the number of products.
//!
//! On a CUDA device it is a graph of tensors after all, made of the model's own operations: [`DeviceNetwork`] has the same
//! products over the same parameters.

/// Runs `$body` with `$program` the program in its precision.
macro_rules! in_precision {
    ($network:expr, $program:ident => $body:expr) => {
        match &$network.program {
            Inner::F32($program) => $body,
            Inner::F64($program) => $body,
        }
    };
}

mod assembly;
mod example_products;
mod examples;
mod keeping;
mod kronecker;
mod layer;
mod linearisation;
mod on_device;
mod pairing;
mod planes;
mod prefix;
mod products;
mod program;
mod rooted;
mod running_statistics;
#[cfg(test)]
pub(crate) mod small_problem;
mod space;
mod storage;
#[cfg(test)]
mod tests;
mod training;

pub(crate) use crate::model::op::channels_last::limit_waiting as limit_waiting_buffers;
pub use example_products::ExampleProducts;
pub use examples::Examples;
pub use keeping::Keeping;
pub use kronecker::{CurvatureRoots, KroneckerFactors, KroneckerLayer, RootKind, WrittenGradients};
pub use linearisation::{Beside, Linearisation, Linearisations};
pub(crate) use on_device::KeptRows;
pub use on_device::{DeviceExamples, DeviceNetwork, DeviceTrainingNetwork};
pub use pairing::{LayerWay, Way};
pub(crate) use planes::dot;
pub use space::{ParameterBlock, ParameterSpace};
pub(crate) use storage::Storage;
pub use training::{StepProducts, TrainingDerivatives, TrainingNetwork};

use crate::derivative::head::HeadOutputs;
use crate::in_parallel::mapped;
use crate::model::op::channels_last::Buffer;
use crate::model::{Blocks, ResNet};
use crate::{Error, Result};
use assembly::Mode;
use candle_core::{DType, Device, Tensor};
use planes::{Planes, Shape};
use program::Program;

/// Which matrix stands for the curvature of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curvature {
    /// Second derivatives of the mean loss
    ///
    /// It has negative eigenvalues as a rule.
    Hessian,
    /// Its Gauss–Newton form
    ///
    /// Jᵀ (diag π − ππᵀ) J, positive semi-definite.
    GaussNewton,
}

/// Bytes that the activations of the images in one pass may take.
const PASS_BYTES: usize = 1 << 30;
/// Most images in one pass.
const PASS_IMAGES: usize = 64;

/// Images whose squared gradients are held at once; a constant, so that sums run in a fixed order.
const DIAGONAL_IMAGES: usize = 8;

/// The fine-tuned part of a model.
pub struct Network {
    program: Inner,
    classes: usize,
    /// What the images of one pass may take.
    pass_bytes: usize,
}

enum Inner {
    F32(Program<f32>),
    F64(Program<f64>),
}

impl Network {
    /// The last `blocks` blocks and the head of `model`, for inputs of the shape of `examples`.
    ///
    /// # Errors
    /// More blocks than the model has, or inputs too small for a kernel.
    pub fn new(model: &ResNet, blocks: Blocks, examples: &Examples) -> Result<Self> {
        let first = blocks.first_segment(model.architecture())?;
        let [height, width, channels] = examples.shape();
        let input = Shape {
            height,
            width,
            channels,
        };
        let program = match model.dtype()? {
            DType::F64 => Inner::F64(assembly::assemble(model, (first, Mode::Evaluation), input)?),
            _ => Inner::F32(assembly::assemble(model, (first, Mode::Evaluation), input)?),
        };
        Ok(Self {
            program,
            classes: model.classes().len(),
            pass_bytes: PASS_BYTES,
        })
    }

    /// Passes take no more than `bytes` each, or the images that a gigabyte holds, but one image at least.
    #[must_use]
    pub fn with_pass_bytes(self, bytes: u64) -> Self {
        let pass_bytes = bytes.min(PASS_BYTES as u64) as usize;
        Self { pass_bytes, ..self }
    }

    /// The trained tensors in the order of a parameter vector.
    pub fn space(&self) -> &ParameterSpace {
        in_precision!(self, program => &program.space)
    }

    /// Height, width and channels of what enters.
    pub(crate) fn input(&self) -> [usize; 3] {
        let Shape {
            height,
            width,
            channels,
        } = in_precision!(self, program => program.input);
        [height, width, channels]
    }

    /// p.
    pub fn size(&self) -> usize {
        self.space().size()
    }

    /// The model's precision; vectors are of the same.
    pub fn dtype(&self) -> DType {
        match self.program {
            Inner::F32(_) => DType::F32,
            Inner::F64(_) => DType::F64,
        }
    }

    /// C.
    pub fn class_count(&self) -> usize {
        self.classes
    }

    /// θ, `[p]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn parameters(&self) -> Result<Tensor> {
        in_precision!(self, program => {
            Ok(Tensor::from_slice(&program.parameters, self.size(), &Device::Cpu)?)
        })
    }

    /// Moves θ to `parameters` `[p]`.
    ///
    /// # Errors
    /// Another size or precision.
    #[cfg(test)]
    pub(crate) fn set_parameters(&mut self, parameters: &Tensor) -> Result<()> {
        match &mut self.program {
            Inner::F32(program) => program.move_to(parameters),
            Inner::F64(program) => program.move_to(parameters),
        }
    }

    /// Images that go through one pass together, so that what is held stays within memory.
    pub fn pass_images(&self) -> usize {
        self.pass_images_beside(Beside::Nothing)
    }

    /// The same where this is held of them.
    pub fn pass_images_beside(&self, beside: Beside) -> usize {
        let image = self.image_bytes_beside(beside);
        (self.pass_bytes / image.max(1)).clamp(1, PASS_IMAGES)
    }

    /// What an image takes in a pass: what is held of it, gradients on their way, and tangents where there are no root gradients.
    pub fn image_bytes_beside(&self, beside: Beside) -> usize {
        let values = self.linearisation_bytes(Beside::Nothing);
        match beside {
            Beside::RootGradients => values + self.linearisation_bytes(beside),
            Beside::Nothing | Beside::Gradients => 3 * values,
        }
    }

    /// Bytes of a vector inside a product: its form there, that of what becomes of it, and this as a row.
    pub fn product_bytes(&self) -> usize {
        let inner = in_precision!(self, program => program.space.inner_size());
        (2 * inner + self.size()) * self.dtype().size_in_bytes()
    }

    /// Bytes of a linearisation, per image.
    pub fn linearisation_bytes(&self, beside: Beside) -> usize {
        in_precision!(self, program => {
            let values = program.elements_per_image();
            let beside = match beside {
                Beside::Nothing => 0,
                Beside::Gradients => values,
                Beside::RootGradients => program.root_elements_per_image(),
            };
            (values + beside) * self.dtype().size_in_bytes()
        })
    }

    /// Losses, probabilities and predictions of the images at `positions`.
    ///
    /// # Errors
    /// Examples of another shape, precision or with other classes, or a position out of range.
    pub fn outputs(&self, examples: &Examples, positions: &[u32]) -> Result<Vec<HeadOutputs>> {
        let passes = positions.chunks(self.pass_images());
        passes
            .map(|pass| Ok(self.linearise(examples, pass, Beside::Nothing)?.outputs))
            .collect()
    }

    /// Σ ∇ℓ_i over the images at `positions`, `[p]`, and their mean loss.
    ///
    /// # Errors
    /// As [`Network::outputs`], or no positions.
    pub fn gradient(&self, examples: &Examples, positions: &[u32]) -> Result<(Tensor, f64)> {
        in_precision!(self, program => {
            let mut sum = Buffer::zeros(program.space.inner_size());
            let mut loss = 0.0;
            for pass in positions.chunks(self.pass_images()) {
                let (input, labels) = self.read(program, examples, pass)?;
                let outputs = program.add_gradient((input, &labels), &mut sum)?;
                loss += outputs.losses.iter().sum::<f64>();
            }
            let sum = program.space.outward(&sum);
            let sum = Tensor::from_slice(&sum, self.size(), &Device::Cpu)?;
            Ok((sum, loss / positions.len().max(1) as f64))
        })
    }

    /// ∇ℓ_i of each image at `positions`, `[m, p]`.
    ///
    /// # Errors
    /// As [`Network::outputs`].
    pub fn example_gradients(&self, examples: &Examples, positions: &[u32]) -> Result<Tensor> {
        in_precision!(self, program => {
            let row = |at: usize| -> Result<Vec<_>> {
                let mut row = Buffer::zeros(program.space.inner_size());
                let (input, labels) = self.read(program, examples, &[positions[at]])?;
                program.add_gradient((input, &labels), &mut row)?;
                Ok(program.space.outward(&row).to_vec())
            };
            let rows = mapped(positions.len(), &row).into_iter();
            let rows: Vec<_> = rows.collect::<Result<_>>()?;
            let shape = (positions.len(), self.size());
            Ok(Tensor::from_vec(rows.concat(), shape, &Device::Cpu)?)
        })
    }

    /// What products over the images at `positions` share. At most [`Network::pass_images`] images at once keep memory in bounds.
    ///
    /// # Errors
    /// As [`Network::outputs`].
    pub fn linearise(
        &self,
        examples: &Examples,
        positions: &[u32],
        beside: Beside,
    ) -> Result<Linearisation> {
        in_precision!(self, program => {
            let (input, labels) = self.read(program, examples, positions)?;
            program.linearise((input, &labels), beside)
        })
    }

    /// Σ over the images of all `parts`, one product for every row of `vectors` `[k, p]`; no mean, no L2 term.
    ///
    /// # Errors
    /// Vectors of another size or precision, or linearisations without gradients where they are needed.
    pub fn curvature_products(
        &self,
        curvature: Curvature,
        vectors: &Tensor,
        parts: &mut Linearisations,
    ) -> Result<Tensor> {
        in_precision!(self, program => program.curvature_products(curvature, vectors, parts))
    }

    /// ⟨∇ℓ_i, v⟩ for every row v of `vectors` `[k, p]` and image i at `positions`, `[k, m]` in f64.
    ///
    /// # Errors
    /// As [`Network::outputs`], or vectors of another size or precision.
    pub fn example_products(
        &self,
        examples: &Examples,
        positions: &[u32],
        vectors: &Tensor,
    ) -> Result<Tensor> {
        let products = self.pair(vectors, None)?.products(examples, positions)?;
        Ok(products.sum(0)?)
    }

    /// Adds Σ_i Σ_c π_ic (∇ℓ_i(c))² to `sums` `[p]`, ℓ_i(c) the loss of image i at the label c: the diagonal of the
    /// Gauss–Newton matrix, since (diag π − ππᵀ) = Σ_c π_c (π − e_c)(π − e_c)ᵀ.
    ///
    /// # Errors
    /// As [`Network::outputs`].
    pub fn add_gauss_newton_diagonal(
        &self,
        examples: &Examples,
        positions: &[u32],
        sums: &mut [f64],
    ) -> Result<()> {
        in_precision!(self, program => {
            for pass in positions.chunks(DIAGONAL_IMAGES) {
                let squares = |at: usize| {
                    let (input, _) = self.read(program, examples, &[pass[at]])?;
                    program.squared_gradients(input)
                };
                for row in mapped(pass.len(), &squares) {
                    sums.iter_mut().zip(row?).for_each(|(sum, square)| *sum += square);
                }
            }
            Ok(())
        })
    }

    /// The activations at `positions`, if they fit the program.
    fn read<T: storage::Stored>(
        &self,
        program: &Program<T>,
        examples: &Examples,
        positions: &[u32],
    ) -> Result<(Planes<T>, Vec<usize>)> {
        let Shape {
            height,
            width,
            channels,
        } = program.input;
        if examples.shape() != [height, width, channels] || examples.dtype() != self.dtype() {
            return Err(Error::mismatch(
                "activations of the frozen layers",
                format!("{height} × {width} × {channels} of {:?}", self.dtype()),
                format!("{:?} of {:?}", examples.shape(), examples.dtype()),
                "compute them with the same model and blocks",
            ));
        }
        examples.read(positions, self.classes)
    }
}
