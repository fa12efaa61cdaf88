//! Gauss–Newton products by gradients that are held: half the convolutions of a product by tangents.
//!
//! With the rows s of a square root of the softmax's curvature ([`CurvatureRoots`]) an image's matrix is Σ_s (Jᵀs)(Jᵀs)ᵀ. Where the
//! gradients ȳ_s of all layers' outputs are held for every s, a product needs no chain through the layers any more: with f_θ the
//! derivative of a layer in its own parameters
//!
//! - ⟨Jᵀs, v⟩ = Σ_layers ⟨ȳ_s, f_θ v⟩: the tangent of a layer whose input has none,
//! - Σ_s t_s Jᵀs = for each layer f_θᵀ (Σ_s t_s ȳ_s): a backward step that gives nothing to the layer's input.
//!
//! That is one convolution in each of two roles where tangents take two, and C − 1 backward passes for as long as they are held.
//! Parameters that are a number a channel have their gradients written out. What rows are to each other is in [`gram`].

mod all_images;
mod gram;

use super::kronecker::{CurvatureRoots, RootKind, seeds};
use super::layer::Convolution;
use super::planes::{Planes, Scalar, dot};
use super::program::{Node, Program};
use crate::Result;
use crate::derivative::head::HeadOutputs;
use crate::in_parallel::{for_each_row, mapped};
use crate::model::op::channels_last::{add_weight_gradient, output};
use std::ops::Range;

/// Of m images and every row of their roots.
#[derive(Debug)]
pub(super) struct RootGradients<T: Scalar> {
    /// C − 1 of each image.
    rows: usize,
    /// One for each node.
    layers: Vec<LayerGradients<T>>,
}

/// For each row, of all images; what a layer does not have is missing.
#[derive(Debug)]
struct LayerGradients<T: Scalar> {
    /// ȳ_s where the layer has a kernel.
    outputs: Vec<Planes<T>>,
    /// With respect to parameters that are a number a channel, `[m, s]`.
    channelwise: Vec<Vec<T>>,
}

impl<T: Scalar> RootGradients<T> {
    /// ȳ_s of a node that has a kernel.
    pub(super) fn output(&self, node: usize, row: usize) -> &Planes<T> {
        &self.layers[node].outputs[row]
    }

    /// Gradients with respect to what is a number a channel, `[m, s]`; none where a node has no such parameters.
    pub(super) fn channelwise(&self, node: usize, row: usize) -> &[T] {
        let rows = &self.layers[node].channelwise;
        rows.get(row).map_or(&[], |row| &row[..])
    }

    /// Memory held.
    pub(super) fn bytes(&self) -> usize {
        let numbers = |layer: &LayerGradients<T>| {
            let outputs = layer.outputs.iter().map(|row| row.values.len());
            let channelwise = layer.channelwise.iter().map(Vec::len);
            outputs.sum::<usize>() + channelwise.sum::<usize>()
        };
        self.layers.iter().map(numbers).sum::<usize>() * T::DTYPE.size_in_bytes()
    }
}

impl<T: Scalar> Program<T> {
    /// C − 1.
    pub(super) fn root_rows(&self) -> usize {
        let head = self.nodes.last();
        let head = head.and_then(|node| node.layer.as_convolution());
        head.map_or(0, |head| head.geometry.c_out.saturating_sub(1))
    }

    /// Numbers of root gradients for an image.
    pub(super) fn root_elements_per_image(&self) -> usize {
        let layers = self.nodes.iter().map(|node| {
            let kernel = node.layer.as_convolution();
            let outputs = kernel.map_or(0, |layer| layer.geometry.output().elements());
            outputs + length(&node.layer.channelwise())
        });
        self.root_rows() * layers.sum::<usize>()
    }

    /// Whether products with `count` vectors take less time by them. What enters the program has neither tangent nor gradient, so
    /// that nothing is saved at the first kernel; behind it a vector saves about as much as a row takes to make: with nine rows, 8
    /// vectors take about as long either way (`benches/network.rs`).
    pub(super) fn root_gradients_pay(&self, count: usize, kept: bool) -> bool {
        let behind = |node: &Node<T>| node.inputs[0] > 0 && node.layer.as_convolution().is_some();
        let rows = self.root_rows();
        rows > 0 && self.nodes.iter().any(behind) && (kept || count > rows)
    }

    /// Multiplications of a product with one vector for an image.
    pub(super) fn root_product_multiplications(&self) -> f64 {
        let layers = self.nodes.iter();
        let layers = layers.filter_map(|node| node.layer.as_convolution());
        layers.map(|layer| 2.0 * layer.multiplications()).sum()
    }

    /// The gradients for all rows of the roots at these outputs.
    pub(super) fn root_gradients_of(
        &self,
        values: &[Planes<T>],
        outputs: &HeadOutputs,
    ) -> Result<RootGradients<T>> {
        let logits = &values[values.len() - 1];
        let images = logits.images();
        let positions: Vec<u32> = (0..images as u32).collect();
        let outputs = std::slice::from_ref(outputs);
        let roots = CurvatureRoots::of(outputs, &positions, RootKind::Exact { share: 1.0 })?;
        let nothing = |_| LayerGradients {
            outputs: Vec::new(),
            channelwise: Vec::new(),
        };
        let mut layers: Vec<_> = self.nodes.iter().map(nothing).collect();
        for row in 0..self.root_rows() {
            let seeds = seeds(logits, (0..images).map(|image| &roots.of_image(image)[row]));
            let gradients = self.gradients(values, seeds);
            for (index, (layer, gradient)) in layers.iter_mut().zip(gradients).enumerate() {
                let channelwise = self.channelwise_gradients(values, index, &gradient);
                layer.channelwise.extend(channelwise);
                if self.nodes[index].layer.as_convolution().is_some() {
                    layer.outputs.push(gradient);
                }
            }
        }
        let rows = self.root_rows();
        Ok(RootGradients { rows, layers })
    }

