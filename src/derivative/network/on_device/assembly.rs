//! The fine-tuned part of a ResNet as layers.

use super::layer::Layer;
use super::program::{Node, Norm, Program};
use crate::Result;
use crate::derivative::network::assembly::{Mode, missing};
use crate::derivative::network::space::ParameterSpace;
use crate::model::{NormedConvolution, ResNet, Segment};

/// The layers of the segments from `first` on.
pub(super) fn assemble(
    model: &ResNet,
    space: &ParameterSpace,
    (first, mode): (usize, Mode),
) -> Result<Program> {
    let mut assembly = Assembly {
        space,
        mode,
        nodes: Vec::new(),
        norms: Vec::new(),
    };
    let mut last = 0;
    for segment in &model.segments()[first..] {
        last = assembly.segment(segment, last)?;
    }
    if first < model.head_segment() {
        last = assembly.push(Layer::Mean, &[last]);
    }
    let head = Layer::Head {
        weight: assembly.place("fc.weight")?,
        bias: assembly.place("fc.bias")?,
    };
    assembly.push(head, &[last]);
    let Assembly { nodes, norms, .. } = assembly;
    Ok(Program { nodes, norms })
}

struct Assembly<'a> {
    space: &'a ParameterSpace,
    mode: Mode,
    nodes: Vec<Node>,
    /// Of training mode.
    norms: Vec<Norm>,
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

    /// A layer of value `input`, with a rectifier where it is `rectified`.
    fn layer(&mut self, layer: &NormedConvolution, rectified: bool, input: usize) -> Result<usize> {
        let convolution = Layer::Convolution {
            weight: self.place(&format!("{}.weight", layer.name))?,
            step: layer.step,
        };
        let affine = Layer::Affine {
            scale: self.place(&format!("{}.weight", layer.norm))?,
            shift: self.place(&format!("{}.bias", layer.norm))?,
            rectified,
        };
        let mut x = self.push(convolution, &[input]);
        if self.mode == Mode::Training {
            self.norms.push(Norm {
                name: layer.norm.clone(),
                node: self.nodes.len(),
            });
            x = self.push(Layer::Normalise, &[x]);
        }
        Ok(self.push(affine, &[x]))
    }

    fn segment(&mut self, segment: &Segment, input: usize) -> Result<usize> {
        match segment {
            Segment::Stem { layer, pool } => {
                let x = self.layer(layer, true, input)?;
                Ok(match pool {
                    Some(window) => self.push(Layer::MaxPool(*window), &[x]),
                    None => x,
                })
            }
            Segment::Block { way, projection } => {
                let mut h = input;
                for (number, layer) in (1..).zip(way) {
                    h = self.layer(layer, number < way.len(), h)?;
                }
                let shortcut = match projection {
                    Some(layer) => self.layer(layer, false, input)?,
                    None => input,
                };
                Ok(self.push(Layer::AddRectifier, &[h, shortcut]))
            }
        }
    }
}
