//! The fine-tuned part of a network as tensor operations, for any device: the products of
//! [`Network`](super::Network), on the same parameters in the same order.
//!
//! # Forward over reverse
//!
//! A pass over a batch of images leaves the value of every layer ([`program`]). The derivatives of the loss with respect to the
//! logits, r = π − e_y and, with the tangent ż = J v of the logits along v, ṙ = (diag π − ππᵀ) ż, are in [`softmax`]. From them
//!
//! - gradient: Jᵀ r, one way back through the layers ([`way_back`]);
//! - Gauss–Newton: ż by the tangents of all layers ([`layer`], [`dual`]), then Jᵀ ṙ;
//! - Hessian: the tangent of Jᵀ r along v. It needs the tangents and the gradients r gives of all layers' results; these are the
//!   same for all vectors of a block, which share them as they share the values.
//!
//! Gradients of images by themselves, and with them products with many vectors, are written out layer by layer ([`written_out`]).
//!
//! A step of training is a pass over one batch, with batch norm in training mode ([`normalise`], [`training`]).
//!
//! Vectors go side by side ([`dual`]), 8 of them, so that a device is given few large convolutions instead of many small ones.
//!
//! Cost in forward passes, convolutions counted: 4 a vector for Gauss–Newton, 6 for the Hessian, as in the program of the processor;
//! besides, for a whole block, 1 for the values and 1 more for the Hessian's gradients.
//! What holds of the processor's products otherwise, that sums are taken image by image in a fixed order, does not hold here:
//! results agree with it up to rounding.

mod assembly;
mod coordinates;
mod dual;
mod examples;
mod kept_rows;
mod kronecker;
mod layer;
mod normalise;
mod products;
mod program;
mod softmax;
mod training;
mod way_back;
mod winners;
mod written_out;

pub use examples::DeviceExamples;
pub(crate) use kept_rows::KeptRows;
pub use training::DeviceTrainingNetwork;

use super::ParameterSpace;
use super::assembly::Mode;
use crate::device::room;
use crate::model::{Blocks, ResNet};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use coordinates::Coordinates;
use dual::Directions;
use program::Program;

/// Bytes that the values, tangents and gradients of a pass may take, if a quarter of a device's free memory allows it.
const PASS_BYTES: usize = 8 << 30;
/// Most images in one pass.
const PASS_IMAGES: usize = 256;
/// What a pass holds in multiples of a trace: values and gradients that all directions share, and what belongs to each direction,
/// tangents, gradients and the ones just made.
const SHARED: usize = 2;
const ALONG: usize = 3;
/// Most directions side by side: more would fill no device better.
const SIDE_BY_SIDE: usize = 8;

/// The fine-tuned part of a model on a device.
pub struct DeviceNetwork {
    program: Program,
    space: ParameterSpace,
    coordinates: Coordinates,
    /// θ `[p]`
    parameters: Tensor,
    /// The program's parameters, in the order of the space.
    inner: Vec<Tensor>,
    classes: usize,
    dims: Vec<usize>,
    dtype: DType,
    device: Device,
    bytes: PassBytes,
    pass_images: usize,
}

/// Bytes of a pass.
#[derive(Default)]
struct PassBytes {
    /// What it may take.
    all: usize,
    /// An image's values.
    trace: usize,
    /// An image's patches and gradient in the layer where they are most.
    written: usize,
}

impl DeviceNetwork {
    /// The last `blocks` blocks and the head of `model` on the device of `examples`, for inputs of their shape.
    ///
    /// # Errors
    /// More blocks than the model has, or inputs too small for a kernel.
    pub fn new(model: &ResNet, blocks: Blocks, examples: &DeviceExamples) -> Result<Self> {
        let first = blocks.first_segment(model.architecture())?;
        let device = examples.device().clone();
        let space = super::assembly::space(model, first);
        let program = assembly::assemble(model, &space, (first, Mode::Evaluation))?;
        let coordinates = Coordinates::new(model, &space, &device)?;
        let parameters = stored(model, &space, &device)?;
        let mut network = Self {
            inner: coordinates.inward_one(&space, &parameters)?,
            program,
            space,
            coordinates,
            parameters,
            classes: model.classes().len(),
            dims: examples.dims().to_vec(),
            dtype: model.dtype()?,
            device,
            bytes: PassBytes::default(),
            pass_images: PASS_IMAGES,
        };
        network.bytes = network.pass_bytes(examples)?;
        network.pass_images = network.images_within(SHARED + ALONG, 0);
        Ok(network)
    }

    /// Bytes of a pass, from that of an image.
    fn pass_bytes(&self, examples: &DeviceExamples) -> Result<PassBytes> {
        let (input, _) = self.read(examples, &[0])?;
        let trace = self.program.trace(&input, &self.inner)?;
        Ok(PassBytes {
            all: room(&self.device, PASS_BYTES, 4)?,
            trace: trace.elements() * self.dtype.size_in_bytes(),
            written: self.program.written_elements(&trace, &self.inner)
                * self.dtype.size_in_bytes(),
        })
    }

