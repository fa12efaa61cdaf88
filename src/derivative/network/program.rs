//! The layers of the fine-tuned part in order, and the passes over them.

use super::layer::{Along, Layer, Site, Slot};
use super::planes::{Planes, Scalar, Shape};
use super::space::ParameterSpace;
use crate::model::op::channels_last::Buffer;

/// One layer and the values it reads: 0 is what enters the program, i + 1 what node i gives.
pub(super) struct Node<T: Scalar> {
    pub(super) layer: Box<dyn Layer<T>>,
    pub(super) inputs: Vec<usize>,
}

/// A batch norm of a program in training mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Norm {
    /// torchvision's name.
    pub(super) name: String,
    /// Which value the batch's moments are.
    pub(super) moments: usize,
}

/// The fine-tuned part at fixed parameters. Every layer lies behind one with parameters, so that only what enters the
/// program has neither tangent nor gradient.
pub(super) struct Program<T: Scalar> {
    pub(super) input: Shape,
    pub(super) nodes: Vec<Node<T>>,
    /// In training mode; none in evaluation mode.
    pub(super) norms: Vec<Norm>,
    pub(super) space: ParameterSpace,
    /// θ as stored.
    pub(super) parameters: Vec<T>,
    /// θ in the computation's order.
    pub(super) weights: Buffer<T>,
}

impl<T: Scalar> Program<T> {
    /// Numbers held for one image by a pass of values alone.
    pub(super) fn elements_per_image(&self) -> usize {
        let mut shapes = vec![self.input];
        for node in &self.nodes {
            let inputs: Vec<Shape> = node.inputs.iter().map(|&index| shapes[index]).collect();
            shapes.push(node.layer.shape(&inputs));
        }
        shapes.iter().map(|shape| shape.elements()).sum()
    }

    /// All values, the logits last.
    pub(super) fn values(&self, input: Planes<T>) -> Vec<Planes<T>> {
        let mut values = vec![input];
        for node in &self.nodes {
            let inputs: Vec<&Planes<T>> = node.inputs.iter().map(|&index| &values[index]).collect();
            let value = node.layer.value(&self.weights, &inputs);
            values.push(value);
        }
        values
    }

    pub(super) fn site<'a>(&'a self, values: &'a [Planes<T>], index: usize) -> Site<'a, T> {
        let inputs = self.nodes[index].inputs.iter();
        Site {
            inputs: inputs.map(|&input| &values[input]).collect(),
            output: &values[index + 1],
            weights: &self.weights,
        }
    }

    fn along<'a>(
        &self,
        tangents: &'a [Option<Planes<T>>],
        direction: &'a [T],
        index: usize,
    ) -> Along<'a, T> {
        let inputs = self.nodes[index].inputs.iter();
        Along {
            tangents: inputs.map(|&input| tangents[input].as_ref()).collect(),
            direction,
        }
    }

    /// The tangents of all values along a direction of the parameters, those of the logits last.
    pub(super) fn tangents(&self, values: &[Planes<T>], direction: &[T]) -> Vec<Option<Planes<T>>> {
        let mut tangents = vec![None];
        for (index, node) in self.nodes.iter().enumerate() {
            let along = self.along(&tangents, direction, index);
            let tangent = node.layer.tangent(&self.site(values, index), &along);
            tangents.push(Some(tangent));
        }
        tangents
    }

    /// Runs `step(node, its incoming gradient, the slots of its inputs)` from the logits backwards, `seed` the gradient of these and
    /// `seeds` those of other values.
    fn reversed(
        &self,
        seed: Planes<T>,
        seeds: Vec<(usize, Planes<T>)>,
        mut step: impl FnMut(usize, Planes<T>, &mut [Slot<T>]),
    ) {
        let mut sums: Vec<Option<Planes<T>>> = (0..=self.nodes.len()).map(|_| None).collect();
        for (value, seed) in seeds {
            sums[value] = Some(seed);
        }
        sums[self.nodes.len()] = Some(seed);
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let Some(gradient) = sums[index + 1].take() else {
                continue;
            };
            let mut slots: Vec<Slot<T>> = (node.inputs.iter())
                .map(|&input| Slot {
                    wanted: input > 0,
                    sum: sums[input].take(),
                })
                .collect();
            step(index, gradient, &mut slots);
            for (&input, slot) in node.inputs.iter().zip(slots) {
                sums[input] = slot.sum;
            }
        }
    }

    /// Pulls the logits' gradient `seed` back; adds the parameters' to `into`, the sum over images.
    pub(super) fn pull_back(&self, values: &[Planes<T>], seed: Planes<T>, into: &mut [T]) {
        self.reversed(seed, Vec::new(), |index, gradient, slots| {
            let site = self.site(values, index);
            let layer = &self.nodes[index].layer;
            layer.backward(&site, &gradient, Some(into), slots);
        });
    }

    /// The gradient of every node's value, without the parameters'.
    pub(super) fn gradients(&self, values: &[Planes<T>], seed: Planes<T>) -> Vec<Planes<T>> {
        let mut kept = Vec::with_capacity(self.nodes.len());
        self.reversed(seed, Vec::new(), |index, gradient, slots| {
            let site = self.site(values, index);
            let layer = &self.nodes[index].layer;
            layer.backward(&site, &gradient, None, slots);
            kept.push(gradient);
        });
        kept.reverse();
        kept
    }

    /// The derivative of [`Program::pull_back`] along a direction, `seed` that of the logits' gradient; adds the parameters' to
    /// `into`, with what pulls back from the other values of `seeds`.
    pub(super) fn pull_back_tangent(
        &self,
        (values, gradients): (&[Planes<T>], &[Planes<T>]),
        (tangents, direction): (&[Option<Planes<T>>], &[T]),
        (seed, seeds): (Planes<T>, Vec<(usize, Planes<T>)>),
        into: &mut [T],
    ) {
        self.reversed(seed, seeds, |index, tangent, slots| {
            let site = self.site(values, index);
            let along = self.along(tangents, direction, index);
            let pair = (&gradients[index], &tangent);
            let layer = &self.nodes[index].layer;
            layer.backward_tangent(&site, &along, pair, into, slots);
        });
    }
}
