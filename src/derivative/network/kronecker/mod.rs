//! What a Kronecker-factored approximation of the Gauss–Newton matrix is made of.
//!
//! A convolution or the head multiplies patches: at place t its output is W a_t, a_t the inputs that its kernel sees there
//! (and a 1 where it has a bias). With ds_t the gradient of place t's output the gradient of W is Σ_t ds_t a_tᵀ. K-FAC
//! (Martens & Grosse 2015; for convolutions Grosse & Martens 2016, equation 27) takes activations and gradients, and places
//! among themselves, as independent: the layer's block of the mean Gauss–Newton matrix is about S ⊗ A with
//!
//! - A = (1/n) Σ_i Σ_t a_t a_tᵀ, a *sum* over the T places,
//! - S = (1/n) Σ_i (1/T) Σ_t E[ds_t ds_tᵀ], a *mean* over them,
//!
//! the expectation over the rows of [`CurvatureRoots`]. For T = 1 and a single image, or where ds and a are independent, that
//! is exact. Rows and columns are in the order of the stored weights: inputs before taps, the bias last.
//!
//! The eigenvalues that George et al. 2018 put in place of λ_S λ_A are second moments of whole gradients in the factors'
//! axes: [`WrittenGradients::root_gradients`] gives these gradients.

mod moments;
mod root;
#[cfg(test)]
mod tests;

pub use root::{CurvatureRoots, RootKind};

use super::layer::Convolution;
use super::planes::{Planes, Scalar};
use super::products::Precision;
use super::program::Program;
use super::{Examples, Inner, Network};
use crate::Result;
use crate::derivative::head::HeadOutputs;
use crate::model::op::channels_last::Buffer;
use candle_core::{DType, Device, Tensor};
use faer::Mat;
use moments::MomentSums;
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of gradients that are held at once on the processor.
const GRADIENT_BYTES: usize = 1 << 28;

/// A layer that multiplies patches by a matrix `[outputs, inputs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KroneckerLayer {
    /// Place of the matrix, row by row, in the parameter vector.
    pub weight: Range<usize>,
    /// Place of the bias, the matrix's last column.
    pub bias: Option<Range<usize>>,
    /// Rows.
    pub outputs: usize,
    /// Columns, with that of the bias.
    pub inputs: usize,
}

/// The factors of one layer, symmetric, f64.
#[derive(Debug, Clone)]
pub struct KroneckerFactors {
    /// Whose they are.
    pub layer: KroneckerLayer,
    /// A, `[inputs, inputs]`.
    pub inputs: Mat<f64>,
    /// S, `[outputs, outputs]`.
    pub outputs: Mat<f64>,
}

/// A network whose gradients can be written out, wherever it is computed: what approximations of its Gauss–Newton matrix are made
/// of.
pub trait WrittenGradients: Sync {
    /// Images of it.
    type Examples: Sync;

    /// p.
    fn size(&self) -> usize;

    /// The precision of gradients.
    fn dtype(&self) -> DType;

    /// C.
    fn class_count(&self) -> usize;

    /// Where gradients are.
    fn device(&self) -> Device;

    /// Bytes of gradients that are held at once, with `copies` as large in all while something is made of them.
    ///
    /// # Errors
    /// A device does not say how much is free.
    fn gradient_bytes(&self, copies: usize) -> Result<usize>;

    /// What the network says of the images at `positions`, on the host.
    ///
    /// # Errors
    /// As [`Network::outputs`].
    fn outputs(&self, examples: &Self::Examples, positions: &[u32]) -> Result<Vec<HeadOutputs>>;

    /// The layers that have Kronecker factors; the other parameters are batch norm's.
    fn kronecker_layers(&self) -> Vec<KroneckerLayer>;

    /// The factors of these layers, in their order, over the images at `positions`, whose rows are `roots`.
    ///
    /// # Errors
    /// As [`Network::outputs`].
    fn kronecker_factors(
        &self,
        examples: &Self::Examples,
        positions: &[u32],
        roots: &CurvatureRoots,
    ) -> Result<Vec<KroneckerFactors>>;

    /// Jᵀs of the rows s of the images `images`, `[rows, p]`, image by image: Σ (Jᵀs)(Jᵀs)ᵀ is the sum of their Gauss–Newton
    /// matrices. Image i is the one at `positions[i]`, and has the i-th rows.
    ///
    /// # Errors
    /// As [`Network::outputs`].
    fn root_gradients(
        &self,
        examples: &Self::Examples,
        positions: &[u32],
        roots: &CurvatureRoots,
        images: Range<usize>,
    ) -> Result<Tensor>;
}

impl WrittenGradients for Network {
    type Examples = Examples;

    fn size(&self) -> usize {
        self.size()
    }

    fn dtype(&self) -> DType {
        self.dtype()
    }

