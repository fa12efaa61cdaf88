//! The fine-tuned part of a ResNet as a program of layers.

use super::layer::{Affine, Convolution, GlobalMean, Layer, MaxPool};
use super::planes::{Scalar, Shape};
use super::program::{Node, Program};
use super::space::ParameterSpace;
use crate::model::op::Window;
use crate::model::op::channels_last::{Form, Geometry};
use crate::model::{BlockKind, EPSILON, ResNet, Stem, is_statistic};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// The trainable tensors of the segments from `first` on, sorted by name.
pub(super) fn space(model: &ResNet, first: usize) -> ParameterSpace {
    let architecture = model.architecture();
    ParameterSpace::new(model.tensors().iter().filter_map(|(name, tensor)| {
        let segment = architecture.segment_of(name);
        let trained = segment >= first && !is_statistic(name);
        let form = match name.strip_suffix(".weight") {
            Some(convolution) => form(model, convolution, tensor.dims()),
            None => Form::Taps,
        };
        trained.then(|| (name.clone(), tensor.dims().to_vec(), segment, form))
    }))
}

/// (stride, padding) of a convolution by its name: torchvision's blocks carry their stride in the 3×3 convolution (the first
/// of a basic block) and in the shortcut.
pub(super) fn step(model: &ResNet, name: &str) -> (usize, usize) {
    let architecture = model.architecture();
    if name == "conv1" {
        return match architecture.stem() {
            Stem::ImageNet => (2, 3),
            Stem::Cifar => (1, 1),
        };
    }
    let blocks = architecture.blocks();
    let (block, part) = match architecture.segment_of(name) {
        segment if (1..=blocks.len()).contains(&segment) => {
            let block = &blocks[segment - 1];
            (block, name.strip_prefix(block.name.as_str()).unwrap_or(""))
        }
        _ => return (1, 0),
    };
    match (architecture.kind(), part) {
        (BlockKind::Basic, ".conv1") => (block.stride, 1),
        (BlockKind::Basic, ".conv2") => (1, 1),
        (BlockKind::Bottleneck, ".conv2") => (block.stride, 1),
        (_, ".downsample.0") => (block.stride, 0),
        _ => (1, 0),
    }
}

fn form(model: &ResNet, convolution: &str, shape: &[usize]) -> Form {
    let (stride, padding) = step(model, convolution);
    match *shape {
        [_, _, kernel, _] => Form::of(kernel, stride, padding),
        _ => Form::Taps,
    }
}

/// The program of the segments from `first` on, for inputs of the shape `input`.
pub(super) fn assemble<T: Scalar>(
    model: &ResNet,
    first: usize,
    input: Shape,
) -> Result<Program<T>> {
    let space = space(model, first);
    let mut outer = Vec::with_capacity(space.size());
    for block in space.blocks() {
        outer.extend(values::<T>(model, &block.name)?);
    }
    let mut assembly = Assembly {
        model,
        space: &space,
        nodes: Vec::new(),
        shapes: vec![input],
    };
    let mut last = 0;
    for segment in first..model.head_segment() {
        last = match segment {
            0 => assembly.stem()?,
            _ => assembly.block(segment, last)?,
        };
    }
    if first < model.head_segment() {
        last = assembly.push(Box::new(GlobalMean), vec![last]);
    }
    assembly.head(last)?;
    let nodes = assembly.nodes;
    let weights = space.inward(&outer);
    Ok(Program {
        input,
        nodes,
        space,
        parameters: outer,
        weights,
    })
}

fn values<T: Scalar>(model: &ResNet, name: &str) -> Result<Vec<T>> {
    let tensor = model.tensors().get(name).ok_or_else(|| missing(name))?;
    Ok(tensor
        .to_device(&Device::Cpu)?
        .to_dtype(T::DTYPE)?
        .flatten_all()?
        .to_vec1()?)
}

pub(super) fn missing(name: &str) -> Error {
    Error::mismatch(
        "model",
        format!("a tensor {name}"),
        "none",
        "the weight file is incomplete",
    )
}

struct Assembly<'a, T: Scalar> {
    model: &'a ResNet,
    space: &'a ParameterSpace,
    nodes: Vec<Node<T>>,
    /// Of every value.
    shapes: Vec<Shape>,
}

