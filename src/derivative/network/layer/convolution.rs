//! A convolution, with a bias where it is the classifier head (a 1×1 kernel on a 1×1 image).

use super::super::pairing::{Pairing, Rows, ScaleAndShift, Way, convolution_ways, of_convolution};
use super::super::planes::{PART, Planes, Scalar, Shape};
use super::{Along, Layer, Site, Slot};
use crate::in_parallel::for_each_row;
use crate::model::op::channels_last::Buffer;
use crate::model::op::channels_last::{Form, Geometry, PLACES};
use crate::model::op::channels_last::{add_weight_gradient, input_gradient, output};
use std::ops::Range;

/// y = W ∗ x (+ b).
#[derive(Debug)]
pub(crate) struct Convolution {
    pub(crate) geometry: Geometry,
    /// Place of W in the parameter vector.
    pub(crate) weight: Range<usize>,
    /// Place of b.
    pub(crate) bias: Option<Range<usize>>,
}

impl Convolution {
    /// Multiplications of each of its roles for an image.
    pub(crate) fn multiplications(&self) -> f64 {
        let g = &self.geometry;
        let numbers = match g.form() {
            Form::Taps => g.output().positions() * g.columns(),
            Form::Winograd => g.tiles() * PLACES * g.input.channels,
        };
        (numbers * g.c_out) as f64
    }

    fn planes<T: Scalar>(&self, values: Buffer<T>) -> Planes<T> {
        Planes {
            shape: self.geometry.output(),
            values,
        }
    }

    /// Σ W ∗ x over the terms, + b of the last term's weights.
    fn sum<T: Scalar>(&self, terms: &[(&Planes<T>, &[T])], bias: &[T]) -> Planes<T> {
        let images = terms.first().map_or(0, |(x, _)| x.images());
        let parts: Vec<_> = (terms.iter())
            .map(|(x, weights)| (&x.values[..], &weights[self.weight.clone()]))
            .collect();
        let mut y = output(&self.geometry, images, &parts, None);
        if let Some(range) = &self.bias {
            let bias = &bias[range.clone()];
            let part = (PART / bias.len()).max(1) * bias.len();
            for_each_row(&mut y, part, &|_, y| {
                for row in y.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
                }
            });
        }
        self.planes(y)
    }

    /// θ̄ = Σ over the terms (x, ȳ), b̄ from `bias`.
    fn add_parameters<T: Scalar>(
        &self,
        terms: &[(&Planes<T>, &Planes<T>)],
        bias: &Planes<T>,
        into: &mut [T],
    ) {
        let pairs: Vec<_> = (terms.iter())
            .map(|(x, y)| (&x.values[..], &y.values[..]))
            .collect();
        let target = &mut into[self.weight.clone()];
        add_weight_gradient(&self.geometry, bias.images(), &pairs, target);
        if let Some(range) = &self.bias {
            let sums = &mut into[range.clone()];
            for row in bias.values.chunks_exact(sums.len()) {
                sums.iter_mut().zip(row).for_each(|(sum, &y)| *sum += y);
            }
        }
    }

    /// x̄ += Σ over the terms (ȳ, W).
    fn add_input<T: Scalar>(&self, terms: &[(&Planes<T>, &[T])], slot: &mut Slot<T>) {
        if !slot.wanted {
            return;
        }
        let images = terms.first().map_or(0, |(y, _)| y.images());
        let parts: Vec<_> = (terms.iter())
            .map(|(y, weights)| (&y.values[..], &weights[self.weight.clone()]))
            .collect();
        let onto = slot.sum.take().map(|sum| sum.values);
        slot.sum = Some(Planes {
            shape: self.geometry.input,
            values: input_gradient(&self.geometry, images, &parts, onto),
        });
    }
}

impl<T: Scalar> Layer<T> for Convolution {
    fn shape(&self, _inputs: &[Shape]) -> Shape {
        self.geometry.output()
    }

    fn value(&self, weights: &[T], inputs: &[&Planes<T>]) -> Planes<T> {
        self.sum(&[(inputs[0], weights)], weights)
    }

    fn tangent(&self, site: &Site<T>, along: &Along<T>) -> Planes<T> {
        let mut terms = vec![(site.inputs[0], along.direction)];
        if let Some(tangent) = along.tangents[0] {
            terms.push((tangent, site.weights));
        }
        self.sum(&terms, along.direction)
    }

    fn backward(
        &self,
        site: &Site<T>,
        gradient: &Planes<T>,
        into: Option<&mut [T]>,
        slots: &mut [Slot<T>],
    ) {
        if let Some(into) = into {
            self.add_parameters(&[(site.inputs[0], gradient)], gradient, into);
        }
        self.add_input(&[(gradient, site.weights)], &mut slots[0]);
    }

    fn backward_tangent(
        &self,
        site: &Site<T>,
        along: &Along<T>,
        (gradient, tangent): (&Planes<T>, &Planes<T>),
        into: &mut [T],
        slots: &mut [Slot<T>],
    ) {
        let mut terms = vec![(site.inputs[0], tangent)];
        if let Some(input) = along.tangents[0] {
            terms.push((input, gradient));
        }
        self.add_parameters(&terms, tangent, into);
        let terms = [(tangent, site.weights), (gradient, along.direction)];
        self.add_input(&terms, &mut slots[0]);
    }

    fn place(&self) -> Option<Range<usize>> {
        Some(self.weight.clone())
    }

    fn ways(&self, count: usize, rank: Option<usize>) -> Vec<(Way, f64)> {
        convolution_ways(&self.geometry, count, rank)
    }

    fn pairing(&self, vectors: &Rows<T>, way: Way) -> Option<Box<dyn Pairing<T> + '_>> {
        let kernel = of_convolution(self.geometry, &self.weight, vectors, way);
        Some(match self.bias {
            None => kernel,
            Some(_) => Box::new(ScaleAndShift::new(self, vectors, Some(kernel))),
        })
    }

    fn channelwise(&self) -> Vec<Range<usize>> {
        self.bias.iter().cloned().collect()
    }

    fn channelwise_gradient(
        &self,
        _site: &Site<T>,
        gradient: &Planes<T>,
        image: usize,
    ) -> Vec<f64> {
        let size = gradient.shape.elements();
        let mut sums = vec![0.0; gradient.shape.channels];
        let pixels = &gradient.values[image * size..(image + 1) * size];
        for pixel in pixels.chunks_exact(sums.len()) {
            (sums.iter_mut().zip(pixel)).for_each(|(sum, value)| *sum += value.to_f64());
        }
        sums
    }

    fn as_convolution(&self) -> Option<&Convolution> {
        Some(self)
    }
}
