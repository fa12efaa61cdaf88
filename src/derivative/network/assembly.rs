//! The fine-tuned part of a ResNet as a program of layers.

use super::layer::{Affine, BatchNorm, Convolution, GlobalMean, Layer, MaxPool, Moments};
use super::planes::{Scalar, Shape};
use super::program::{Node, Norm, Program};
use super::space::ParameterSpace;
use crate::model::op::channels_last::{Form, Geometry};
use crate::model::{EPSILON, NormedConvolution, ResNet, Segment, is_statistic};
use crate::{Error, Result};
use candle_core::Device;
use std::collections::BTreeMap;

/// What batch norm divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The running statistics, as they are: an image's logits are its own.
    Evaluation,
    /// The moments of the batch.
    Training,
}

/// The trainable tensors of the segments from `first` on, sorted by name.
pub(super) fn space(model: &ResNet, first: usize) -> ParameterSpace {
    let architecture = model.architecture();
    let layers = model.segments().iter().flat_map(Segment::layers);
    let kernels = layers.map(|layer| (format!("{}.weight", layer.name), layer.form()));
    let forms: BTreeMap<String, Form> = kernels.collect();
    ParameterSpace::new(model.tensors().iter().filter_map(|(name, tensor)| {
        let segment = architecture.segment_of(name);
        let trained = segment >= first && !is_statistic(name);
        let form = forms.get(name).copied().unwrap_or(Form::Taps);
        trained.then(|| (name.clone(), tensor.dims().to_vec(), segment, form))
    }))
}

/// The program of the segments from `first` on, for inputs of the shape `input`.
pub(super) fn assemble<T: Scalar>(
    model: &ResNet,
    (first, mode): (usize, Mode),
    input: Shape,
) -> Result<Program<T>> {
    let space = space(model, first);
    let mut outer = Vec::with_capacity(space.size());
    for block in space.blocks() {
        outer.extend(values::<T>(model, &block.name)?);
    }
    let mut assembly = Assembly {
        model,
        mode,
        space: &space,
        nodes: Vec::new(),
        norms: Vec::new(),
        shapes: vec![input],
    };
    let mut last = 0;
    for segment in &model.segments()[first..] {
        last = assembly.segment(segment, last)?;
    }
    if first < model.head_segment() {
        last = assembly.push(Box::new(GlobalMean), vec![last]);
    }
    assembly.head(last)?;
    let (nodes, norms) = (assembly.nodes, assembly.norms);
    let weights = space.inward(&outer);
    Ok(Program {
        input,
        nodes,
        norms,
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
    mode: Mode,
    space: &'a ParameterSpace,
    nodes: Vec<Node<T>>,
    /// Of training mode.
    norms: Vec<Norm>,
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

    /// A layer of value `input`, and what follows it.
    fn layer(
        &mut self,
        layer: &NormedConvolution,
        input: usize,
        shortcut: Option<usize>,
        rectified: bool,
    ) -> Result<usize> {
        let shape = self.shapes[input];
        let (kernel, padding) = (layer.kernel, layer.step.padding);
        if kernel > shape.height.min(shape.width) + 2 * padding {
            return Err(Error::mismatch(
                format!("images for {}", layer.name),
                format!("at least {} pixels a side there", kernel - 2 * padding),
                format!("{} × {}", shape.height, shape.width),
                "use larger images",
            ));
        }
        let convolution = Convolution {
            geometry: layer.geometry(shape),
            weight: self.range(&format!("{}.weight", layer.name))?,
            bias: None,
        };
        let x = self.push(Box::new(convolution), vec![input]);
        self.affine(&layer.norm, x, shortcut, rectified)
    }

    /// Batch norm of value `input`, and what follows it.
    fn affine(
        &mut self,
        name: &str,
        input: usize,
        shortcut: Option<usize>,
        rectified: bool,
    ) -> Result<usize> {
        let [gamma, beta] = ["weight", "bias"].map(|part| self.range(&format!("{name}.{part}")));
        let (gamma, beta) = (gamma?, beta?);
        if self.mode == Mode::Training {
            let moments = self.push(Box::new(Moments), vec![input]);
            self.norms.push(Norm {
                name: name.to_owned(),
                moments,
            });
            let layer = BatchNorm {
                gamma,
                beta,
                rectified,
            };
            let inputs = [input, moments].into_iter().chain(shortcut).collect();
            return Ok(self.push(Box::new(layer), inputs));
        }
        let statistic = |part: &str| values::<f64>(self.model, &format!("{name}.{part}"));
        let number = <T as candle_core::WithDType>::from_f64;
        let inverse = |variance: f64| number(1.0 / (variance + EPSILON).sqrt());
        let layer = Affine {
            gamma,
            beta,
            mean: statistic("running_mean")?.into_iter().map(number).collect(),
            inverse_deviation: statistic("running_var")?.into_iter().map(inverse).collect(),
            rectified,
        };
        let inputs = [input].into_iter().chain(shortcut).collect();
        Ok(self.push(Box::new(layer), inputs))
    }

    fn segment(&mut self, segment: &Segment, input: usize) -> Result<usize> {
        match segment {
            Segment::Stem { layer, pool } => {
                let x = self.layer(layer, input, None, true)?;
                Ok(match pool {
                    Some(window) => self.push(Box::new(MaxPool(*window)), vec![x]),
                    None => x,
                })
            }
            Segment::Block { way, projection } => {
                let shortcut = match projection {
                    Some(layer) => self.layer(layer, input, None, false)?,
                    None => input,
                };
                let mut h = input;
                for (number, layer) in (1..).zip(way) {
                    let last = number == way.len();
                    h = self.layer(layer, h, last.then_some(shortcut), true)?;
                }
                Ok(h)
            }
        }
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