impl<T: Scalar> Assembly<'_, T> {
    fn push(&mut self, layer: Box<dyn Layer<T>>, inputs: Vec<usize>) -> usize {
        let shapes: Vec<Shape> = inputs.iter().map(|&input| self.shapes[input]).collect();
        self.shapes.push(layer.shape(&shapes));
        self.nodes.push(Node { layer, inputs });
        self.nodes.len()
    }

    fn range(&self, name: &str) -> Result<std::ops::Range<usize>> {
        self.space.inner_range(name).ok_or_else(|| missing(name))
    }

    /// A convolution of value `input`.
    fn convolution(&mut self, name: &str, input: usize) -> Result<usize> {
        let (stride, padding) = step(self.model, name);
        let weight = format!("{name}.weight");
        let tensor = self.model.tensors().get(&weight);
        let (c_out, _, kernel, _) = tensor.ok_or_else(|| missing(&weight))?.dims4()?;
        let shape = self.shapes[input];
        if kernel > shape.height.min(shape.width) + 2 * padding {
            return Err(Error::mismatch(
                format!("images for {name}"),
                format!("at least {} pixels a side there", kernel - 2 * padding),
                format!("{} × {}", shape.height, shape.width),
                "use larger images",
            ));
        }
        let layer = Convolution {
            geometry: Geometry {
                input: shape,
                c_out,
                kernel,
                stride,
                padding,
            },
            weight: self.range(&weight)?,
            bias: None,
        };
        Ok(self.push(Box::new(layer), vec![input]))
    }

    /// Batch norm of value `input`, and what follows it.
    fn affine(
        &mut self,
        name: &str,
        input: usize,
        shortcut: Option<usize>,
        rectified: bool,
    ) -> Result<usize> {
        let statistic = |part: &str| values::<f64>(self.model, &format!("{name}.{part}"));
        let number = <T as candle_core::WithDType>::from_f64;
        let inverse = |variance: f64| number(1.0 / (variance + EPSILON).sqrt());
        let layer = Affine {
            gamma: self.range(&format!("{name}.weight"))?,
            beta: self.range(&format!("{name}.bias"))?,
            mean: statistic("running_mean")?.into_iter().map(number).collect(),
            inverse_deviation: statistic("running_var")?.into_iter().map(inverse).collect(),
            rectified,
        };
        let inputs = [input].into_iter().chain(shortcut).collect();
        Ok(self.push(Box::new(layer), inputs))
    }

    fn stem(&mut self) -> Result<usize> {
        let imagenet = self.model.architecture().stem() == Stem::ImageNet;
        let x = self.convolution("conv1", 0)?;
        let x = self.affine("bn1", x, None, true)?;
        let window = Window {
            size: 3,
            stride: 2,
            padding: 1,
        };
        Ok(match imagenet {
            true => self.push(Box::new(MaxPool(window)), vec![x]),
            false => x,
        })
    }

    fn block(&mut self, segment: usize, input: usize) -> Result<usize> {
        let block = &self.model.architecture().blocks()[segment - 1];
        let name = &block.name;
        let shortcut = if block.projects() {
            let x = self.convolution(&format!("{name}.downsample.0"), input)?;
            self.affine(&format!("{name}.downsample.1"), x, None, false)?
        } else {
            input
        };
        let count = match self.model.architecture().kind() {
            BlockKind::Basic => 2,
            BlockKind::Bottleneck => 3,
        };
        let mut h = input;
        for index in 1..=count {
            h = self.convolution(&format!("{name}.conv{index}"), h)?;
            let last = index == count;
            h = self.affine(
                &format!("{name}.bn{index}"),
                h,
                last.then_some(shortcut),
                true,
            )?;
        }
        Ok(h)
    }

    fn head(&mut self, input: usize) -> Result<usize> {
        let tensor = self.model.tensors().get("fc.bias");
        let c_out = tensor.ok_or_else(|| missing("fc.bias"))?.elem_count();
        let layer = Convolution {
            geometry: Geometry {
                input: self.shapes[input],
                c_out,
                kernel: 1,
                stride: 1,
                padding: 0,
            },
            weight: self.range("fc.weight")?,
            bias: Some(self.range("fc.bias")?),
        };
        Ok(self.push(Box::new(layer), vec![input]))
    }
}

/// The precision of a model's weights.
pub(super) fn precision(model: &ResNet) -> DType {
    model
        .tensors()
        .get("fc.weight")
        .map_or(DType::F32, Tensor::dtype)
}