    /// Every image's gradient with respect to what is a number a channel, if the layer has such parameters.
    fn channelwise_gradients(
        &self,
        values: &[Planes<T>],
        index: usize,
        gradient: &Planes<T>,
    ) -> Option<Vec<T>> {
        let layer = &self.nodes[index].layer;
        if layer.channelwise().is_empty() {
            return None;
        }
        let site = self.site(values, index);
        let images = mapped(gradient.images(), &|image| {
            layer.channelwise_gradient(&site, gradient, image)
        });
        Some(images.into_iter().flatten().map(number).collect())
    }

    /// A layer with a kernel, and what it reads.
    fn kernel<'a>(
        &'a self,
        values: &'a [Planes<T>],
        index: usize,
    ) -> Option<(&'a [T], &'a Convolution)> {
        let node = &self.nodes[index];
        Some((&values[node.inputs[0]].values, node.layer.as_convolution()?))
    }

    /// ⟨Jᵀs, v⟩ of every image and row, `[m, C − 1]`; v = `direction`.
    pub(super) fn root_products(
        &self,
        (values, gradients): (&[Planes<T>], &RootGradients<T>),
        direction: &[T],
    ) -> Vec<f64> {
        let images = values[0].images();
        let mut products = vec![0.0; images * gradients.rows];
        for (index, layer) in gradients.layers.iter().enumerate() {
            if let Some((x, kernel)) = self.kernel(values, index) {
                let terms = [(x, &direction[kernel.weight.clone()])];
                let tangent = output(&kernel.geometry, images, &terms, None);
                add_dots(&tangent, &layer.outputs, &mut products);
            }
            let places = self.nodes[index].layer.channelwise();
            let direction: Vec<T> = (places.iter())
                .flat_map(|place| &direction[place.clone()])
                .copied()
                .collect();
            for (row, written) in layer.channelwise.iter().enumerate() {
                let images = products[row..].iter_mut().step_by(gradients.rows);
                let images = images.zip(written.chunks_exact(direction.len()));
                images.for_each(|(product, own)| *product += dot(own, &direction));
            }
        }
        products
    }

    /// Adds Σ t_s Jᵀs over all images and rows to `into`; t `[m, C − 1]`.
    pub(super) fn add_root_sum(
        &self,
        (values, gradients): (&[Planes<T>], &RootGradients<T>),
        weights: &[f64],
        into: &mut [T],
    ) {
        for (index, layer) in gradients.layers.iter().enumerate() {
            if let Some((x, kernel)) = self.kernel(values, index) {
                let sum = combined(&layer.outputs, weights);
                let (terms, into) = ([(x, &sum.values[..])], &mut into[kernel.weight.clone()]);
                add_weight_gradient(&kernel.geometry, sum.images(), &terms, into);
            }
            let places = self.nodes[index].layer.channelwise();
            let mut sums = vec![0.0; length(&places)];
            for (row, written) in layer.channelwise.iter().enumerate() {
                let images = weights[row..].iter().step_by(gradients.rows);
                for (weight, own) in images.zip(written.chunks_exact(sums.len())) {
                    let pairs = sums.iter_mut().zip(own);
                    pairs.for_each(|(sum, value)| *sum += weight * value.to_f64());
                }
            }
            for (place, sum) in places.into_iter().flatten().zip(sums) {
                into[place] += number::<T>(sum);
            }
        }
    }
}

fn number<T: Scalar>(value: f64) -> T {
    <T as candle_core::WithDType>::from_f64(value)
}

fn length(places: &[Range<usize>]) -> usize {
    places.iter().map(Range::len).sum()
}

/// Adds the inner products of each image's tangent with its gradients to `products` `[m, rows]`.
fn add_dots<T: Scalar>(tangent: &[T], rows: &[Planes<T>], products: &mut [f64]) {
    let size = rows[0].shape.elements();
    for_each_row(products, rows.len(), &|image, products| {
        let tangent = &tangent[image * size..][..size];
        for (product, row) in products.iter_mut().zip(rows) {
            *product += dot(tangent, row.of_image(image));
        }
    });
}

/// Each image's gradients, summed with its weights `[m, rows]`.
fn combined<T: Scalar>(rows: &[Planes<T>], weights: &[f64]) -> Planes<T> {
    let (images, shape) = (rows[0].images(), rows[0].shape);
    let mut sum = Planes::zeros(images, shape);
    for_each_row(&mut sum.values, shape.elements(), &|image, sum| {
        for (&weight, row) in weights[image * rows.len()..].iter().zip(rows) {
            let weight: T = number(weight);
            (sum.iter_mut().zip(row.of_image(image)))
                .for_each(|(sum, &value)| *sum += weight * value);
        }
    });
    sum
}