    fn class_count(&self) -> usize {
        self.class_count()
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn gradient_bytes(&self, copies: usize) -> Result<usize> {
        Ok(GRADIENT_BYTES.min(self.pass_bytes / copies.max(1)))
    }

    fn outputs(&self, examples: &Examples, positions: &[u32]) -> Result<Vec<HeadOutputs>> {
        self.outputs(examples, positions)
    }

    fn kronecker_layers(&self) -> Vec<KroneckerLayer> {
        in_precision!(self, program => {
            program.convolutions().map(|(_, layer)| program.layer(layer)).collect()
        })
    }

    fn kronecker_factors(
        &self,
        examples: &Examples,
        positions: &[u32],
        roots: &CurvatureRoots,
    ) -> Result<Vec<KroneckerFactors>> {
        in_precision!(self, program => {
            let mut sums: Vec<MomentSums> =
                program.convolutions().map(|(_, layer)| MomentSums::new(layer)).collect();
            let size = self.pass_images();
            for (pass, positions) in positions.chunks(size).enumerate() {
                let (input, _) = self.read(program, examples, positions)?;
                let first = pass * size;
                program.add_moments(input, |image| roots.of_image(first + image), &mut sums);
            }
            let layers = program.convolutions().map(|(_, layer)| layer).zip(sums);
            let finish = |(layer, sums): (&Convolution, MomentSums)| {
                sums.finish(layer, program.layer(layer), positions.len())
            };
            Ok(layers.map(finish).collect())
        })
    }

    fn root_gradients(
        &self,
        examples: &Examples,
        positions: &[u32],
        roots: &CurvatureRoots,
        images: Range<usize>,
    ) -> Result<Tensor> {
        in_precision!(self, program => {
            let counts: Vec<usize> =
                images.clone().map(|image| roots.of_image(image).len()).collect();
            let (count, size) = (counts.iter().sum::<usize>(), self.size());
            let mut values = vec![Default::default(); count * size];
            let mut left = &mut values[..];
            let mut parts = Vec::with_capacity(counts.len());
            for (image, count) in images.zip(counts) {
                let (part, rest) = left.split_at_mut(count * size);
                parts.push((image, part));
                left = rest;
            }
            parts.into_par_iter().try_for_each(|(image, part)| -> Result<()> {
                let rows = roots.of_image(image);
                if !rows.is_empty() {
                    let (input, _) = self.read(program, examples, &positions[image..=image])?;
                    program.write_root_gradients(input, rows, part);
                }
                Ok(())
            })?;
            Ok(Tensor::from_vec(values, (count, size), &Device::Cpu)?)
        })
    }
}

impl<T: Precision> Program<T> {
    /// The nodes that are convolutions.
    fn convolutions(&self) -> impl Iterator<Item = (usize, &Convolution)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(index, node)| Some((index, node.layer.as_convolution()?)))
    }

    fn layer(&self, layer: &Convolution) -> KroneckerLayer {
        let outer = |inner: &Range<usize>| self.space.outer_range(inner);
        let bias = layer.bias.as_ref().and_then(outer);
        KroneckerLayer {
            weight: outer(&layer.weight).unwrap_or_default(),
            outputs: layer.geometry.c_out,
            inputs: layer.geometry.columns() + usize::from(bias.is_some()),
            bias,
        }
    }

    /// Adds the moments of some images, whose rows `rows` gives.
    fn add_moments<'r>(
        &self,
        input: Planes<T>,
        rows: impl Fn(usize) -> &'r [Vec<f64>],
        sums: &mut [MomentSums],
    ) {
        let values = self.values(input);
        for ((index, layer), sum) in self.convolutions().zip(sums.iter_mut()) {
            let input = &values[self.nodes[index].inputs[0]];
            sum.add_inputs(layer, input);
        }
        let images = values[0].images();
        let pairs: Vec<(usize, &Vec<f64>)> = (0..images)
            .flat_map(|image| rows(image).iter().map(move |row| (image, row)))
            .collect();
        for pairs in pairs.chunks(images.max(1)) {
            let chosen: Vec<usize> = pairs.iter().map(|(image, _)| *image).collect();
            let values: Vec<_> = values.iter().map(|value| value.select(&chosen)).collect();
            let seed = seeds(&values[values.len() - 1], pairs.iter().map(|(_, row)| *row));
            let gradients = self.gradients(&values, seed);
            for ((index, _), sum) in self.convolutions().zip(sums.iter_mut()) {
                sum.add_outputs(&gradients[index]);
            }
        }
    }

    /// Jᵀs of one image for each row s, one after the other in `into`.
    fn write_root_gradients(&self, input: Planes<T>, rows: &[Vec<f64>], into: &mut [T]) {
        let values = self.values(input);
        for (row, into) in rows.iter().zip(into.chunks_exact_mut(self.space.size())) {
            let seed = seeds(&values[values.len() - 1], std::iter::once(row));
            let mut gradient = Buffer::zeros(self.space.inner_size());
            self.pull_back(&values, seed, &mut gradient);
            into.copy_from_slice(&self.space.outward(&gradient));
        }
    }
}

/// Gradients of the logits, an image each.
pub(super) fn seeds<'r, T: Scalar>(
    logits: &Planes<T>,
    rows: impl Iterator<Item = &'r Vec<f64>>,
) -> Planes<T> {
    let number = <T as candle_core::WithDType>::from_f64;
    let values: Vec<T> = rows.flatten().map(|&value| number(value)).collect();
    Planes {
        shape: logits.shape,
        values: values.into(),
    }
}
