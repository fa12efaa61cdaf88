//! The fine-tuned part of a ResNet as layers.

use super::layer::Layer;
use super::program::{Node, Program};
use crate::Result;
use crate::derivative::network::assembly::{missing, step};
use crate::derivative::network::space::ParameterSpace;
use crate::model::op::{Convolution, Window};
use crate::model::{BlockKind, ResNet, Stem};

/// The layers of the segments from `first` on.
pub(super) fn assemble(model: &ResNet, space: &ParameterSpace, first: usize) -> Result<Program> {
    let mut assembly = Assembly {
        model,
        space,
        nodes: Vec::new(),
    };
    let mut last = 0;
    for segment in first..model.head_segment() {
        last = match segment {
            0 => assembly.stem()?,
            _ => assembly.block(segment, last)?,
        };
    }
    if first < model.head_segment() {
        last = assembly.push(Layer::Mean, &[last]);
    }
    let head = Layer::Head {
        weight: assembly.place("fc.weight")?,
        bias: assembly.place("fc.bias")?,
    };
    assembly.push(head, &[last]);
    let nodes = assembly.nodes;
    Ok(Program { nodes })
}

struct Assembly<'a> {
    model: &'a ResNet,
    space: &'a ParameterSpace,
    nodes: Vec<Node>,
}

impl Assembly<'_> {
    fn push(&mut self, layer: Layer, inputs: &[usize]) -> usize {
        let inputs = inputs.to_vec();
        self.nodes.push(Node { layer, inputs });
        self.nodes.len()
    }

    fn place(&self, name: &str) -> Result<usize> {
        let blocks = self.space.blocks();
        let place = blocks.iter().position(|block| block.name == name);
        place.ok_or_else(|| missing(name))
    }

    /// A convolution of value `input` and the batch norm after it, with a rectifier where it is `rectified`.
    fn convolution(
        &mut self,
        (name, norm): (&str, &str),
        rectified: bool,
        input: usize,
    ) -> Result<usize> {
        let (stride, padding) = step(self.model, name);
        let convolution = Layer::Convolution {
            weight: self.place(&format!("{name}.weight"))?,
            step: Convolution { stride, padding },
        };
        let affine = Layer::Affine {
            scale: self.place(&format!("{norm}.weight"))?,
            shift: self.place(&format!("{norm}.bias"))?,
            rectified,
        };
        let x = self.push(convolution, &[input]);
        Ok(self.push(affine, &[x]))
    }

    fn stem(&mut self) -> Result<usize> {
        let x = self.convolution(("conv1", "bn1"), true, 0)?;
        let window = Window {
            size: 3,
            stride: 2,
            padding: 1,
        };
        Ok(match self.model.architecture().stem() {
            Stem::ImageNet => self.push(Layer::MaxPool(window), &[x]),
            Stem::Cifar => x,
        })
    }

    fn block(&mut self, segment: usize, input: usize) -> Result<usize> {
        let block = &self.model.architecture().blocks()[segment - 1];
        let name = &block.name;
        let count = match self.model.architecture().kind() {
            BlockKind::Basic => 2,
            BlockKind::Bottleneck => 3,
        };
        let mut h = input;
        for index in 1..=count {
            let (convolution, norm) = (format!("{name}.conv{index}"), format!("{name}.bn{index}"));
            h = self.convolution((&convolution, &norm), index < count, h)?;
        }
        let shortcut = if block.projects() {
            let (convolution, norm) = (
                format!("{name}.downsample.0"),
                format!("{name}.downsample.1"),
            );
            self.convolution((&convolution, &norm), false, input)?
        } else {
            input
        };
        Ok(self.push(Layer::AddRectifier, &[h, shortcut]))
    }
}