    /// Images of which so many traces and other bytes fit into the memory of a pass.
    fn images_within(&self, traces: usize, others: usize) -> usize {
        let image = traces * self.bytes.trace + others;
        (self.bytes.all / image.max(1)).clamp(1, self.pass_images)
    }

    /// The trained tensors in the order of a parameter vector.
    pub fn space(&self) -> &ParameterSpace {
        &self.space
    }

    /// p.
    pub fn size(&self) -> usize {
        self.space.size()
    }

    /// The model's precision; vectors are of the same.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where it computes; vectors are there too.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// C.
    pub fn class_count(&self) -> usize {
        self.classes
    }

    /// θ, `[p]`.
    pub fn parameters(&self) -> &Tensor {
        &self.parameters
    }

    /// Refuses batches of so many images whose values, tangents and gradients in a step of training have no room, even along one
    /// vector.
    ///
    /// # Errors
    /// Says how much is needed, or the device does not say how much is free.
    pub(crate) fn check_training_room(&self, images: usize) -> Result<()> {
        training::check_room(
            &self.device,
            images,
            (1 + ALONG) * images * self.bytes.trace,
        )
    }

    /// Images that go through one pass together, with tangents along one direction; fewer with more.
    pub fn pass_images(&self) -> usize {
        self.pass_images
    }

    /// The same with at most so many images in a pass, and no less than 1.
    #[must_use]
    pub fn with_pass_images(self, images: usize) -> Self {
        Self {
            pass_images: images.max(1),
            ..self
        }
    }

    /// The rows of `vectors` as directions in the program's parameters, in groups that go side by side.
    fn directions(&self, vectors: &Tensor, of_gradients: bool) -> Result<Vec<Directions>> {
        let count = self.check_vectors(vectors)?;
        let group = |start: usize| {
            let rows = vectors.narrow(0, start, SIDE_BY_SIDE.min(count - start))?;
            let stacked = self.coordinates.inward(&self.space, &rows)?;
            Ok(Directions::new(stacked, of_gradients)?)
        };
        (0..count).step_by(SIDE_BY_SIDE).map(group).collect()
    }

    /// The rows of `vectors`, if they are over the network's parameters.
    fn check_vectors(&self, vectors: &Tensor) -> Result<usize> {
        check_vectors(vectors, (self.size(), self.dtype))
    }

    /// Images in a pass with tangents along these directions.
    fn images_beside(&self, groups: &[Directions]) -> usize {
        let most = groups.iter().map(Directions::count).max();
        self.images_within(SHARED + ALONG * most.unwrap_or(1), 0)
    }

    /// Images in a pass whose gradients are written out layer by layer, beside so many numbers that are kept of each.
    fn images_written(&self, kept: usize) -> usize {
        let kept = kept * self.dtype.size_in_bytes();
        self.images_within(SHARED + ALONG, self.bytes.written + kept)
    }

    /// The labels of a pass, on the device.
    fn labels(&self, labels: &[usize]) -> Result<Tensor> {
        labels_on(&self.device, labels)
    }

    /// The activations at `positions`, if they fit the program.
    fn read(&self, examples: &DeviceExamples, positions: &[u32]) -> Result<(Tensor, Vec<usize>)> {
        if examples.dims() != self.dims
            || examples.dtype() != self.dtype
            || examples.device().location() != self.device.location()
        {
            return Err(Error::mismatch(
                "activations of the frozen layers",
                format!("{:?} of {:?}", self.dims, self.dtype),
                format!("{:?} of {:?}", examples.dims(), examples.dtype()),
                "compute them with the same model and blocks, on the same device",
            ));
        }
        examples.read(positions, self.classes)
    }
}

/// θ of `model` on `device`, `[p]`.
fn stored(model: &ResNet, space: &ParameterSpace, device: &Device) -> Result<Tensor> {
    let stored = |block: &super::ParameterBlock| -> Result<Tensor> {
        let tensor = model.tensors().get(&block.name);
        let tensor = tensor.ok_or_else(|| super::assembly::missing(&block.name))?;
        Ok(tensor.detach().to_device(device)?.flatten_all()?)
    };
    let stored = space.blocks().iter().map(stored);
    Ok(Tensor::cat(&stored.collect::<Result<Vec<_>>>()?, 0)?)
}

fn labels_on(device: &Device, labels: &[usize]) -> Result<Tensor> {
    let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
    Ok(Tensor::new(labels, device)?)
}

/// The rows of `vectors`, if they have so many numbers of a precision.
fn check_vectors(vectors: &Tensor, (expected, dtype): (usize, DType)) -> Result<usize> {
    let (count, size) = vectors.dims2()?;
    if size == expected && vectors.dtype() == dtype {
        return Ok(count);
    }
    Err(Error::mismatch(
        "vectors",
        format!("{expected} numbers of {dtype:?}"),
        format!("{size} of {:?}", vectors.dtype()),
        "use vectors over the network's own parameters",
    ))
}
